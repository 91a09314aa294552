"""What was not run, said at the end; with ``--all`` it is a failure.

A test that a machine cannot run is a skipped test with a reason: never an empty parameter, nor an
``if`` inside a test that passes.
"""

import collections
from pathlib import Path
import signal
import sys
import threading
import time

import pytest


BEGUN   = time.monotonic()
NOT_RUN = ("skipped", "xfailed")
NAMED = 6                   # tests of a reason that are listed
SHORT = ("assembler", "boards", "firmware", "hw", "models", "sim")


# Tests send signals to what they start, which inherits what a shell lets this process ignore:
# SIGINT in the background, SIGHUP under nohup.
if threading.current_thread() is threading.main_thread():
    for number, usual in ((signal.SIGINT, signal.default_int_handler),
                          (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


# What people and CI set for their terminals, and what `make VENV=...` hands on to what it starts.
OUTSIDE = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
           "VENV", "MODELS_VENV")


@pytest.fixture(autouse=True, scope="session")
def plain_environment():
    """Commands in tests say the same wherever the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in OUTSIDE:
            patch.delenv(name, raising=False)
        yield


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true",
                     help="fail if any test was not run, whatever the reason")
    parser.addoption("--seconds", type=float, metavar="N",
                     help="begin no test after so long, and say which were not run")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    limit = item.config.option.seconds
    if limit is not None and time.monotonic() - BEGUN > limit:
        pytest.skip(f"the {limit:g} s were over; `make test` runs all")


def not_run(reporter):
    """{reason: [test, ...]} of a session so far; a whole module is one entry."""
    found = collections.defaultdict(list)
    for report in (report for kind in NOT_RUN for report in reporter.stats.get(kind, [])):
        reason = getattr(report, "wasxfail", None) or str(
            report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        found[reason.removeprefix("Skipped: ").removeprefix("reason: ")].append(
            report.nodeid.removeprefix("tests/"))
    return found


def second_copies():
    """Modules of the project that were imported by their short name, and so are there twice."""
    root = Path(__file__).resolve().parents[1]
    return sorted(name for name, module in sys.modules.items() if name.partition(".")[0] in SHORT
                  and Path(getattr(module, "__file__", None) or "/").is_relative_to(root))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session):
    if (copies := second_copies()) and session.exitstatus == pytest.ExitCode.OK:
        print(f"\nimport these from tern_fpga: {', '.join(copies)}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (session.config.option.all and reporter and not_run(reporter)
            and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter, config):
    found = not_run(terminalreporter)
    if not found:
        return
    count = sum(map(len, found.values()))
    terminalreporter.section(f"{count} not run", sep="=", yellow=not config.option.all,
                             red=config.option.all)
    for reason, tests in sorted(found.items()):
        terminalreporter.line(f"{len(tests)} because: {reason}")
        for test in tests[:NAMED]:
            terminalreporter.line(f"    {test}")
        if len(tests) > NAMED:
            terminalreporter.line(f"    and {len(tests) - NAMED} more")
    if config.option.all:
        terminalreporter.line("--all: a test that was not run is a failure", red=True)
