"""Convert words of one width to words of another, as one dense bit string."""

from math import gcd

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Gearbox"]


class Gearbox(wiring.Component):
    """Join input words to a bit string, low bits first, and cut it into output words.

    A string ends in one of two ways; the next one then starts with the low bit of the next input:

    * ``last`` with an input ends the string after that input. An incomplete output is padded
      with zeros, and the output that ends the string has ``last``.
    * ``drop`` while an output is taken ends the string after that output. The remaining bits of
      the input in which it ends are dropped.

    All offsets are multiples of ``g = gcd(in_bits, out_bits)``. A wide input is inserted behind
    the remaining bits, at one of ``out_bits / g`` places, and the window shifts down by whole
    outputs. Narrow inputs shift the window down by whole inputs, and the output is read at one of
    ``in_bits / g`` places. So only one side has a multiplexer, with as many inputs as there are
    phases.

    Throughput: an input or an output a cycle, whichever is narrower. Latency: an output is
    offered in the cycle after the input that completes it. ``i.ready`` depends on ``o.ready``
    combinationally.

    Cost: ``in_bits + out_bits - g`` flip-flops, and for each bit of the wider side a multiplexer:
    of ``in_bits / g`` inputs if outputs are wider, of ``out_bits / g`` if inputs are.

    Parameters
    ----------
    in_bits, out_bits : int
        Widths, at least 1.

    Members
    -------
    i : :py:`In(stream.Signature(Gearbox.word(in_bits)))`
        ``data``, and ``last``: it ends the string.
    o : :py:`Out(stream.Signature(Gearbox.word(out_bits)))`
        ``data``, and ``last``: it ends a string that ``last`` of an input ended.
    drop : :py:`In(1)`
        Read when ``o`` is taken.

    Raises
    ------
    ValueError
        A width is less than 1.

    Golden twin: :func:`sim.golden.gearbox.regroup`.
    """
    @staticmethod
    def word(bits):
        """Payload of ``i`` or ``o``."""
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
        """For ``taken`` <= ``given``, the units of ``unit`` bits in an input and in an output."""
        m = Module()
        size   = given + taken - 1
        window = Signal(data.ArrayLayout(unit, size))   # the `level` units held are the top ones
        level  = Signal(range(size + 1))
        full   = Signal()
        ending = Signal()       # the string's last input is in the window
        padded = Signal()       # ... and an input of zeros behind it
        left   = Signal(range(max(taken, 2)))           # units behind the output that is offered
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
        # A signal of its own: if a payload is driven in two places, Icarus leaves one part
        # undefined until it changes for the first time.
        output = Signal(self.out_bits)
        with m.Switch(left):
            for phase in range(taken):
                with m.Case(phase):
                    first = taken - 1 - phase
                    m.d.comb += output.eq(Cat(window[n] for n in range(first, first + given)))
        m.d.comb += self.o.payload.data.eq(output)

        units = Cat(self.i.payload.data.word_select(n, unit) for n in range(taken))
        # Inputs enter at the top and move down: `left` is then the phase of the output.
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
        """For ``taken`` > ``given``, the units of ``unit`` bits in an input and in an output."""
        m = Module()
        size   = given + taken - 1
        window = Signal(size * unit)    # the `level` units held are the low ones, 0 above
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
        # What remains after this cycle's output, without this cycle's input.
        kept = Signal(range(size + 1))
        rest = Signal(size * unit)
        with m.If(pop & end):
            m.d.comb += [kept.eq(0), rest.eq(0)]
        with m.Elif(pop):
            m.d.comb += [kept.eq(level - given), rest.eq(window >> given * unit)]
        with m.Else():
            m.d.comb += [kept.eq(level), rest.eq(window)]

        # The same as `kept < given`, without the subtraction in front of `ready`.
        space = Mux(pop, end | (level < 2 * given), ~ending & (level < given))
        m.d.comb += self.i.ready.eq(space & (~ending | end))
        m.d.comb += push.eq(self.i.valid & self.i.ready)
        entering = Signal(size * unit)
        with m.Switch(kept):
            for phase in range(given):
                with m.Case(phase):
                    m.d.comb += entering.eq(self.i.payload.data << phase * unit)
        m.d.sync += [
            # OR suffices: bits above the held ones are 0.
            window.eq(rest | Mux(push, entering, 0)),
            level.eq(kept + Mux(push, taken, 0)),
        ]
        with m.If(pop & end):
            m.d.sync += ending.eq(0)
        with m.If(push):
            m.d.sync += ending.eq(self.i.payload.last)
        return m
