"""Float arithmetic as free-running pipelines; the format is ``assembler.contract.formats.Float``.

Every block here takes operands in each cycle and gives the result ``latency`` cycles later,
without handshake. The surrounding block delays its own valid bit by as much, with
:func:`delay`, and reads ``saturated`` only where that bit is set.
"""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


__all__ = ["float_layout", "exact_layout", "unrounded_layout", "delay", "Normalise", "FloatRound",
           "FloatMultiply", "FloatAdd", "FromInt"]


def float_layout(fmt):
    """A float word. Mantissa and exponent together compare as an integer, like the magnitudes."""
    return data.StructLayout({"mantissa": fmt.mantissa, "exponent": fmt.exponent, "sign": 1})


def exact_layout(fmt):
    """An exact product: ``significand * 2**(exponent - 2 * bias - 2 * mantissa)``, or 0 with
    ``zero``.
    """
    return data.StructLayout({
        "significand": 2 * fmt.significand, "exponent": fmt.exponent + 1, "sign": 1, "zero": 1,
    })


def unrounded_layout(fmt, exponent_bits=None):
    """A normalised result before rounding. ``exponent`` is biased and may be out of range.

    ``guard`` is the first bit below the mantissa; ``sticky`` is set if any lower bit is.
    """
    return data.StructLayout({
        "sticky": 1, "guard": 1, "mantissa": fmt.mantissa,
        "exponent": signed(exponent_bits or fmt.exponent + 2), "sign": 1, "zero": 1,
    })


def delay(m, value, cycles, *, reset_less=True):
    """``value`` as it was ``cycles`` cycles ago; undefined in the first ``cycles`` after reset.

    With ``reset_less=False`` it is 0 in those cycles, as a valid bit must be. Data have no reset
    by default: routing a reset to every register of a datapath would cost wires for nothing.
    """
    for _ in range(cycles):
        stage = Signal(value.shape(), reset_less=reset_less)
        m.d.sync += stage.eq(value)
        value = stage
    return value


def _significand(word, fmt):
    """Significand of a float word with its hidden bit; 0 for the word 0."""
    one = word.exponent.any()
    return Cat(word.mantissa & one.replicate(fmt.mantissa), one)


def _top(m, value, fmt):
    """Split a normalised integer, leading one on top, into mantissa, guard bit and lower bits."""
    below = len(value) - fmt.significand        # bits below the significand
    if below < 2:
        value, below = Cat(Const(0, 2 - below), value), 2
    fields = data.StructLayout({"low": below - 1, "guard": 1, "mantissa": fmt.mantissa, "one": 1})
    split = Signal(fields)
    m.d.comb += split.as_value().eq(value)
    return split


