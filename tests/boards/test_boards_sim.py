# amaranth: UnusedElaboratable=no
"""What ships, at the pins of its board: good boards, and models that notice what is wrong."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
import re

import pytest

from tern_fpga.boards import flow, pll, top
from tern_fpga.boards.parts import BOARDS
from tern_fpga.sim.rtl import pins, sdram_parts
from tests.campaigns import boards_sim
from tests.campaigns.boards_sim import FACTS, check


# One of each kind: the other ULX3S differ from `ulx3s-25f` in their name and their core.
KINDS = ["ulx3s-25f", "ulx3s-85f-133", "icepi-zero", "icesugar-pro"]


def test_every_board_with_a_bitstream_has_its_facts():
    assert set(FACTS) == {name for name, board in BOARDS.items() if board.platform}


@pytest.mark.parametrize("name", KINDS)
def test_a_board_runs_from_reset_to_a_token(name):
    figures = {}
    assert check(name, figures=figures) == []
    facts = FACTS[name]
    assert figures["core_mhz"] == pytest.approx(facts.clock_hz / 1e6)
    assert figures["memory_mhz"] == pytest.approx(float(facts.memory_hz) / 1e6)
    assert figures["shift"] == pytest.approx(facts.shift)
    assert figures["baud"] == pytest.approx(facts.baud, rel=0.01)


def test_words_are_taken_while_they_are_there():
    """The sum of all delays may be 1.3 to 8.4 ns with 45 degrees: docs/boards.md."""
    output, edge = pins.DELAYS["output"], pins.DELAYS["sample_setup"]
    late = {"input_slow": 8400 - output - edge - 100}
    assert check("ulx3s-25f", delays=late) == []
    late["input_slow"] += 300
    assert check("ulx3s-25f", delays=late) == ["memory does not keep words at 0x0"]
    edge = pins.DELAYS["sample_hold"]
    early = {"input_fast": 1250 - output + edge - 200}
    assert check("ulx3s-25f", delays=early) == ["memory does not keep words at 0x0"]


def test_setup_and_hold_at_the_sdram_are_checked():
    """3.75 ns behind the edge, at 100 MHz and 45 degrees."""
    found, = check("ulx3s-25f", delays={"skew": 3000})
    assert found.startswith("SDRAM: hold of a command: 3.750 ns")
    board = replace(BOARDS["ulx3s-25f"], shift=-150)
    found, = check("ulx3s-25f", board=board)
    assert found.startswith("SDRAM: set-up of a command: 0.833 ns")


@pytest.mark.parametrize("part", sdram_parts.PARTS)
def test_timings_of_one_part_are_noticed(part, monkeypatch):
    from tern_fpga.assembler.contract.sdram_parts import PARTS
    monkeypatch.setattr(top, "ANY_PART", PARTS[part])
    assert check("ulx3s-25f")


def test_the_strictest_part_keeps_the_rules_of_all():
    """By the other copy of the datasheets."""
    from tern_fpga.assembler.contract.sdram_parts import PARTS
    parts, found = PARTS.values(), dict(re.findall(r"\.(\w+)\((\d+)\)", sdram_parts.strictest(
        clock_hz=Fraction(400_000_000, 3), depth=1)))
    for rule in "rcd", "rp", "ras", "rc", "rfc", "rrd", "wr", "mrd":
        worst = max(getattr(part, f"t_{rule}") for part in parts)
        assert int(found[f"t{rule.upper()}"]) == 1000 * worst
    assert int(found["tRAS_MAX"]) == 1000 * min(part.t_ras_max for part in parts)
    assert int(found["POWER_UP"]) == 10 ** 6 * max(part.power_up_us for part in parts)
    assert int(found["COL_BITS"]) == min(part.column_bits for part in parts)
    assert (found["WR_CLOCKS"], found["RRD_CLOCKS"], found["CLOCK_PS"]) == ("2", "2", "7500")
    pin = sdram_parts.PINS
    assert pin["tAC"] == 1000 * max(part.t_ac[3] for part in parts)
    assert pin["tCK"] == 1000 * max(part.t_ck[3] for part in parts)
    assert pin["tOH"] == 1000 * min(part.t_oh for part in parts)


def test_a_dead_line_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(pins.PinBoard, "write", lambda self, data: None)
    assert check("ulx3s-25f") == ["the board says nothing for 1 ms at 3000000 baud"]


def test_a_board_that_cannot_be_made_is_a_complaint():
    found, = check("ulx3s-25f", board=replace(BOARDS["ulx3s-25f"], clock=500))
    assert found.startswith("no netlist: ") and "does not run at 500 MHz" in found


# PLL

def parameters(**changes):
    by = pll.dividers(25_000_000, 100_000_000)
    return {**pins.FIXED, "CLKI_DIV": by.reference, "CLKFB_DIV": 1, "CLKOP_ENABLE": "ENABLED",
            "CLKOP_DIV": by.feedback, "CLKOP_CPHASE": by.feedback - 1, "CLKOP_FPHASE": 0,
            "CLKOS_ENABLE": "ENABLED", "CLKOS_DIV": 6, "CLKOS_CPHASE": 5, "CLKOS_FPHASE": 0,
            **changes}


def test_the_pll_is_what_its_parameters_say():
    found = pins.pll_of(parameters(CLKOS2_ENABLE="ENABLED", CLKOS2_DIV=8, CLKOS2_CPHASE=8,
                                   CLKOS2_FPHASE=2), 25_000_000)
    vco = 600_000_000
    assert found.hz == {"CLKOP": 25_000_000, "CLKOS": 100_000_000, "CLKOS2": vco // 8}
    assert found.delay == {"CLKOP": 0, "CLKOS": 0, "CLKOS2": Fraction(5, 4) / vco}
    assert found.complaints == ()


@pytest.mark.parametrize("changes, complaint", [
    ({"CLKOP_DIV": 40, "CLKOP_CPHASE": 39}, "VCO at 1000 MHz"),
    ({"CLKOP_DIV": 12}, "VCO at 300 MHz"),
    ({"CLKI_DIV": 3, "CLKOP_DIV": 72}, "phase detector at 8.33333 MHz"),
    ({"CLKOP_ENABLE": "DISABLED"}, "CLKOP, its feedback, is not enabled"),
])
def test_a_pll_out_of_its_range_does_not_lock(changes, complaint):
    assert any(complaint in each for each in pins.pll_of(parameters(**changes),
                                                         25_000_000).complaints)


@pytest.mark.parametrize("changes", [{"FEEDBK_PATH": "INT_OP"}, {"STDBY_ENABLE": "ENABLED"},
                                     {"CLKOS_DIV": 129}, {"CLKOS_FPHASE": 8}, {"PLL_LOCK_MODE": 1}])
def test_what_the_pll_model_lacks_is_refused(changes):
    with pytest.raises(pins.Refused, match="EHXPLLL"):
        pins.pll_of(parameters(**changes), 25_000_000)


@pytest.mark.parametrize("fault", [
    'i_CLKFB=feedback -> i_CLKFB=self.clock', 'i_CLKI=self.i -> i_CLKI=Const(0)'])
def test_a_pll_that_is_wired_wrong_does_not_lock(fault, monkeypatch):
    old, new = fault.split(" -> ")
    source = Path(pll.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1
    changed = dict(vars(pll))
    exec(compile(source.replace(old, new), pll.__file__, "exec"), changed)
    monkeypatch.setattr("tern_fpga.boards.clocks.Pll", changed["Pll"])
    assert check("ulx3s-25f") == ["the PLL does not lock"]


def test_a_clock_without_its_constraint_is_named(monkeypatch):
    monkeypatch.setattr(flow, "CLOCKS", flow.CLOCKS | {"CLKOS": "clocks.pll.clok"})
    made = boards_sim.netlist("ulx3s-25f")
    found = boards_sim.constraints(made, FACTS["ulx3s-25f"],
                                   pins.pll_of(made.pll, 25_000_000))
    assert found == ["CLKOS has 100 MHz, and no constraint says so for net 'clocks.pll.clok'",
                     "a constraint names the net 'clocks.pll.clock', which is no clock"]
