"""Put faults into ``boards`` and run tests of ``make test`` on each.

Every fault has a process of its own, a fork of one that has loaded everything but ``boards`` and
the tests. There the faulty text takes the place of its module when that is imported; no file is
written, and nothing is left behind.
"""

from dataclasses import dataclass
import functools
import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
from pathlib import Path
import resource
import selectors
import signal
import sys
import tempfile
import traceback
import warnings

import pytest

from tests.campaigns.board_faults.known import EQUIVALENT
from tests.campaigns.board_faults.sites import ROOT


__all__ = ["STAGES", "Verdict", "run", "try_fault"]


# The tests that look for faults in the board layer, the quickest first: those of the board with
# most clocks find most.
STAGES = (("tests/boards/test_boards_shell.py", "-k", "ulx3s-85f-133"),
          ("tests/boards/test_boards_shell.py", "tests/boards/test_boards_top.py"),
          ("tests/boards/test_boards_sim.py", "-k", "runs_from_reset"))

QUICK    = ("ulx3s-85f-133", "icepi-zero")      # both kinds of clocks
SECONDS  = 900                                  # of the processor that a fault may take
# What the tests need and no fault changes.
COMMON   = ("amaranth.sim", "amaranth.vendor", "amaranth_boards.icepi_zero",
            "amaranth_boards.icesugar_pro", "amaranth_boards.ulx3s", "tern_fpga.hw.memory.crossing",
            "tern_fpga.hw.soc", "tern_fpga.firmware.selftest", "tern_fpga.firmware.upload",
            "tern_fpga.sim.rtl.pins", "unittest.mock")


@dataclass(frozen=True)
class Verdict:
    """``kind``: ``found`` (``by`` a test that says ``what``), ``refused`` (no board can be made of
    it: Python or Amaranth says ``what``), ``same`` (netlists, constraints, and what core and
    controller are told, are those of the right sources, on every board), ``known`` (on the list of
    :mod:`tests.campaigns.board_faults.known`, ``what`` its reason) or ``survived``."""
    kind: str
    by:   str = ""
    what: str = ""


class _Faulty(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the module that has the fault."""
    def __init__(self, fault):
        self.path   = ROOT / fault.file
        self.source = fault.source()
        self.module = f"tern_fpga.{fault.file.removesuffix('.py').replace('/', '.')}"

    def find_spec(self, name, path=None, target=None):
        if name != self.module:
            return None
        spec = importlib.util.spec_from_loader(name, self, origin=str(self.path))
        spec.has_location = True
        return spec

    def get_source(self, name):
        return self.source

    def get_code(self, name):
        return compile(self.source, str(self.path), "exec", dont_inherit=True)


class _FirstFailure:
    """Plugin of pytest: ``node`` and ``what`` of the first test that fails."""
    def __init__(self):
        self.node = self.what = ""

    def _note(self, report):
        if report.failed and not self.node:
            self.node = report.nodeid.rpartition("/")[2]
            text = getattr(report.longrepr, "reprcrash", None)
            text = text.message if text else str(report.longrepr).strip().splitlines()[-1]
            self.what = text.splitlines()[0][:200] if text else ""

    pytest_runtest_logreport = pytest_collectreport = _note


class NotTried(Exception):
    """There is no such test, or what tries a fault is wrong itself."""


def _tests(*arguments):
    """The first test that fails and what it says; None if all pass. NotTried without a test."""
    found  = _FirstFailure()
    status = pytest.main(["-x", "-p", "no:cacheprovider", "-p", "no:terminal", "-p", "no:xdist",
                          *arguments], plugins=[found])
    if status == pytest.ExitCode.OK:
        return None
    if status in (pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.USAGE_ERROR):
        raise NotTried(f"pytest {' '.join(arguments)}: {pytest.ExitCode(status).name}")
    return found.node or "pytest", found.what or str(status)


def shipped(names):
    """``{board: digest}`` of all that ``boards`` makes of them, but for what is inside of the core
    and the controller, which is told by the arguments they get."""
    from tern_fpga.boards import flow
    from tern_fpga.boards.parts import BOARDS
    from tests.boards.shell import stubs
    digests = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            with stubs() as made:
                chip, digest = flow.prepare(name, BOARDS[name], Path(folder))
            text = repr((chip, digest, [sorted(each.given.items()) for each in made]))
            digests[name] = hashlib.sha256(text.encode()).hexdigest()
    return digests


def _buildable():
    from tern_fpga.boards.parts import BOARDS
    return [name for name, board in BOARDS.items() if board.platform]


def _in_child(work):
    """What ``work()``, a value of JSON, gives in a process of its own; None if it does not end.
    NotTried with what it raises."""
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    with warnings.catch_warnings():     # newer Pythons warn where there are threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        status = 1
        try:
            os.close(reading)
            resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            os.chdir(ROOT)
            with os.fdopen(writing, "w", encoding="utf-8") as channel:
                try:
                    result = work()
                except Exception as error:
                    result = {"error": f"{type(error).__name__}: {error}"}
                json.dump(result, channel)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    text = b""
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(reading, selectors.EVENT_READ)
            while ready.select(3 * SECONDS):
                more = os.read(reading, 1 << 16)
                if not more:
                    break
                text += more
    finally:
        os.close(reading)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(child, 0)
    result = json.loads(text) if text else None
    if isinstance(result, dict) and "error" in result:
        raise NotTried(result["error"])
    return result


def _forget():
    for name in [name for name in sys.modules if name.startswith("tern_fpga.boards")
                 or name.startswith("tests.")
                 and not name.startswith("tests.campaigns.board_faults")]:
        del sys.modules[name]


def _trial(fault, stages, right):
    """In a child: kind, test and message; ``right`` as of :func:`_right`, or None."""
    _forget()
    if fault:
        sys.meta_path.insert(0, _Faulty(fault))
    try:
        if right:
            shipped(QUICK)
        for stage in stages:
            if found := _tests(*stage):
                return "found", *found
            if right and shipped(_buildable()) == right:
                return "same", "", ""
            right = None
    except NotTried:
        raise
    except Exception as error:          # of the boards that are made: tests report theirs
        where = traceback.extract_tb(error.__traceback__)[-1]
        said  = str(error).splitlines() or [""]
        return "refused", f"{Path(where.filename).name}:{where.lineno}", \
            f"{type(error).__name__}: {said[0]}"[:200]
    return "survived", "", ""


@functools.cache
def _right():
    def work():
        _forget()
        return shipped(_buildable())
    return _in_child(work)


def try_fault(fault, stages=STAGES, *, named=False):
    """The :class:`Verdict` on a fault, or on none; a named one is always put to all tests.

    NotTried if a stage selects no test, or the trial itself fails.
    """
    if fault and fault.key in EQUIVALENT:
        return Verdict("known", what=EQUIVALENT[fault.key])
    right  = None if named else _right()
    result = _in_child(lambda: _trial(fault, stages, right))
    if result is None:
        return Verdict("found", "no end", f"more than {SECONDS} s, or the end of the process")
    return Verdict(*result)


def run(faults, count, say, stages=STAGES):
    """Try faults until ``count`` of them were found or survived; returns ``[(fault, Verdict)]``.

    Those that cannot be built or that are the same hardware are told of and do not count.
    """
    for name in COMMON:
        importlib.import_module(name)
    results, counted = [], 0
    for fault in faults:
        if counted == count:
            break
        verdict = try_fault(fault, stages)
        results.append((fault, verdict))
        counted += verdict.kind in ("found", "survived")
        say(fault, verdict)
    return results
