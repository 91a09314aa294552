# amaranth: UnusedElaboratable=no
"""Gearbox: ``rtl == golden`` on its Verilog."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import pytest

from tern_fpga.hw.common.gearbox import Gearbox
from tests.verilog import over_simulators, run_bench


RATIOS = [(16, 18), (18, 16), (16, 36), (36, 16), (64, 72), (72, 64), (128, 256), (256, 128),
          (16, 16), (128, 18), (18, 128), (16, 72), (72, 16), (32, 17), (17, 32), (1, 3)]


class Bench(wiring.Component):
    """Gearboxes of all ratios side by side."""
    def __init__(self):
        super().__init__({name: member for a, b in RATIOS for name, member in (
            (f"from_{a}_to_{b}", Out(wiring.Signature({
                "i":    In(stream.Signature(Gearbox.word(a))),
                "o":    Out(stream.Signature(Gearbox.word(b))),
                "drop": In(1),
            }))),)})

    def elaborate(self, platform):
        m = Module()
        for a, b in RATIOS:
            m.submodules[f"gearbox_{a}_{b}"] = gearbox = Gearbox(in_bits=a, out_bits=b)
            ports = getattr(self, f"from_{a}_to_{b}")
            wiring.connect(m, wiring.flipped(ports), gearbox)
        return m


@over_simulators
def test_gearbox(simulator):
    run_bench(Bench(), "cocotb_gearbox", simulator, ratios=RATIOS)


@pytest.mark.parametrize("widths", [(0, 8), (8, 0), (-1, 8)])
def test_bad_width_is_refused(widths):
    with pytest.raises(ValueError, match="at least 1"):
        Gearbox(in_bits=widths[0], out_bits=widths[1])
