"""Random bits from a counter, and Gumbel variates made of them."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import tables
from tern_fpga.assembler.contract.registers import PAYLOAD_BITS
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.signatures import TOKEN_BITS


__all__ = ["Gumbel", "draw_key_layout"]


_ROUNDS   = 7
_MULTIPLY = 0x2d9eb
_CONSTANT = 0x1e377
_HALF     = 18
_GROUP    = 4              # bits in each group of the leading-zero count

_line_layout = data.StructLayout({
    "intercept": signed(tables.GUMBEL_WIDTH), "slope": signed(tables.GUMBEL_SLOPE_WIDTH),
})
_bits_layout = data.StructLayout({
    "step":   tables.GUMBEL_STEP_BITS,
    "line":   tables.GUMBEL_BITS - tables.GUMBEL_STEP_BITS,
    "side":   1,
    "octave": tables.GUMBEL_OCTAVES - 1,
})

# All that a variate depends on: the stream's seed, how many tokens it has sampled, and the row.
# Neighbours, slot and step do not enter, so that a stream's tokens are reproducible.
draw_key_layout = data.StructLayout({
    "row": TOKEN_BITS, "seed": PAYLOAD_BITS, "count": PAYLOAD_BITS,
})


class Gumbel(wiring.Component):
    """A variate of the standard Gumbel distribution for each (seed, count, row).

    ``o = -log(-log(u))`` by lines, with u from 36 random bits. The bits are a Philox of two words
    of 18 bits, the width of a multiplier, in seven rounds; from the sixth round on, each bit of
    the key flips each bit of the result with a probability of 1/2.
    ``assembler.contract.tables`` says how the bits become a variate.

    Protocol: a pipeline without handshake. Latency: :py:attr:`latency` cycles. Throughput: a
    variate a cycle.

    Cost: a multiplier for each round and one for the line; the lines in block RAM. Part of the
    array unit in ``docs/reports/area.md``.

    Members
    -------
    i : :py:`In(draw_key_layout)`
    o : :py:`Out(signed(tables.GUMBEL_WIDTH))`
        ``tables.GUMBEL_FRACTION`` bits are fraction.

    Golden twin: :func:`sim.golden.gumbel.random_bits` and :func:`sim.golden.gumbel.gumbel`.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), section 4.2.
    """
    latency = 2 * _ROUNDS + 2 + 2 + 1 + 1

    i: In(draw_key_layout)
    o: Out(signed(tables.GUMBEL_WIDTH))

    def elaborate(self, platform):
        m = Module()
        row, seed, count = self.i.row, self.i.seed, self.i.count
        cut   = PAYLOAD_BITS // 2
        left  = row[:_HALF]
        right = Cat(row[_HALF:], count[:cut])
        keys  = [seed[:_HALF], delay(m, Cat(seed[_HALF:], count[cut:]), 2),
                 *(Const(_CONSTANT * n % (1 << _HALF), _HALF) for n in range(3, _ROUNDS + 1))]
        # A round: two cycles, a multiplication and the mixing of the halves. The last five keys are
        # constants, because all bits of the key are used up after the second round.
        for n, key in enumerate(keys):
            product = Signal(2 * _HALF, name=f"product_{n}", reset_less=True)
            m.d.sync += product.eq(left * Const(_MULTIPLY, _HALF))
            mixed = delay(m, right ^ key, 1)
            left  = delay(m, product[_HALF:] ^ mixed, 1)
            right = delay(m, product[:_HALF], 1)

        # The octave is the number of leading zeros of its bits, with a one behind them as a stop.
        # Counted within groups first, then over the groups: a register after each.
        bits   = data.View(_bits_layout, Cat(right, left))
        zeros  = list(reversed(Cat(C(1, 1), bits.octave)))
        groups = [zeros[k:k + _GROUP] for k in range(0, len(zeros), _GROUP)]
        octave = Signal(range(tables.GUMBEL_OCTAVES), reset_less=True)
        found  = [delay(m, Cat(group).any(), 1) for group in groups]
        within = []
        for n, group in enumerate(groups):
            place = Signal(range(_GROUP), name=f"place_{n}", reset_less=True)
            for k, bit in reversed(list(enumerate(group))):
                with m.If(bit):
                    m.d.sync += place.eq(k)
            within.append(place)
        for n, (any_, place) in reversed(list(enumerate(zip(found, within)))):
            with m.If(any_):
                m.d.sync += octave.eq(_GROUP * n + place)

        lines = 1 << tables.GUMBEL_BITS - tables.GUMBEL_STEP_BITS
        depth = 2 * lines << octave.shape().width
        init  = [{}] * depth
        for side, sides in enumerate(zip(*tables.gumbel_lines())):
            for k, octaves in enumerate(zip(*sides)):
                for line, (intercept, slope) in enumerate(zip(*octaves)):
                    place = line | side * lines | k * 2 * lines
                    init[place] = {"intercept": int(intercept), "slope": int(slope)}
        m.submodules.lines = table = memory.Memory(shape=_line_layout, depth=depth, init=init)
        read = table.read_port()
        m.d.comb += read.addr.eq(Cat(delay(m, bits.line, 2), delay(m, bits.side, 2), octave))
        line = data.View(_line_layout, delay(m, read.data.as_value(), 1))

        product = Signal(signed(tables.GUMBEL_SLOPE_WIDTH + tables.GUMBEL_STEP_BITS + 1),
                         reset_less=True)
        m.d.sync += product.eq(line.slope * delay(m, bits.step, 4))
        intercept = delay(m, line.intercept, 1)
        # Rounds to nearest: both terms keep one bit below the point, and the constant 1 there adds
        # half a unit.
        below = tables.GUMBEL_STEP_BITS
        total = Signal(signed(tables.GUMBEL_WIDTH + 1), reset_less=True)
        m.d.sync += total.eq(Cat(C(1, 1), intercept).as_signed() + product[below - 1:].as_signed())
        m.d.comb += self.o.eq(total[1:].as_signed())
        return m
