"""The tests of the board layer, put to the test: faults in its sources, and the tool itself."""

import ast
import itertools
import subprocess
import sys

import pytest

from tests.campaigns.board_faults import campaign, known
from tests.campaigns.board_faults.named import NAMED
from tests.campaigns.board_faults.sites import FILES, KINDS, ROOT, Fault, draw, faults, sites


SHELL = "tests/boards/test_boards_shell.py"


def _sites(text):
    """Text and place of the assignments of hardware, arguments by name and numbers of a file."""
    rows = [0, *itertools.accumulate(len(row) for row in text.splitlines(keepends=True))]
    tree = ast.parse(text)
    told = [node for node in ast.walk(tree) if isinstance(node, (ast.Raise, ast.JoinedStr))]
    told += [each for node in ast.walk(tree) for each in getattr(node, "decorator_list", ())]
    messages = {id(each) for node in told for each in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) not in messages and (
                isinstance(node, ast.keyword) and node.arg
                or isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".eq")
                or isinstance(node, ast.Constant) and isinstance(node.value, int)):
            yield ast.unparse(node), (rows[node.lineno - 1] + node.col_offset,
                                      rows[node.end_lineno - 1] + node.end_col_offset)


@pytest.mark.parametrize("file", FILES)
def test_every_assignment_argument_and_number_can_have_a_fault(file):
    found = faults(file)
    for what, (start, end) in _sites((ROOT / file).read_text(encoding="utf-8")):
        assert any(fault.start < end and start < fault.end for fault in found), what


def test_a_fault_changes_one_stretch_of_one_file():
    for fault in itertools.islice(draw(5), 50):
        text, source = (ROOT / fault.file).read_text(encoding="utf-8"), fault.source()
        assert text[:fault.start] == source[:fault.start] and source.endswith(text[fault.end:])
        assert source != text and fault.before != fault.after and fault.kind in KINDS
        compile(source, fault.file, "exec")


def test_faults_are_drawn_by_seed_over_files_and_kinds():
    drawn = list(itertools.islice(draw(1), 60))
    first = drawn[:5]
    assert first == list(itertools.islice(draw(1), 5)) != list(itertools.islice(draw(2), 5))
    assert {fault.file for fault in drawn} == set(FILES)
    assert {fault.kind for fault in drawn} >= {"drop", "swap", "sibling", "constant"}
    assert len({(fault.file, fault.line, fault.before) for fault in drawn}) == 60


def test_what_is_on_the_list_is_still_a_fault_and_has_a_reason():
    keys = {fault.key for file in FILES for fault in faults(file)}
    assert set(known.EQUIVALENT) <= keys
    assert all(len(reason) > 20 for reason in known.EQUIVALENT.values())


def test_page_has_the_numbers_of_places_and_faults():
    page = (ROOT / "docs" / "verification.md").read_text(encoding="utf-8")
    made = [len(some) for some in sites().values()]
    assert f"is a place: {len(made):,} places, {sum(made):,} faults." in page
    assert f"(`tests/campaigns/board_faults/named.py`, {len(NAMED)})" in page
    assert f"each of {len(NAMED)} named faults" in (ROOT / "README.md").read_text(encoding="utf-8")


def _fault(file, old, new):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    start = text.index(old)
    return Fault(file, 1, "by hand", old, new, start, start + len(old), new)


@pytest.mark.parametrize("old, new, kind", [
    ("baud=board.baud", "baud=board.baud // 2", "found"),
    ("baud=board.baud", "baud=board.beep", "refused"),
    ("baud=board.baud", "baud=int(board.baud)", "same"),
])
def test_a_fault_is_in_its_own_process_and_gets_its_verdict(old, new, kind, tmp_path):
    """Put to a test that looks at nothing else."""
    node = f"{SHELL}::test_core_and_controller_are_those_of_the_board[icepi-zero]"
    before = set(sys.modules)
    verdict = campaign.try_fault(_fault("boards/top.py", old, new), [(node,)])
    assert verdict.kind == kind
    if kind == "found":
        assert "core_and_controller" in verdict.by and "AssertionError" in verdict.what
    assert not any(name.startswith("tern_fpga.boards") for name in set(sys.modules) - before)


def test_a_fault_that_no_test_sees_survives():
    fault = _fault("boards/top.py", "baud=board.baud", "baud=board.baud // 2")
    node  = f"{SHELL}::test_the_memory_port_reaches_the_controller[icepi-zero]"
    assert campaign.try_fault(fault, [(node,)]) == campaign.Verdict("survived")


def test_a_fault_with_which_another_board_cannot_be_made_is_refused():
    """Not found: no test said so."""
    fault = _fault("boards/top.py", "baud=board.baud",
                   "baud=board.baud // (board.baud != 1_000_000)")
    node  = f"{SHELL}::test_the_memory_port_reaches_the_controller[icepi-zero]"
    found = campaign.try_fault(fault, [(node,)])
    assert found.kind == "refused" and found.what.startswith("ZeroDivisionError")


@pytest.mark.parametrize("stage", [("tests/boards/test_boards_shell.py", "-k", "no_such_test"),
                                   ("tests/no_such_file.py",)])
def test_a_stage_that_selects_no_test_finds_nothing(stage):
    fault = _fault("boards/top.py", "baud=board.baud", "baud=board.baud // 2")
    with pytest.raises(campaign.NotTried, match=r"pytest tests/\S+.*: "):
        campaign.try_fault(fault, [stage])


def _campaign(*options):
    done = subprocess.run([sys.executable, "-m", "tests.campaigns.board_faults", "--no-control",
                           *options],
                          cwd=ROOT, capture_output=True, encoding="utf-8")
    alive = [line for line in done.stdout.splitlines() if ", survived" in line]
    assert not alive and done.returncode == 0, "\n".join(alive) or done.stderr[-2000:]
    return done.stdout


def test_faults_with_a_name_are_found():
    """Those of one file; `make board-faults` tries all."""
    file  = "boards/top.py"
    count = sum(file in fault.name for fault in NAMED.values())
    assert count > 10 and f"{count} found" in _campaign("--faults", "0", "--only", file)


def test_faults_drawn_by_seed_are_found():
    """Some; `make board-faults` draws 24."""
    assert "2 found" in _campaign("--no-named", "--faults", "2", "--seed", "1")
