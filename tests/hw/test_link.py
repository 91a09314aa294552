# amaranth: UnusedElaboratable=no
"""The host link: its table, and the board's side ``rtl == golden``."""

import re

import pytest

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.link.link import WORDS, HostLink
from tern_fpga.sim.golden import link as golden
from tests.firmware.board import run_on_board
from tests.verilog import ROOT, icarus


CONFIGS = {
    "narrow": Config(memory_bits=16, lanes=10, memory_bytes=1 << 12),
    "wide":   Config(memory_bits=128, lanes=80, memory_bytes=1 << 12),
}


# Both machines on one simulator, one on both.
@pytest.mark.parametrize("name, simulator", [
    ("wide", "verilator"), ("narrow", "verilator"), pytest.param("narrow", "icarus", marks=icarus)])
def test_board_answers_like_its_twin(name, simulator):
    config = CONFIGS[name]
    identity = {"clock_hz": 100_000_000, "name": f"bench {name}"}
    run_on_board(HostLink(config=config, **identity), config, "cocotb_link", simulator,
                 port="memory", depth=config.memory_words, **identity)


@pytest.mark.parametrize("name", ["x" * 25, "ü"])
def test_bad_name_is_refused(name):
    with pytest.raises(ValueError, match="at most 24 characters of ASCII"):
        HostLink(config=Config(), clock_hz=1, name=name)


def test_page_says_what_the_table_says():
    page = (ROOT / "docs" / "link.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([A-Z_]+) \| (\d+) \|", page, re.M)
    assert [(name, int(code)) for name, code in rows] == [
        (row.code.name, row.code.value) for row in link.COMMANDS]
    assert [(name, int(code)) for name, code in re.findall(r"^\| ([A-Z]+) (\d) \|", page, re.M)] \
        == [(status.name, status.value) for status in link.Status]


def test_twins_have_the_same_queue():
    assert golden._WORDS == WORDS


def test_a_frame_fills_the_line():
    """At least 90 % of what a long upload sends is data."""
    frame = link.encode(link.request(0, link.Code.WRITE_MEMORY, 0, 120, bytes(link.DATA_BYTES)))
    assert link.DATA_BYTES / len(frame + link.DELIMITER) >= 0.9
