"""Float arithmetic against its definition: the exact result, rounded once."""

from amaranth import *

from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.common.float import FloatAdd, FloatMultiply, FloatRound, float_layout
from tests.campaigns.formal.bench import Fault, Proof


__all__ = ["PROOFS"]


class _Narrow(Float):
    """A format that no machine may have."""
    def __post_init__(self):
        pass


def _rounded(b, name, fmt, magnitude, scale, sign):
    """``(-1)**sign * magnitude * 2**scale`` as :meth:`assembler.contract.formats.Float.round`
    has it.

    ``magnitude`` is an integer, ``scale`` counts from the exponent field 0 of a significand that
    is an integer. Returns word and "saturated".
    """
    width  = len(magnitude)
    top    = Signal(range(width), name=f"{name}_top")       # place of the leading one
    for k in range(width):
        with b.m.If(magnitude[k]):
            b.m.d.comb += top.eq(k)
    # Whole significands, and what is cut: the nearest, and of two the even one.
    placed = b.named(f"{name}_placed", (magnitude << fmt.significand << 1) >> top)
    below  = Signal(name=f"{name}_below")                   # ones that the shift lost
    b.m.d.comb += below.eq((placed << top)[:width + fmt.significand + 1]
                           != magnitude << fmt.significand << 1)
    whole, half = placed[2:], placed[1]
    rest    = placed[0] | below
    nearest = b.named(f"{name}_nearest",
                      Mux(~half | ~rest & ~whole[0], whole, whole + 1)[:fmt.significand + 1])
    over    = nearest[-1]                                   # rounded up to the next power of two
    exponent = Signal(signed(fmt.exponent + 8), name=f"{name}_exponent")
    b.m.d.comb += exponent.eq(scale + top - fmt.mantissa + over)
    small = (magnitude == 0) | (exponent <= 0)
    large = ~small & (exponent >= 1 << fmt.exponent)
    word  = Signal(float_layout(fmt), name=f"{name}_word")
    b.m.d.comb += [
        word.sign.eq(sign & ~small),
        word.exponent.eq(Mux(small, 0, Mux(large, ~0, exponent))),
        word.mantissa.eq(Mux(small, 0, Mux(large, ~0, Mux(over, 0, nearest)))),
    ]
    return Value.cast(word), large


def _equal(b, block, word, large, lead):
    """``block`` gives the definition's result ``lead`` cycles after its operands."""
    came = ~b.first
    for _ in range(lead):
        word, large, came = b.past(word), b.past(large), b.past(came)
    b.promise("same_word", ~came | (block.o == word))
    b.promise("same_flag", ~came | (block.saturated == large))
    return came, word, large


def _operands(b, fmt):
    a, c = b.any("a", fmt.width), b.any("b", fmt.width)
    layout = float_layout(fmt)
    def significand(word):
        return Mux(layout(word).exponent == 0, 0, Cat(layout(word).mantissa, C(1, 1)))
    return a, c, layout(a), layout(c), significand(a), significand(c)


def _reaches(b, came, word, large, fmt):
    b.reach("ordinary", came & ~large & float_layout(fmt)(word).exponent.any())
    b.reach("saturates", came & large)
    b.reach("zero", came & (word == 0))


def _multiply(fmt):
    def describe(b):
        a, c, x, y, u, v = _operands(b, fmt)
        block = b.block("block", FloatMultiply(fmt=fmt))
        b.m.d.comb += [block.a.eq(a), block.b.eq(c)]
        product = b.named("product", Mux(u == 0, 0, Mux(v == 0, 0, Cat(x.mantissa, C(1, 1))
                                                        * Cat(y.mantissa, C(1, 1)))))
        scale = x.exponent + y.exponent - fmt.bias - fmt.mantissa
        word, large = _rounded(b, "exact", fmt, product, scale, x.sign ^ y.sign)
        _reaches(b, *_equal(b, block, word, large, block.latency), fmt)
    return describe


