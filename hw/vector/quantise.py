"""From an exact product to an int8 code."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import formats
from tern_fpga.hw.common.float import delay, exact_layout


__all__ = ["Quantise"]


class Quantise(wiring.Component):
    """``o = clamp(round_half_even(i), -128, 127)``, rounded once.

    Latency: 5. Throughput: one a cycle.

    Cost: part of the vector lane in ``docs/reports/area.md``.

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    i : :py:`In(exact_layout(fmt))`
        Product of :class:`hw.common.float.FloatMultiply` before rounding.
    o : :py:`Out(signed(8))`
        Code.

    Golden twin: :meth:`sim.golden.vector.VectorUnit.quant`.
    """
    latency = 5

    def __init__(self, *, fmt):
        self.fmt = fmt
        super().__init__({"i": In(exact_layout(fmt)), "o": Out(signed(formats.CODE.width))})

    def elaborate(self, platform):
        m = Module()
        fmt = self.fmt

        # The product's significand is in [1, 4). With exponent 7 its top 9 bits are the integer
        # (below 512), then a guard bit; all bits below are sticky. Smaller exponents shift these
        # bits to the right.
        scale  = formats.CODE.width - 1
        bits   = scale + 2
        fields = data.StructLayout({"low": 2 * fmt.significand - bits - 1, "high": bits + 1})
        split  = data.View(fields, self.i.significand)
        places = Signal(signed(fmt.exponent + 2), reset_less=True)
        m.d.sync += places.eq(2 * fmt.bias + scale - self.i.exponent)
        value, sticky = delay(m, split.high, 1), delay(m, split.low.any(), 1)
        zero, sign = delay(m, self.i.zero, 1), delay(m, self.i.sign, 4)

        large = delay(m, ~zero & (places < 0), 3)
        small = delay(m, zero | (places > bits), 3)
        levels   = ceil_log2(bits + 1)
        distance = places.as_unsigned()[:levels]
        for level in reversed(range(levels)):
            shift    = distance[-1]
            sticky   = sticky | (shift & value[:1 << level].any())
            value    = Mux(shift, value >> (1 << level), value)
            distance = distance[:-1]
            if level % 2 == 0:
                value, sticky = delay(m, value, 1), delay(m, sticky, 1)
                distance = delay(m, distance, 1)

        rounded = Signal(bits + 1, reset_less=True)
        split = data.View(data.StructLayout({"guard": 1, "integer": bits}), value)
        m.d.sync += rounded.eq(split.integer + (split.guard & (sticky | split.integer[0])))

        # -128 is also the code of values that do not fit, so both signs clamp from 128 on.
        code = Signal(signed(formats.CODE.width), reset_less=True)
        with m.If(small):
            m.d.sync += code.eq(0)
        with m.Elif(large | (rounded > formats.CODE.max)):
            m.d.sync += code.eq(Mux(sign, formats.CODE.min, formats.CODE.max))
        with m.Else():
            m.d.sync += code.eq(Mux(sign, -rounded, rounded))
        m.d.comb += self.o.eq(code)
        return m
