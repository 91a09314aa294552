"""Statistics of a vector: exact sum of squares, and largest magnitude."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tern_fpga.assembler.contract import formats
from tern_fpga.hw.common.float import FloatRound, delay, float_layout


__all__ = ["elements_layout", "ExactSum", "Absmax"]


def elements_layout(fmt, lanes):
    """A row of a vector: ``lanes`` float words, a mask (``enable``) of those that count, and
    whether it is the vector's ``last`` row.
    """
    return data.StructLayout({
        "words": data.ArrayLayout(fmt.width, lanes), "enable": lanes, "last": 1,
    })


def _tree(m, values, combine):
    """Combine values pairwise with a register after each level; returns (result, cycles)."""
    cycles = 0
    while len(values) > 1:
        values = [delay(m, combine(*pair), 1) for pair in zip(values[::2], values[1::2])]
        cycles += 1
    return values[0], cycles


class ExactSum(wiring.Component):
    """``o = round(sum over e of i[e]**2)``: the exact sum, rounded once, for any order of elements.

    A square of ``2 * significand`` bits is shifted by the low bits of the exponent and added as
    an integer to one of 16 buckets, which the top 4 bits of the exponent select. Each lane has
    its buckets in distributed RAM. After the last row the buckets are added up from the smallest
    to the largest used one; bits that are shifted out count as sticky. That leaves more bits than
    a significand, because the largest used bucket holds a whole square.

    Bound: a shifted square is less than ``2**bits``, with ``bits = 2 * significand + 2 *
    (2**(exponent - 4) - 1)``; a lane sums at most ``2**16 / lanes`` of them, all lanes together
    at most 65535.

    Protocol: rows are taken until the last of a vector; the first row of the next vector is taken
    after the result was. Throughput: a row a cycle. Latency: the result is offered at most
    :py:attr:`latency` cycles after the last row, 36 for 12/6 and 1 lane.

    Cost: for each lane a multiplier of ``significand`` bits, a shifter and 16 words of
    distributed RAM. See ``docs/reports/area.md`` (exact sum).

    Parameters
    ----------
    fmt : assembler.contract.formats.Float
    lanes : int
        Elements a cycle: 1, 2, 4 or 8.

    Members
    -------
    i : :py:`In(stream.Signature(elements_layout(fmt, lanes)))`
        Rows of a vector of at most 65535 elements.
    o : :py:`Out(stream.Signature(fmt.width))`
        A float word for each vector.
    saturated : :py:`Out(1)`
        Strobe: the sum was larger than the format holds.

    Golden twin: :meth:`sim.golden.vector.VectorUnit.sumsq`.

    Source: U. Kulisch's long accumulator, cut into buckets; ``docs/decisions/exact-sums.md``.
    """
    BUCKETS = 16

    def __init__(self, *, fmt, lanes):
        self.fmt     = fmt
        self.lanes   = lanes
        stride       = 2 << fmt.exponent - exact_log2(self.BUCKETS)
        self.latency = (26 + -(-(fmt.exponent - 4) // 2) + exact_log2(lanes)
                        + (stride + 15) // 8 + (stride + 15) % 8)
        super().__init__({
            "i": In(stream.Signature(elements_layout(fmt, lanes))),
            "o": Out(stream.Signature(fmt.width)),
            "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fmt    = self.fmt
        low    = fmt.exponent - exact_log2(self.BUCKETS)    # exponent bits below the bucket's
        stride = 2 << low                                   # bits from a bucket to the next one
        bits   = 2 * fmt.significand + stride - 2           # of a shifted square
        count  = ceil_log2(formats.MAX_LENGTH)              # 65535 < 2**16

        word_fields = data.StructLayout({
            "mantissa": fmt.mantissa, "low": low, "bucket": fmt.exponent - low, "sign": 1})
        sweep = Signal(range(self.BUCKETS + 1))     # bucket that is being read and cleared
        clear = Signal()
        taken = self.i.valid & self.i.ready
        clearing = delay(m, clear, 1)

        # Square, shift (two levels between registers), read-modify-write; the same in all lanes.
        # The shifter works on even places: a square doubles the exponent.
        shifter = -(-low // 2)
        used    = Signal(self.BUCKETS)
        marks   = []
        parts   = []
        for lane in range(self.lanes):
            word   = data.View(word_fields, delay(m, self.i.p.words[lane], 1))
            enable = delay(m, taken & self.i.p.enable[lane], 1, reset_less=False)
            counts = enable & (word.low.any() | word.bucket.any())
            valid  = Signal(1 + shifter, name=f"valid{lane}")
            m.d.sync += valid.eq(Cat(counts, valid))
            significand = Cat(word.mantissa, C(1, 1))
            square = delay(m, significand * significand, 1)
            places = delay(m, word.low, 1)
            for level in reversed(range(low)):
                square = Mux(places[-1], square << (2 << level), square)[:bits]
                places = places[:-1]
                if level == 0:
                    square = Mux(valid[shifter - 1], square, 0)
                if level % 2 == 0:
                    square, places = delay(m, square, 1), delay(m, places, 1)
            bucket = delay(m, Mux(clear, sweep, delay(m, word.bucket, shifter)), 1)

            # Distributed RAM reads in the same cycle, so that two squares in a row may go to the
            # same bucket.
            sums = memory.Memory(shape=bits + count - exact_log2(self.lanes), depth=self.BUCKETS,
                                 init=[])
            m.submodules[f"sums{lane}"] = sums
            read, write = sums.read_port(domain="comb"), sums.write_port()
            m.d.comb += [
                read.addr.eq(bucket),
                write.addr.eq(bucket),
                write.data.eq(Mux(clearing, 0, read.data) + square),
                write.en.eq(clearing | valid[-1]),
            ]
            parts.append(delay(m, read.data, 1))
            marks.append(Mux(valid[-1], 1 << bucket, 0)[:self.BUCKETS])
        m.d.sync += used.eq(reduce(or_, [delay(m, mark, 1) for mark in marks], used))

        # Sweep: the sum of a bucket over all lanes leaves the tree `cycles` after it was read.
        total, cycles = _tree(m, parts, lambda a, b: a + b)
        cycles += 2
        adding  = Signal()
        arrived = delay(m, adding, cycles)

        m.submodules.round = rounder = FloatRound(fmt=fmt, exponent_bits=fmt.exponent + 3)
        acc      = Signal(bits + count)
        sticky   = Signal()
        empty    = Signal()     # no bucket is used: the sum is 0
        exponent = Signal(signed(fmt.exponent + 3))
        wait     = Signal(range(max(shifter + 3, cycles, rounder.latency)))
        below    = len(acc) - fmt.significand
        top      = data.View(data.StructLayout({
            "low": below - 1, "guard": 1, "mantissa": fmt.mantissa, "one": 1}), acc)
        m.d.comb += [
            rounder.i.mantissa.eq(top.mantissa),
            rounder.i.guard.eq(top.guard),
            rounder.i.sticky.eq(sticky | top.low.any()),
            rounder.i.exponent.eq(exponent),
            rounder.i.zero.eq(~top.one),
        ]
        # Enables of the wide registers are registers themselves: the state register has a large
        # fan-out already.
        resting     = Signal()      # one cycle late
        normalising = Signal()
        with m.If(resting):
            m.d.sync += [acc.eq(0), sticky.eq(0), empty.eq(1)]
            # The value is acc * 2**(exponent - bias - (len(acc) - 1)), once `exponent` has grown
            # by `stride` for each bucket up to the largest used one.
            m.d.sync += exponent.eq(len(acc) - 1 - fmt.bias - 2 * fmt.mantissa - stride)
        with m.Elif(arrived):
            m.d.sync += [
                acc.eq((acc >> stride) + total),
                sticky.eq(sticky | acc[:stride].any()),
                exponent.eq(exponent + stride),
                empty.eq(0),
            ]
        with m.Elif(normalising & ~top.one & ~empty):
            # By 8 or by 1: two multiplexer inputs instead of a full shifter.
            with m.If(~acc[-8:].any()):
                m.d.sync += [acc.eq(acc << 8), exponent.eq(exponent - 8)]
            with m.Else():
                m.d.sync += [acc.eq(acc << 1), exponent.eq(exponent - 1)]

        with m.FSM(init="clear") as fsm:
            # RAM has no reset: after one in the middle of a vector the buckets must be cleared.
            with m.State("clear"):
                m.d.comb += clear.eq(1)
                m.d.sync += [sweep.eq(sweep + 1), used.eq(0)]
                with m.If(sweep == self.BUCKETS - 1):
                    m.next = "rows"
            with m.State("rows"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [sweep.eq(0), wait.eq(shifter + 2)]
                with m.If(taken & self.i.p.last):
                    m.next = "settle"
            with m.State("settle"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.next = "sweep"
            with m.State("sweep"):
                m.d.comb += [clear.eq(~sweep[-1]), adding.eq(used.any())]
                m.d.sync += [sweep.eq(sweep + 1), used.eq(used >> 1), wait.eq(cycles - 1)]
                with m.If(~used.any()):
                    m.next = "add"
            with m.State("add"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += normalising.eq(1)
                    m.next = "normalise"
            with m.State("normalise"):
                m.d.sync += wait.eq(rounder.latency - 1)
                with m.If(top.one | empty):
                    m.d.sync += normalising.eq(0)
                    m.next = "round"
            with m.State("round"):
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.comb += self.saturated.eq(rounder.saturated)
                    m.d.sync += [self.o.payload.eq(rounder.o), self.o.valid.eq(1)]
                    m.next = "offer"
            with m.State("offer"):
                with m.If(self.o.ready):
                    m.d.sync += self.o.valid.eq(0)
                    m.next = "rows"
        m.d.sync += resting.eq(fsm.ongoing("rows"))
        return m


class Absmax(wiring.Component):
    """``o = max over e of abs(i[e])``, exact.

    Protocol: as :class:`ExactSum`. Throughput: a row a cycle. Latency: the result is offered
    ``latency = log2(lanes) + 2`` cycles after the last row.

    Cost: a comparator of ``width - 1`` bits a lane.

    Parameters and members as in :class:`ExactSum`, without ``saturated``.

    Golden twin: :meth:`sim.golden.vector.VectorUnit.absmax`.
    """
    def __init__(self, *, fmt, lanes):
        self.fmt     = fmt
        self.lanes   = lanes
        self.latency = exact_log2(lanes) + 2
        super().__init__({
            "i": In(stream.Signature(elements_layout(fmt, lanes))),
            "o": Out(stream.Signature(fmt.width)),
        })

    def elaborate(self, platform):
        m = Module()
        layout = float_layout(self.fmt)
        values = []
        for word, counts in zip(self.i.p.words, self.i.p.enable):
            word = data.View(layout, word)
            magnitude = Cat(word.mantissa, word.exponent)
            values.append(delay(m, Mux(counts & word.exponent.any(), magnitude, 0), 1))
        # The exponent is above the mantissa, so magnitudes compare as integers.
        largest, cycles = _tree(m, values, lambda a, b: Mux(a > b, a, b))
        cycles += 1

        most    = Signal(self.fmt.width - 1)
        arrived = Signal(cycles)
        ended   = Signal(cycles)
        busy    = Signal()
        taken   = self.i.valid & self.i.ready
        m.d.comb += self.i.ready.eq(~busy)
        m.d.sync += [
            arrived.eq(Cat(taken, arrived)),
            ended.eq(Cat(taken & self.i.p.last, ended)),
        ]
        with m.If(taken & self.i.p.last):
            m.d.sync += busy.eq(1)
        with m.If(arrived[-1] & (largest > most)):
            m.d.sync += most.eq(largest)
        with m.If(ended[-1]):
            m.d.sync += self.o.valid.eq(1)
        m.d.comb += self.o.payload.eq(most)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.o.valid.eq(0), most.eq(0), busy.eq(0)]
        return m
