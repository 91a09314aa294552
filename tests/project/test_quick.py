"""`make quick`: the tests that are nearest to a change."""

import pytest

from tern_fpga.assembler.errors import report
from tests import quick


pytest_plugins = ["pytester"]


@pytest.mark.parametrize("changed, first", [
    ("hw/vector/walk.py", "tests/hw/test_vector.py"),
    ("assembler/compiler/fuse.py", "tests/assembler/test_architectures.py"),
    ("tests/hw/test_float.py", "tests/hw/test_float.py"),
    ("assembler/errors.py", "tests/project/test_errors.py"),
])
def test_the_nearest_test_is_among_the_first(changed, first):
    found = quick.nearest([changed])
    assert first in found[:40] and len(found) == len(set(found))
    assert not any(file.startswith("tests/models/") for file in found)      # need PyTorch


def test_a_page_has_no_tests_but_those_of_the_project(monkeypatch, capsys):
    monkeypatch.setattr(quick, "_git", lambda *words: ["docs/isa.md"] if words[0] == "diff" else [])
    assert quick.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == list(quick.ALWAYS)


def test_a_commit_that_is_not_there_is_one_line(capsys):
    assert report(quick.main, ["--since", "no-such-commit", "--list"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_test_begins_after_the_time(pytester):
    conftest = (quick.ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    pytester.makeconftest(conftest)
    pytester.makepyfile("import time\ndef test_a(): time.sleep(.4)\ndef test_b(): pass\n")
    result = pytester.runpytest_subprocess("--seconds", "0.3", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*1 because: the 0.3 s were over*", "*test_b*"])
