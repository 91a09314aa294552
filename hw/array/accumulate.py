"""The ternary array: weights times codes, summed to one integer for each row and position."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import formats
from tern_fpga.hw.array.codes import block_layout, columns_layout
from tern_fpga.hw.array.unpacker import TritUnpacker
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import BlockRam, DeepQueue
from tern_fpga.hw.common.signatures import beat_layout, connect


__all__ = ["GROUP", "TernaryAccumulate", "sums_layout"]


GROUP = 2                  # positions that take a beat in the same cycle


def sums_layout(config):
    """The sums of a matrix row, one for each position, position 0 in the low bits."""
    return data.ArrayLayout(signed(formats.ACC.width), config.positions)


def _level(m, terms):
    """One level of an adder tree, with registers behind it; an odd last term passes through."""
    sums = [a + b for a, b in zip(terms[0::2], terms[1::2])] + terms[len(terms) & ~1:]
    return [delay(m, total, 1) for total in sums]


class TernaryAccumulate(wiring.Component):
    """Multiply ternary weights with the codes of all positions.

    ``sums[p] = sum over c of W[row][c] * q[p][c]``, exact, for W (rows, columns) in {-1, 0, 1} and
    q (positions, columns) int8. ``abs(sums[p]) <= 65535 * 128 < 2**23``; 128 occurs because
    ``-(-128)`` does.

    Protocol: beats arrive in the order that "Matmul and the weight stream" of
    ``docs/architecture.md`` defines. Each holds ``lanes`` trits of one row and adds to the row's
    sums in an accumulator memory. In the last column block of a tile each beat completes its row,
    whose sums go to a FIFO of ``accumulator_rows`` rows instead of the accumulator. So the next
    tile follows without a pass to empty the accumulator. Positions take a beat in pairs, each
    pair one cycle after the pair before it, so that no register has to drive all positions.

    Throughput: a beat a cycle while there is a block; in the last block of a tile, while the
    FIFO has room. Latency: the sums are on ``o`` :py:meth:`latency` cycles after the beat, or
    later if rows before them wait.

    Cost: for each position an adder tree of ``lanes`` terms; once, the unpacker and the sum of
    signs. See ``docs/reports/area.md`` (accumulator).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    weights : :py:`In(stream.Signature(beat_layout(config)))`
        Packed trits.
    block : :py:`In(stream.Signature(block_layout(config)))`
        Describes the beats that follow. Two blocks must be at least 5 cycles apart, the time
        from a read of the accumulator to the next read of the same row; short tiles rely on it.
        :class:`hw.array.codes.ColumnLoader` takes longer than that for a block.
    columns : :py:`In(columns_layout(config))`
        Codes of the block. Held until ``taken``, and ``(positions - 1) // GROUP`` cycles more.
    live : :py:`In(config.positions)`
        Active mask: the positions that compute. Stable from 2 cycles before the first beat until
        the sums of the last beat have left. Adder trees of inactive positions hold their
        registers, so that they do not switch and simulators can skip them. A machine of one
        position ignores the mask.
    taken : :py:`Out(1)`
        Strobe: ``columns`` of the first pair of positions are being copied.
    active, blocked : :py:`Out(1)`
        Level: there is a block. Level: its beats wait for room in the FIFO.
    o : :py:`Out(stream.Signature(sums_layout(config)))`
        Sums of all positions, a row at a time. Sums of inactive positions are undefined.

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
        """Cycles from a beat to its sums on ``o``: unpack, select, adder tree, position groups,
        accumulate, FIFO.
        """
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

        # Admission of beats. Sums in flight to the FIFO have a place reserved there (`free`).
        # Whether a beat may be taken (`able`), and whether it ends its block (`ends`), are
        # registers, and everything that a beat causes happens a cycle later: the weight stream is
        # far away on the chip, so that its `valid` arrives late in the cycle.
        busy   = Signal()
        able   = Signal()
        ends   = Signal()       # able, and block.rows == 1
        single = Signal()       # block.rows == 1
        double = Signal()       # block.rows == 2
        start  = Signal()       # no beat of the block has been taken
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
            room.eq(free > 2),          # two cycles late: two more beats may have passed
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
        # The next block starts in the cycle after the last beat of this one, without a gap.
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

        # -x is ~x + 1. The ones are counted once for all positions, and the count joins each tree
        # at the level of three terms as its fourth. Every `lanes` has such a level, being 5 or 10
        # times a power of two. The count, which starts with four trits a term, is down to a single
        # term at that level.
        negative = [trit == 0 for trit in trits]
        counts = [sum(negative[k:k + 4]) for k in range(0, config.lanes, 4)]
        counts = [delay(m, count, 1) for count in counts]
        joins  = config.lanes
        while joins > 3:
            joins  = (joins + 1) // 2
            counts = _level(m, counts) if len(counts) > 1 else counts
        (ones,) = counts

        # The held codes change between the last beat of a block and the first of the next.
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
            # The sums of all positions leave together, so the earlier groups wait for the last.
            totals = [delay(m, each, 1) for each in totals]
            totals.append(total.as_value())

        m.submodules.rows = rows = DeepQueue(shape=sums_layout(config),
                                             depth=config.accumulator_rows)
        m.d.comb += [
            rows.i.payload.eq(Cat(totals)),
            rows.i.valid.eq(done.valid & done.last),    # `ready` is not read: `free` saw to room
        ]
        connect(m, rows.o, wiring.flipped(self.o))
        return m

    def _group(self, m, positions, live, trits, ones, swap, tag):
        """Trees and accumulators of ``positions``: returns their new sums, and the tag beside them.

        ``swap`` is high in the cycle before the first ``trits`` of a block. ``tag`` names the row
        whose sums so far are to be read in this cycle.
        """
        config = self.config
        held = [Signal(shape, name=f"held_{p}", reset_less=True)
                for p, shape in zip(positions, [columns_layout(config).elem_shape] * GROUP)]
        with m.If(swap):
            m.d.sync += [codes.eq(self.columns[p]) for p, codes in zip(positions, held)]
        # An assignment under `If` keeps every register of an inactive position's tree still.
        trees = []
        for p, codes in zip(positions, held):
            with m.If(live[p]):
                tree = [delay(m, Mux(trit == 0, ~x, Mux(trit == 1, 0, x)), 1)
                        for trit, x in zip(trits, codes, strict=True)]
                while len(tree) > 1:
                    tree = _level(m, [*tree, ones] if len(tree) == 3 else tree)
            trees += tree

        # The row's sums so far arrive together with the term to add. Data of a block RAM are late
        # in the cycle, so that they go straight into a register.
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