def _shifter_latency(places):
    """Cycles of a shifter by less than ``places``, with a register after every two levels."""
    return -(-ceil_log2(places) // 2)


class Normalise(wiring.Component):
    """Shift left until the top bit is set: ``o = i << count``. For 0, ``o`` is 0.

    Latency: ``latency = ceil(log2(width) / 2)``, a register after every two levels of the
    shifter, widest first. Throughput: one a cycle.

    Parameters
    ----------
    width : int
        Bits of the integer, at least 2.

    Members
    -------
    i, o : :py:`In(width)`, :py:`Out(width)`
        Unsigned integer, and the same with its leading one on top.
    count : :py:`Out(ceil_log2(width))`
        Places that ``o`` was shifted by; undefined for 0.

    Raises
    ------
    ValueError
        ``width`` is less than 2.
    """
    def __init__(self, *, width):
        if width < 2:
            raise ValueError(f"width must be at least 2, not {width!r}")
        self.width   = width
        self.levels  = ceil_log2(width)
        self.latency = _shifter_latency(width)
        super().__init__({"i": In(width), "o": Out(width), "count": Out(self.levels)})

    def elaborate(self, platform):
        m = Module()
        value, count = self.i, Const(0, 0)
        for level in reversed(range(self.levels)):
            places = 1 << level
            clear = Signal(name=f"clear{level}")
            m.d.comb += clear.eq(~Cat(value[-k - 1] for k in range(places)).any())
            value = Mux(clear, value << places, value)[:self.width]
            count = Cat(clear, count)
            if level % 2 == 0:
                # Levels count down to 0, so that even levels are every second one and the last.
                value, count = delay(m, value, 1), delay(m, count, 1)
        m.d.comb += [self.o.eq(value), self.count.eq(count)]
        return m


class FloatRound(wiring.Component):
    """Round to nearest even, flush to zero, saturate: the only rounding of floats in hardware.

    Latency: 2. Throughput: one a cycle.

    Parameters
    ----------
    fmt : assembler.contract.formats.Float
    exponent_bits : int
        Bits of the signed exponent of ``i``; by default enough for products and sums.

    Members
    -------
    i : :py:`In(unrounded_layout(fmt, exponent_bits))`
    o : :py:`Out(fmt.width)`
        Float word.
    saturated : :py:`Out(1)`
        The magnitude was larger than ``fmt.max``; beside ``o``.

    Golden twin: :meth:`assembler.contract.formats.Float.round`.
    """
    latency = 2

    def __init__(self, *, fmt, exponent_bits=None):
        self.fmt = fmt
        super().__init__({
            "i": In(unrounded_layout(fmt, exponent_bits)), "o": Out(fmt.width),
            "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fmt, exponent = self.fmt, self.i.exponent

        # Rounding up is one increment of {exponent, mantissa}: a mantissa of ones becomes zero and
        # carries into the exponent, which is the right result.
        sum_layout = data.StructLayout({
            "mantissa": fmt.mantissa, "exponent": signed(len(exponent) + 1)})
        total = Signal(sum_layout, reset_less=True)
        up    = self.i.guard & (self.i.sticky | self.i.mantissa[0])
        m.d.sync += total.as_value().eq(Cat(self.i.mantissa, exponent).as_signed() + up)
        sign, zero = delay(m, self.i.sign, 1), delay(m, self.i.zero, 1)

        word      = Signal(float_layout(fmt), reset_less=True)
        saturated = Signal(reset_less=True)
        # Exponent 0 means 0, as there are no subnormals; the largest exponent is an ordinary one.
        small = zero | (total.exponent <= 0)
        large = ~zero & (total.exponent >= 1 << fmt.exponent)
        m.d.sync += [
            word.mantissa.eq(Mux(small, 0, Mux(large, ~0, total.mantissa))),
            word.exponent.eq(Mux(small, 0, Mux(large, ~0, total.exponent))),
            word.sign.eq(sign & ~small),
            saturated.eq(large),
        ]
        m.d.comb += [self.o.eq(word), self.saturated.eq(saturated)]
        return m


class FloatMultiply(wiring.Component):
    """``o = round(a * b)``.

    Latency: 5. Throughput: one a cycle. The multiplier takes a third of a cycle and is placed far
    from other logic, so it has registers directly before and behind it.

    Cost: one 18x18 multiplier for 12/6, four for 24/8. See ``docs/reports/area.md`` (float
    multiply).

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    a, b : :py:`In(fmt.width)`
        Float words.
    exact : :py:`Out(exact_layout(fmt))`
        The product before rounding, 2 cycles after ``a`` and ``b``.
    o : :py:`Out(fmt.width)`
        Float word.
    saturated : :py:`Out(1)`
        The product was larger than the format holds; beside ``o``.

    Golden twin: :meth:`assembler.contract.formats.Float.round` of the float64 product, which is
    exact.
    """
    latency = 5

    def __init__(self, *, fmt):
        self.fmt = fmt
        super().__init__({
            "a": In(fmt.width), "b": In(fmt.width), "exact": Out(exact_layout(fmt)),
            "o": Out(fmt.width), "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.round = rounder = FloatRound(fmt=self.fmt)
        fmt  = self.fmt
        a, b = (data.View(float_layout(fmt), delay(m, word, 1)) for word in (self.a, self.b))

        # The hidden bit is 1 for a zero as well: `zero` overrules the product later, so that no
        # logic is in front of the multiplier.
        exact = Signal(exact_layout(fmt), reset_less=True)
        m.d.sync += [
            exact.significand.eq(Cat(a.mantissa, C(1, 1)) * Cat(b.mantissa, C(1, 1))),
            exact.exponent.eq(a.exponent + b.exponent),
            exact.sign.eq(a.sign ^ b.sign),
            exact.zero.eq(~(a.exponent.any() & b.exponent.any())),
        ]
        m.d.comb += self.exact.eq(exact)

        # Two significands in [1, 2) have a product in [1, 4): at most one place to normalise.
        large = exact.significand[-1]
        top = _top(m, Mux(large, exact.significand, exact.significand << 1)
                   [:2 * fmt.significand], fmt)
        unrounded = Signal.like(rounder.i, reset_less=True)
        m.d.sync += [
            unrounded.mantissa.eq(top.mantissa),
            unrounded.guard.eq(top.guard),
            unrounded.sticky.eq(top.low.any()),
            unrounded.exponent.eq(exact.exponent + Mux(large, 1 - fmt.bias, -fmt.bias)),
            unrounded.sign.eq(exact.sign),
            unrounded.zero.eq(exact.zero),
        ]
        m.d.comb += [
            rounder.i.eq(unrounded),
            self.o.eq(rounder.o),
            self.saturated.eq(rounder.saturated),
        ]
        return m


class FloatAdd(wiring.Component):
    """``o = round(a + b)``; an exact sum of zero is +0.

    The smaller magnitude is aligned with guard, round and sticky bits, which round as the exact
    sum would.

    Latency: ``latency``, 10 cycles for 12/6 and 12 for 24/8. Throughput: one a cycle.

    Cost: see ``docs/reports/area.md`` (float add).

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    a, b : :py:`In(fmt.width)`
        Float words.
    o : :py:`Out(fmt.width)`
        Float word.
    saturated : :py:`Out(1)`
        The sum was larger than the format holds; beside ``o``.

    Golden twin: :meth:`assembler.contract.formats.Float.round` of the float64 sum, which says why
    the second rounding does not show.
    """
    def __init__(self, *, fmt):
        self.fmt = fmt
        self.latency = (2 + _shifter_latency(fmt.significand + 3) + 1
                        + _shifter_latency(fmt.significand + 4) + 1 + FloatRound.latency)
        super().__init__({
            "a": In(fmt.width), "b": In(fmt.width), "o": Out(fmt.width), "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.round = rounder = FloatRound(fmt=self.fmt)
        m.submodules.normalise = normalise = Normalise(width=self.fmt.significand + 4)
        fmt    = self.fmt
        layout = float_layout(fmt)
        a, b   = (data.View(layout, word) for word in (self.a, self.b))

        # Compare. Both differences, since which one is wanted is known a cycle later.
        swap = Signal(reset_less=True)
        a_minus_b, b_minus_a = (Signal(fmt.exponent, reset_less=True) for _ in range(2))
        m.d.sync += [
            swap.eq(Cat(a.mantissa, a.exponent) < Cat(b.mantissa, b.exponent)),
            a_minus_b.eq(a.exponent - b.exponent),
            b_minus_a.eq(b.exponent - a.exponent),
        ]
        a, b = (data.View(layout, delay(m, word, 1)) for word in (self.a, self.b))

        # Order by magnitude. From significand + 2 places on, the smaller one is only a sticky bit.
        most     = fmt.significand + 2
        levels   = ceil_log2(most + 1)
        large    = Signal(layout, reset_less=True)
        small    = Signal(fmt.significand, reset_less=True)
        distance = Signal(levels, reset_less=True)
        subtract = Signal(reset_less=True)
        wide     = Mux(swap, b_minus_a, a_minus_b)
        m.d.sync += [
            large.eq(Mux(swap, b, a)),
            small.eq(Mux(swap, _significand(a, fmt), _significand(b, fmt))),
            distance.eq(Mux(wide > most, most, wide)),
            subtract.eq(a.sign ^ b.sign),
        ]

        # Align: a register after every two levels of the shifter.
        aligned, sticky = Cat(C(0, 2), small), C(0, 1)
        for level in reversed(range(levels)):
            places = 1 << level
            shift  = distance[-1]
            sticky = sticky | (shift & aligned[:places].any())
            aligned  = Mux(shift, aligned >> places, aligned)
            distance = distance[:-1]
            if level % 2 == 0:
                aligned, sticky = delay(m, aligned, 1), delay(m, sticky, 1)
                distance = delay(m, distance, 1)
        cycles = _shifter_latency(most + 1)
        large, subtract = delay(m, large, cycles), delay(m, subtract, cycles)

        # Add, or subtract as ~y + 1: |large| >= |small|, so that the result is never negative.
        total = Signal(fmt.significand + 4, reset_less=True)
        # Below the significands are a guard, a round and a sticky bit, above them a carry.
        x = Cat(C(0, 3), _significand(large, fmt))
        y = Cat(sticky, aligned)
        m.d.sync += total.eq(x + (y ^ subtract.replicate(len(y) + 1)) + subtract)
        m.d.comb += normalise.i.eq(total)
        large = delay(m, large, 1 + normalise.latency)

        top = _top(m, normalise.o, fmt)
        unrounded = Signal.like(rounder.i, reset_less=True)
        m.d.sync += [
            unrounded.mantissa.eq(top.mantissa),
            unrounded.guard.eq(top.guard),
            unrounded.sticky.eq(top.low.any()),
            # The top bit of the sum is the carry, one place above the larger significand.
            unrounded.exponent.eq(large.exponent + 1 - normalise.count),
            unrounded.sign.eq(large.sign),
            unrounded.zero.eq(~top.one),
        ]
        m.d.comb += [
            rounder.i.eq(unrounded),
            self.o.eq(rounder.o),
            self.saturated.eq(rounder.saturated),
        ]
        return m


class FromInt(wiring.Component):
    """``o = round(i)``: a signed integer as a float.

    Latency: ``latency = 4 + ceil(log2(width) / 2)``, 7 cycles for 24 bits. Throughput: one a
    cycle.

    Parameters
    ----------
    fmt : assembler.contract.formats.Float
    width : int
        Bits of the two's complement integer, 2 to 32.

    Members
    -------
    i : :py:`In(signed(width))`
    o : :py:`Out(fmt.width)`
        Float word.
    saturated : :py:`Out(1)`
        The integer was larger than the format holds; beside ``o``.

    Raises
    ------
    ValueError
        ``width`` is out of range.

    Golden twin: :meth:`assembler.contract.formats.Float.round`.
    """
    def __init__(self, *, fmt, width):
        if width not in range(2, 33):
            raise ValueError(f"width must be 2 to 32 bits, not {width!r}")
        self.fmt   = fmt
        self.width = width
        self.latency = 1 + _shifter_latency(width) + 1 + FloatRound.latency
        super().__init__({"i": In(signed(width)), "o": Out(fmt.width), "saturated": Out(1)})

    def elaborate(self, platform):
        m = Module()
        fmt = self.fmt
        m.submodules.round = rounder = FloatRound(fmt=fmt)
        m.submodules.normalise = normalise = Normalise(width=self.width)

        negative  = self.i[-1]
        magnitude = Signal(self.width, reset_less=True)     # unsigned, so that 2**(width - 1) fits
        # A sign and a magnitude, as in the format: ~i + 1 where i is negative.
        m.d.sync += magnitude.eq((self.i ^ negative.replicate(self.width)) + negative)
        m.d.comb += normalise.i.eq(magnitude)

        top = _top(m, normalise.o, fmt)
        unrounded = Signal.like(rounder.i, reset_less=True)
        m.d.sync += [
            unrounded.mantissa.eq(top.mantissa),
            unrounded.guard.eq(top.guard),
            unrounded.sticky.eq(top.low.any()),
            unrounded.exponent.eq(fmt.bias + self.width - 1 - normalise.count),
            unrounded.sign.eq(delay(m, negative, 1 + normalise.latency)),
            unrounded.zero.eq(~top.one),
        ]
        m.d.comb += [
            rounder.i.eq(unrounded),
            self.o.eq(rounder.o),
            self.saturated.eq(rounder.saturated),
        ]
        return m
