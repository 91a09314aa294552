"""Division and square root, one digit a cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.common.float import FloatRound, float_layout, unrounded_layout


__all__ = ["Divide"]


class Divide(wiring.Component):
    """``o = round(a / b)``, or with ``root`` ``o = round(sqrt(a))``.

    ``x / 0`` is 0, and so is the root of ``a <= 0``. Restoring digit recurrence; one subtractor
    serves both operations.

    Protocol: one operation at a time. Latency: the result is offered ``significand + 7`` cycles
    after the operands were accepted.

    Cost: see ``docs/reports/area.md`` (divide).

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    i : :py:`In(stream.Signature(Divide.operands(fmt)))`
        Float words ``a`` and ``b``; ``root``: compute the square root of ``a``.
    o : :py:`Out(stream.Signature(fmt.width))`
        Float word.
    saturated : :py:`Out(1)`
        Strobe: the quotient was larger than the format holds.

    Golden twins: :meth:`sim.golden.vector.VectorUnit.div` and ``sqrt``.
    """
    @staticmethod
    def operands(fmt):
        """Payload of ``i``."""
        return data.StructLayout({"a": fmt.width, "b": fmt.width, "root": 1})

    def __init__(self, *, fmt):
        self.fmt = fmt
        super().__init__({
            "i": In(stream.Signature(self.operands(fmt))),
            "o": Out(stream.Signature(fmt.width)),
            "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fmt = self.fmt
        m.submodules.round = rounder = FloatRound(fmt=fmt)
        a = data.View(float_layout(fmt), self.i.p.a)
        b = data.View(float_layout(fmt), self.i.p.b)

        # Digits of the result: the significand, a guard bit, and one more because the quotient of
        # two significands is in (1/2, 2), so that its first digit may be 0.
        digits    = fmt.significand + 2
        count     = Signal(range(digits))
        root      = Signal()
        zero      = Signal()
        sign      = Signal()
        exponent  = Signal(signed(fmt.exponent + 2))
        radicand  = Signal(fmt.significand + 1)     # in [1, 4): 2 bits before the point
        result    = Signal(digits)
        remainder = Signal(digits + 3)
        trial     = Signal(digits + 2)      # the divisor; for a root, 4 * result + 1

        # Restoring: the remainder is kept as it was where the trial value does not fit.
        rest = Signal(signed(len(remainder) + 1))
        fits = Signal()
        kept = Signal.like(remainder)
        m.d.comb += [
            rest.eq(remainder - trial),
            fits.eq(rest >= 0),
            kept.eq(Mux(fits, rest, remainder)),
        ]

        unrounded = Signal(unrounded_layout(fmt))
        top = data.View(data.StructLayout({"sticky": 1, "guard": 1, "mantissa": fmt.mantissa}),
                        Mux(result[-1], result, result << 1)[:digits - 1])
        m.d.comb += rounder.i.eq(unrounded)

        doubled = Signal(fmt.significand + 1)       # times 2 if the power of two is odd
        m.d.comb += doubled.eq(Cat(a.mantissa, C(1, 1)) << ~a.exponent[0])

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    root.eq(self.i.p.root),
                    trial.eq(Mux(self.i.p.root, 1, Cat(b.mantissa, C(1, 1)))),
                    result.eq(0),
                    count.eq(digits - 1),
                ]
                with m.If(self.i.p.root):
                    m.d.sync += [
                        Cat(radicand, remainder).eq(doubled << 2),
                        # Half of the unbiased exponent, rounded down, biased again.
                        exponent.eq((a.exponent + fmt.bias) >> 1),
                        sign.eq(0),
                        zero.eq(~a.exponent.any() | a.sign),
                    ]
                with m.Else():
                    m.d.sync += [
                        remainder.eq(Cat(a.mantissa, C(1, 1))),
                        exponent.eq(a.exponent - b.exponent + fmt.bias),
                        sign.eq(a.sign ^ b.sign),
                        zero.eq(~(a.exponent.any() & b.exponent.any())),
                    ]
                with m.If(self.i.valid):
                    m.next = "digits"
            with m.State("digits"):
                m.d.sync += [
                    # A root consumes two bits of the radicand for each digit.
                    result.eq(Cat(fits, result)),
                    radicand.eq(radicand << 2),
                    remainder.eq(Mux(root, Cat(radicand[-2:], kept), kept << 1)),
                    count.eq(count - 1),
                ]
                # The next trial value of a root appends 01 to the digits found so far.
                with m.If(root):
                    m.d.sync += trial.eq(Cat(C(1, 2), fits, result))
                with m.If(count == 0):
                    m.next = "normalise"
            with m.State("normalise"):
                m.d.sync += [
                    unrounded.mantissa.eq(top.mantissa),
                    unrounded.guard.eq(top.guard),
                    unrounded.sticky.eq(top.sticky | remainder.any()),
                    unrounded.exponent.eq(exponent - ~result[-1]),
                    unrounded.sign.eq(sign),
                    unrounded.zero.eq(zero),
                ]
                m.next = "round"
            # Two states for the latency of `FloatRound`.
            with m.State("round"):
                m.next = "saturate"
            with m.State("saturate"):
                m.next = "strobe"
            with m.State("strobe"):
                m.d.comb += self.saturated.eq(rounder.saturated)
                m.d.sync += [self.o.payload.eq(rounder.o), self.o.valid.eq(1)]
                m.next = "offer"
            with m.State("offer"):
                with m.If(self.o.ready):
                    m.d.sync += self.o.valid.eq(0)
                    m.next = "idle"
        return m