def _add(fmt):
    def describe(b):
        a, c, x, y, u, v = _operands(b, fmt)
        block = b.block("block", FloatAdd(fmt=fmt))
        b.m.d.comb += [block.a.eq(a), block.b.eq(c)]
        # In units of the last place of the smallest exponent.
        width  = (1 << fmt.exponent) + fmt.significand + 1
        big    = Signal(width, name="big")
        little = Signal(width, name="little")
        swap   = (u << x.exponent) < (v << y.exponent)
        left, right = (u << x.exponent)[:width], (v << y.exponent)[:width]
        b.m.d.comb += [big.eq(Mux(swap, right, left)), little.eq(Mux(swap, left, right))]
        total = b.named("total", Mux(x.sign ^ y.sign, big - little, big + little)[:width])
        word, large = _rounded(b, "exact", fmt, total, C(0, 1), Mux(swap, y.sign, x.sign))
        _reaches(b, *_equal(b, block, word, large, block.latency), fmt)
    return describe


def _add_far(fmt):
    """As :func:`_add`, but with the larger operand's exponent as a measure: a smaller one below
    1/16 of its last place only says on which side of it the sum lies, and any such operand rounds
    alike. So no number of 77 bits is shifted twice."""
    def describe(b):
        a, c, x, y, u, v = _operands(b, fmt)
        block = b.block("block", FloatAdd(fmt=fmt))
        b.m.d.comb += [block.a.eq(a), block.b.eq(c)]
        below = fmt.significand + 3         # places below the last one of the larger operand
        swap  = b.named("swap", Cat(x.mantissa, x.exponent) < Cat(y.mantissa, y.exponent))
        high, low = Mux(swap, y.exponent, x.exponent), Mux(swap, x.exponent, y.exponent)
        far   = b.named("far", (high - low)[:fmt.exponent])
        big   = b.named("big", Mux(swap, v, u) << below)
        whole = b.named("whole", Mux(swap, u, v) << below)
        near  = b.named("near", whole >> Mux(far > below, below, far))
        little = b.named("little", Mux((far > below) & whole.any(), 1, near))
        total = b.named("total", Mux(x.sign ^ y.sign, big - little, big + little)
                        [:fmt.significand + below + 1])
        word, large = _rounded(b, "exact", fmt, total, high - below, Mux(swap, y.sign, x.sign))
        _reaches(b, *_equal(b, block, word, large, block.latency), fmt)
    return describe


def _round(fmt):
    def describe(b):
        block = b.block("block", FloatRound(fmt=fmt))
        given = Signal.like(block.i)
        b.m.d.comb += [given.eq(b.any("given", len(Value.cast(given)))), block.i.eq(given)]
        magnitude = Mux(given.zero, 0, Cat(given.sticky, given.guard, given.mantissa, C(1, 1)))
        word, large = _rounded(b, "exact", fmt, magnitude, given.exponent - 2, given.sign)
        _reaches(b, *_equal(b, block, word, large, block.latency), fmt)
    return describe


_BOARD  = PRESETS["ulx3s-85f"].float
_FINE   = PRESETS["sim-tiny"].float
_NARROW = _Narrow(4, 3)


def _proof(name, shows, describe, fmt, latency, faults, quick=False, limits=""):
    return Proof(f"float {name} {fmt.significand}/{fmt.exponent}",
                 f"{shows}, for all words of {fmt.significand} bits of significand and "
                 f"{fmt.exponent} of exponent.",
                 describe(fmt), method=f"induction {latency + 3}", reach=latency + 3,
                 limits=limits, faults=faults, quick=quick)


_ROUND = (Fault("ties go up", "hw.common.float:FloatRound",
                "(self.i.sticky | self.i.mantissa[0])", "1"),)
_MULTIPLY = (Fault("the guard bit counts as sticky too", "hw.common.float:FloatMultiply",
                   "unrounded.sticky.eq(top.low.any())",
                   "unrounded.sticky.eq(top.low.any() | top.guard)"),)
_ADD = (Fault("the sticky bit is cut off", "hw.common.float:FloatAdd",
              "y = Cat(sticky, aligned)",
              "y = Cat(sticky & subtract, aligned)"),)

PROOFS = (
    *(_proof("round", "FloatRound rounds to nearest even, flushes and saturates", _round, fmt,
             FloatRound.latency, _ROUND, quick=fmt is _BOARD) for fmt in (_BOARD, _FINE)),
    *(_proof("multiply", "FloatMultiply is the exact product, rounded once, and its flag right",
             _multiply, fmt, FloatMultiply.latency, _MULTIPLY) for fmt in (_NARROW, _BOARD)),
    *(_proof("add", "FloatAdd is the exact sum, rounded once, and its flag right",
             describe, fmt, FloatAdd(fmt=fmt).latency, _ADD)
      for describe, fmt in ((_add, _NARROW), (_add_far, _BOARD))),
)
