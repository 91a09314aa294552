"""Words of one width into words of another, as one dense bit string."""

from math import gcd

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Gearbox"]


class Gearbox(wiring.Component):
    """Cut the bit string that the inputs make into outputs; the low bits are the earlier ones.

    Two ways to end a string, so that the next one starts with the low bit of the next input:

    * ``last`` with an input ends the string after it: what does not fill an output is filled up
      with zeros, and the output that ends the string has ``last``.
    * ``drop`` while an output is taken ends the string after that output: what is left of the
      input that it ends in is dropped.

    All offsets are multiples of ``g = gcd(in_bits, out_bits)``. A wide input enters the window
    behind what is left there, at one of ``out_bits / g`` places, and moves down by whole outputs;
    narrow inputs move down by whole inputs, and the output is taken from one of ``in_bits /
    g`` places. So only one side has a multiplexer, and that only of as many ways as phases.

    Latency: an output is offered in the cycle after the input that fills it. Throughput: an input
    or an output a cycle, whichever is narrower. ``i.ready`` depends on ``o.ready``.

    Cost: ``in_bits + out_bits - g`` flip-flops and a multiplexer of ``in_bits / g`` ways for
    each bit of a wider output, or of ``out_bits / g`` ways for each bit of a wider input.

    Parameters
    ----------
    in_bits, out_bits : int
        Widths, at least 1.

    Members
    -------
    i : :py:`In(stream.Signature(Gearbox.word(in_bits)))`
    o : :py:`Out(stream.Signature(Gearbox.word(out_bits)))`
    drop : :py:`In(1)`
        Read when ``o`` is taken.

    Golden twin: :func:`sim.golden.gearbox.regroup`.
    """
    @staticmethod
    def word(bits):
        return data.StructLayout({"data": bits, "last": 1})

    def __init__(self, *, in_bits, out_bits):
        if in_bits < 1 or out_bits < 1:
            raise ValueError(f"widths must be at least 1, not {in_bits!r} and {out_bits!r}")
        self.in_bits  = in_bits
        self.out_bits = out_bits
        super().__init__({
            "i":    In(stream.Signature(self.word(in_bits))),
            "o":    Out(stream.Signature(self.word(out_bits))),
            "drop": In(1),
        })

    def elaborate(self, platform):
        unit = gcd(self.in_bits, self.out_bits)
        build = self._widen if self.in_bits <= self.out_bits else self._narrow
        return build(unit, self.in_bits // unit, self.out_bits // unit)

    def _widen(self, unit, taken, given):
        """``taken`` <= ``given``: units of ``unit`` bits in an input and in an output."""
        m = Module()
        size   = given + taken - 1
        window = Signal(data.ArrayLayout(unit, size))   # the units that are held are the top ones
        level  = Signal(range(size + 1))
        full   = Signal()
        ending = Signal()       # the string's last input is in the window
        padded = Signal()       # and zeros behind it
        left   = Signal(range(max(taken, 2)))           # units after the output that is offered
        pop    = Signal()
        push   = Signal()
        pad    = Signal()
        end    = Signal()

        m.d.comb += [
            full.eq(level >= given),
            left.eq(level - given),
            self.o.valid.eq(full),
            pop.eq(full & self.o.ready),
            self.o.payload.last.eq(ending & (padded | (left == 0))),
            end.eq(self.o.payload.last | self.drop),
            self.i.ready.eq((~full | pop) & (~ending | pop & end)),
            push.eq(self.i.valid & self.i.ready),
            pad.eq(ending & ~full),
        ]
        # A signal of its own: of a payload that is driven in two places, Icarus leaves one
        # undefined until it changes for the first time.
        output = Signal(self.out_bits)
        with m.Switch(left):
            for phase in range(taken):
                with m.Case(phase):
                    first = taken - 1 - phase
                    m.d.comb += output.eq(Cat(window[n] for n in range(first, first + given)))
        m.d.comb += self.o.payload.data.eq(output)

        units = Cat(self.i.payload.data.word_select(n, unit) for n in range(taken))
        with m.If(push | pad):
            m.d.sync += Value.cast(window).eq(
                Cat(*(window[n] for n in range(taken, size)), Mux(pad, 0, units)))
        kept = Mux(pop, Mux(end, 0, left), level)
        m.d.sync += level.eq(kept + Mux(push | pad, taken, 0))
        with m.If(pop & end):
            m.d.sync += [ending.eq(0), padded.eq(0)]
        with m.If(push):
            m.d.sync += ending.eq(self.i.payload.last)
        with m.If(pad):
            m.d.sync += padded.eq(1)
        return m

    def _narrow(self, unit, taken, given):
        """``taken`` > ``given``: units of ``unit`` bits in an input and in an output."""
        m = Module()
        size   = given + taken - 1
        window = Signal(size * unit)    # the units that are held are the low ones, zeros above
        level  = Signal(range(size + 1))
        ending = Signal()
        pop    = Signal()
        push   = Signal()
        end    = Signal()

        enough = level >= given
        m.d.comb += [
            self.o.payload.data.eq(window),
            self.o.payload.last.eq(ending & (level <= given)),
            self.o.valid.eq(enough | ending),
            pop.eq(self.o.valid & self.o.ready),
            end.eq(self.o.payload.last | self.drop),
        ]
        kept = Signal(range(size + 1))
        rest = Signal(size * unit)
        with m.If(pop & end):
            m.d.comb += [kept.eq(0), rest.eq(0)]
        with m.Elif(pop):
            m.d.comb += [kept.eq(level - given), rest.eq(window >> given * unit)]
        with m.Else():
            m.d.comb += [kept.eq(level), rest.eq(window)]

        # `kept < given`, without waiting for `kept`.
        space = Mux(pop, end | (level < 2 * given), ~ending & (level < given))
        m.d.comb += self.i.ready.eq(space & (~ending | end))
        m.d.comb += push.eq(self.i.valid & self.i.ready)
        entering = Signal(size * unit)
        with m.Switch(kept):
            for phase in range(given):
                with m.Case(phase):
                    m.d.comb += entering.eq(self.i.payload.data << phase * unit)
        m.d.sync += [
            window.eq(rest | Mux(push, entering, 0)),
            level.eq(kept + Mux(push, taken, 0)),
        ]
        with m.If(pop & end):
            m.d.sync += ending.eq(0)
        with m.If(push):
            m.d.sync += ending.eq(self.i.payload.last)
        return m
