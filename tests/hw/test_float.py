# amaranth: UnusedElaboratable=no

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
import pytest

from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.common.float import FloatAdd, FloatMultiply, FromInt, Normalise
from tests.verilog import over_simulators, run_bench


class FloatBench(wiring.Component):
    """All float pipelines side by side."""
    def __init__(self, fmt, width):
        self.multiply = FloatMultiply(fmt=fmt)
        self.add      = FloatAdd(fmt=fmt)
        self.from_int = FromInt(fmt=fmt, width=width)
        self.blocks   = {"multiply": self.multiply, "add": self.add, "from_int": self.from_int}
        super().__init__({
            "a": In(fmt.width), "b": In(fmt.width), "i": In(signed(width)),
            **{f"{name}_o": Out(fmt.width) for name in self.blocks},
            **{f"{name}_saturated": Out(1) for name in self.blocks},
        })

    def elaborate(self, platform):
        m = Module()
        for name, block in self.blocks.items():
            m.submodules[name] = block
            m.d.comb += [
                getattr(self, f"{name}_o").eq(block.o),
                getattr(self, f"{name}_saturated").eq(block.saturated),
            ]
        for block in (self.multiply, self.add):
            m.d.comb += [block.a.eq(self.a), block.b.eq(self.b)]
        m.d.comb += self.from_int.i.eq(self.i)
        return m


@over_simulators
@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("significand, exponent, width", [
    (12, 6, 24), (8, 5, 20), (17, 7, 9), (24, 8, 32),
])
def test_rtl_equals_golden(simulator, significand, exponent, width, seed):
    bench = FloatBench(Float(significand, exponent), width)
    run_bench(bench, "cocotb_float", simulator, significand=significand, exponent=exponent,
              width=width, seed=seed,
              latency={name: block.latency for name, block in bench.blocks.items()})


def test_latency_is_as_documented():
    narrow, wide = Float(12, 6), Float(24, 8)
    assert FloatMultiply(fmt=narrow).latency == 5
    assert FloatAdd(fmt=narrow).latency == 10
    assert FloatAdd(fmt=wide).latency == 12
    assert FromInt(fmt=narrow, width=24).latency == 7


@pytest.mark.parametrize("width", [1, 33])
def test_bad_integer_width_is_refused(width):
    with pytest.raises(ValueError, match="width must be 2 to 32"):
        FromInt(fmt=Float(12, 6), width=width)


def test_bad_normalise_width_is_refused():
    with pytest.raises(ValueError, match="width must be at least 2"):
        Normalise(width=1)
