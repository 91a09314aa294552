"""What was not run is said at the end of a session, and fails it where all must run."""

from pathlib import Path

import pytest

from tests.verilog import ROOT


pytest_plugins = ["pytester"]

TESTS = '''
import pytest

@pytest.mark.skipif(True, reason="needs a screwdriver")
@pytest.mark.parametrize("n", range(9))
def test_of_a_tool(n):
    pass

@pytest.mark.parametrize("n", [])
def test_of_no_case(n):
    pass

@pytest.mark.xfail(reason="not built yet")
def test_of_what_fails():
    assert False

def test_that_ends_early():
    pytest.skip("no board here")

def test_that_runs():
    pass
'''
MODULE = 'import pytest\npytest.importorskip("no_such_module")\n'


@pytest.fixture
def session(pytester):
    """Runs files of tests with this project's hooks; status and text."""
    def run(*options, **files):
        pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
        for path in pytester.path.glob("test_*.py"):
            path.unlink()
        pytester.makepyfile(**files)
        done = pytester.runpytest(*options)
        return done.ret, done.stdout.str()
    return run


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "worker"])
def test_every_kind_is_listed_and_fails_only_where_all_must_run(session, workers):
    files = {"test_some": TESTS, "test_module": MODULE}
    status, text = session(*workers, **files)
    assert status == 0
    _, _, said = text.partition(" 13 not run ")
    for line in ("9 because: needs a screwdriver", "    test_some.py::test_of_a_tool[0]",
                 "    and 3 more", "1 because: got empty parameter set", "1 because: not built yet",
                 "1 because: no board here", "1 because: could not import 'no_such_module'",
                 "    test_module.py"):
        assert f"\n{line}" in said, (line, text)
    status, text = session(*workers, "--all", **files)
    assert status == 1 and "--all: a test that was not run is a failure" in text


def test_nothing_is_said_where_all_ran(session):
    for options in ([], ["--all"]):
        status, text = session(*options, test_some="def test_it(): pass")
        assert status == 0 and "not run" not in text


def test_a_failure_stays_one(session):
    status, text = session(test_some="def test_it(): assert False", test_module=MODULE)
    assert status == 1 and " 1 not run " in text
    status, _ = session("--all", "-k", "nothing", test_some="def test_it(): pass")
    assert status == 5                      # of a wrong selection, as ever


@pytest.mark.parametrize("name", ["FORCE_COLOR", "COLUMNS", "VENV"])
def test_what_terminals_are_set_to_does_not_reach_a_test(session, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    status, text = session(test_some=f"import os\ndef test_it(): assert {name!r} not in os.environ")
    assert status == 0, text


def test_ci_wants_all():
    """Of the tests, and of those of training."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for target in ("test", "test-models"):
        assert f"make {target} PYTEST_ARGS=--all" in script


def test_no_test_looks_for_a_tool_without_saying_so():
    """A test that leaves something out by itself would pass; a mark with a reason does not."""
    wanted = {"which(", "find_spec("}
    for path in sorted(Path(__file__).parent.glob("**/*.py")):
        if path == Path(__file__):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            if any(each in line for each in wanted) and not line.lstrip().startswith("def "):
                assert "skipif" in line, (path.name, line)
