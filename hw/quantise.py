"""Exact product to int8 code."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from assembler import formats
from hw.float import delay, exact_layout


__all__ = ["Quantise"]


class Quantise(wiring.Component):
    """``o = clamp(round_half_even(i), -128, 127)``, rounded once.

    Latency 5, one a cycle. Cost: part of the lane's.

    Parameters
    ----------
    fmt : assembler.formats.Float

    Members
    -------
    i : :py:`In(exact_layout(fmt))`
        Product, as :class:`hw.float.FloatMultiply` has it before rounding.
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

        # A significand below 4 = 2**2 with the exponent 7 is an integer of 9 bits, which reaches
        # 256, and a guard bit; all below is sticky. Smaller exponents shift that to the right.
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

        # -128 too is the code of what does not fit, so that both signs clamp from 128 on.
        code = Signal(signed(formats.CODE.width), reset_less=True)
        with m.If(small):
            m.d.sync += code.eq(0)
        with m.Elif(large | (rounded > formats.CODE.max)):
            m.d.sync += code.eq(Mux(sign, formats.CODE.min, formats.CODE.max))
        with m.Else():
            m.d.sync += code.eq(Mux(sign, -rounded, rounded))
        m.d.comb += self.o.eq(code)
        return m
