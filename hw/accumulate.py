"""The ternary array: weights meet codes, sums of rows come out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from assembler import formats
from hw.codes import block_layout, columns_layout
from hw.float import delay
from hw.ram import BlockRam, DeepQueue
from hw.signatures import beat_layout, connect
from hw.unpacker import TritUnpacker


__all__ = ["GROUP", "TernaryAccumulate", "sums_layout"]


GROUP = 2                  # positions that take a beat in the same cycle


def sums_layout(config):
    """The sums of a row: one for each position."""
    return data.ArrayLayout(signed(formats.ACC.width), config.positions)


def _level(m, terms):
    """One registered level of an adder tree; an odd term out passes."""
    sums = [a + b for a, b in zip(terms[0::2], terms[1::2])] + terms[len(terms) & ~1:]
    return [delay(m, total, 1) for total in sums]


class TernaryAccumulate(wiring.Component):
    """Multiply ternary weights with the codes of all positions.

    ``sums[p] = sum over c of W[row][c] * q[p][c]``, exact, for W (rows, columns) in {-1, 0, 1} and
    q (positions, columns) int8. Beats come as "Matmul and the weight stream" of
    ``docs/architecture.md`` says; each holds ``lanes`` trits of one row and adds to the row's
    sums in an accumulator in block RAM. The sums of a row come out with its beat of the tile's
    last block, row by row: a tile needs no pass of its own to leave.

    A beat is taken every cycle while a block is there, and, in a tile's last block, while there is
    room for the sums: up to ``accumulator_rows`` of them wait in a FIFO. The sums appear
    :py:meth:`latency` cycles after the beat, or when those before them are taken.

    A beat goes through the positions two by two, a cycle later from each pair to the next: no
    register drives all positions, which are half of the core's logic and do not lie close together.

    A sum is at most 65535 * 128 < 2**23 in magnitude, and 128 is reached: -(-128).

    Cost at 20 lanes (Yosys 0.70): about 450 LUT4 a position and as much again, once.

    Parameters
    ----------
    config : Config

    Members
    -------
    weights : :py:`In(stream.Signature(beat_layout(config)))`
        Packed trits.
    block : :py:`In(stream.Signature(block_layout(config)))`
        What the next beats are. Two blocks are at least 5 cycles apart, the time between a read
        of the accumulator and the next of the same row: short tiles rely on it. The loader
        needs more than that for a block.
    columns : :py:`In(columns_layout(config))`
        Codes of the block; held until ``taken``, and ``(positions - 1) // GROUP`` cycles more.
    live : :py:`In(config.positions)`
        Mask of the positions that compute, from 2 cycles before the first beat on until the sums
        of the last one have left. The trees of the others stand still: nothing in them switches,
        and simulators skip them. A lone position always computes.
    taken : :py:`Out(1)`
        Strobe: ``columns`` of the first pair of positions were copied.
    active, blocked : :py:`Out(1)`
        There is a block, and its beats wait for room for their sums.
    o : :py:`Out(stream.Signature(sums_layout(config)))`
        Sums of all positions, a row at a time; those of positions that do not compute mean
        nothing.

    Golden twin: :func:`sim.golden.ternary.matmul`.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "weights": In(stream.Signature(beat_layout(config))),
            "block":   In(stream.Signature(block_layout(config))),
            "columns": In(columns_layout(config)),
            "live":    In(config.positions),
            "taken":   Out(1),
            "active":  Out(1),
            "blocked": Out(1),
            "o":       Out(stream.Signature(sums_layout(config))),
        })

    @staticmethod
    def latency(config):
        """Cycles from a beat to its sums on ``o``: unpack, select, tree, positions, accumulate,
        FIFO."""
        return (TritUnpacker.LATENCY + 1 + ceil_log2(config.lanes)
                + (config.positions - 1) // GROUP + 6)

    def elaborate(self, platform):
        config = self.config
        m = Module()
        tag_shape = data.StructLayout({
            "valid": 1,
            "first": 1,                                     # overwrite, do not add
            "last":  1,                                     # the sums are complete
            "row":   ceil_log2(config.accumulator_rows),
        })

        # Which beat comes next. Sums on their way to the FIFO have a place there. Whether a beat
        # may be taken, and whether its block ends with it, is in registers, and what follows from
        # it is done a cycle later: beats come from afar.
        busy   = Signal()
        able   = Signal()
        ends   = Signal()       # able, and block.rows == 1
        single = Signal()       # block.rows == 1
        double = Signal()       # block.rows == 2
        start  = Signal()       # no beat of the block was taken
        block  = Signal(block_layout(config))
        take   = Signal()
        free   = Signal(range(config.accumulator_rows + 1), init=config.accumulator_rows)
        room   = Signal(init=1)
        left   = Signal()
        m.d.comb += [
            self.weights.ready.eq(able),
            self.active.eq(busy),
            self.blocked.eq(busy & ~able),
            take.eq(self.weights.valid & able),
            self.block.ready.eq((self.weights.valid & ends) | ~busy),
        ]
        m.d.sync += [
            left.eq(self.o.valid & self.o.ready),
            free.eq(free - (take & block.last) + left),
            room.eq(free > 2),          # known two cycles late, and beats may have gone in them
        ]
        may = Signal()
        m.d.comb += may.eq(busy & (room | ~block.last))
        m.d.sync += [able.eq(may), ends.eq(may & Mux(take, double, single))]
        with m.If(take):
            m.d.sync += [
                start.eq(0),
                block.rows.eq(block.rows - 1),
                single.eq(double),
                double.eq(block.rows == 3),
            ]
        with m.If(self.block.ready):
            given  = self.block.payload
            begins = self.block.valid & (room | ~given.last)
            m.d.sync += [
                busy.eq(self.block.valid),
                able.eq(begins),
                ends.eq(begins & (given.rows == 1)),
                single.eq(given.rows == 1),
                double.eq(given.rows == 2),
                start.eq(1),
                block.eq(given),
            ]
        beat = Signal(data.StructLayout({"valid": 1, "start": 1, "first": 1, "last": 1}))
        tag  = Signal(tag_shape)
        m.d.sync += [
            beat.valid.eq(take),
            beat.start.eq(start),
            beat.first.eq(block.first),
            beat.last.eq(block.last),
            tag.valid.eq(beat.valid),
            tag.first.eq(beat.first),
            tag.last.eq(beat.last),
        ]
        with m.If(beat.valid):
            m.d.sync += tag.row.eq(Mux(beat.start, 0, tag.row + 1))

        m.submodules.unpacker = unpacker = TritUnpacker(lanes=config.lanes)
        m.d.comb += unpacker.i.eq(self.weights.payload)
        trits = unpacker.o

        # -x is ~x + 1: the ones are counted once for all positions, and join each tree where it
        # has three terms. That comes at every `lanes`, 5 or 10 times a power of two, and just
        # when the count, which starts with four trits a term, is down to one.
        negative = [trit == 0 for trit in trits]
        counts = [sum(negative[k:k + 4]) for k in range(0, config.lanes, 4)]
        counts = [delay(m, count, 1) for count in counts]
        joins  = config.lanes
        while joins > 3:
            joins  = (joins + 1) // 2
            counts = _level(m, counts) if len(counts) > 1 else counts
        (ones,) = counts

        # Codes change between the last beat of the old block and the first of the new one.
        swap   = delay(m, beat.valid & beat.start, unpacker.LATENCY - 2, reset_less=False)
        m.d.comb += self.taken.eq(swap)
        levels = 1 + ceil_log2(config.lanes)
        fetch  = delay(m, tag, unpacker.LATENCY + levels - 5, reset_less=False)
        live   = delay(m, self.live, 2) if config.positions > 1 else C(1)
        totals = []
        for offset in range(0, config.positions, GROUP):
            group = range(offset, min(offset + GROUP, config.positions))
            if offset:
                trits = [delay(m, trit, 1) for trit in trits]
                ones  = delay(m, ones, 1)
                swap  = delay(m, swap, 1, reset_less=False)
                fetch = delay(m, fetch, 1, reset_less=False)
            total, done = self._group(m, group, live, trits, ones, swap, fetch)
            # The sums of all positions leave together: the first wait for the last.
            totals = [delay(m, each, 1) for each in totals]
            totals.append(total.as_value())

        m.submodules.rows = rows = DeepQueue(shape=sums_layout(config),
                                             depth=config.accumulator_rows)
        m.d.comb += [
            rows.i.payload.eq(Cat(totals)),
            rows.i.valid.eq(done.valid & done.last),    # there is room
        ]
        connect(m, rows.o, wiring.flipped(self.o))
        return m

    def _group(self, m, positions, live, trits, ones, swap, tag):
        """The trees and accumulators of ``positions``: their new sums, and the tag with them.

        ``swap`` comes in the cycle before the first ``trits`` of a block; the tag comes when the
        row's sums must be read.
        """
        config = self.config
        held = [Signal(shape, name=f"held_{p}", reset_less=True)
                for p, shape in zip(positions, [columns_layout(config).elem_shape] * GROUP)]
        with m.If(swap):
            m.d.sync += [codes.eq(self.columns[p]) for p, codes in zip(positions, held)]
        trees = []
        for p, codes in zip(positions, held):
            with m.If(live[p]):
                tree = [delay(m, Mux(trit == 0, ~x, Mux(trit == 1, 0, x)), 1)
                        for trit, x in zip(trits, codes, strict=True)]
                while len(tree) > 1:
                    tree = _level(m, [*tree, ones] if len(tree) == 3 else tree)
            trees += tree

        # The row's sums so far arrive with what is added to them. A block RAM's data are late in
        # the cycle, so there is nothing between them and a register.
        layout = data.ArrayLayout(signed(formats.ACC.width), len(positions))
        m.submodules[f"sums_{positions[0]}"] = sums = BlockRam(
            shape=layout, depth=config.accumulator_rows)
        add    = delay(m, tag, 3, reset_less=False)
        done   = delay(m, add, 1, reset_less=False)
        read   = delay(m, sums.read_data.as_value(), 1)
        first  = delay(m, tag.first, 2)
        so_far = Signal(layout, name=f"so_far_{positions[0]}", reset_less=True)
        total  = Signal(layout, name=f"total_{positions[0]}", reset_less=True)
        m.d.sync += so_far.eq(Mux(first, 0, read))
        for n, x in enumerate(trees):
            m.d.sync += total[n].eq(so_far[n] + x)
        m.d.comb += [
            sums.read_address.eq(tag.row),
            sums.read_enable.eq(1),
            sums.write_address.eq(done.row),
            sums.write_data.eq(total),
            sums.write_enable.eq(done.valid & ~done.last),
        ]
        return total, done
