"""The ternary array: weights meet codes, sums of rows come out."""

from amaranth import *
from amaranth.lib import data, fifo, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from assembler import formats
from hw.codes import block_layout, columns_layout
from hw.float import delay
from hw.signatures import beat_layout
from hw.unpacker import TritUnpacker


__all__ = ["TernaryAccumulate", "sums_layout"]


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
        What the next beats are. Two blocks are at least 4 cycles apart, the time between a read
        of the accumulator and the next of the same row: short tiles rely on it. The loader
        needs more than that for a block.
    columns : :py:`In(columns_layout(config))`
        Codes of the block; held until ``taken``.
    taken : :py:`Out(1)`
        Strobe: ``columns`` were copied.
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
            "taken":   Out(1),
            "o":       Out(stream.Signature(sums_layout(config))),
        })

    @staticmethod
    def latency(config):
        """Cycles from a beat to its sums on ``o``: unpack, select, tree, accumulate, FIFO."""
        return TritUnpacker.LATENCY + 1 + ceil_log2(config.lanes) + 3

    def elaborate(self, platform):
        config = self.config
        m = Module()
        tag_shape = data.StructLayout({
            "valid": 1,
            "start": 1,                                     # first beat of its block
            "first": 1,                                     # overwrite, do not add
            "last":  1,                                     # the sums are complete
            "row":   ceil_log2(config.accumulator_rows),
        })

        # Which beat comes next. Sums on their way to the FIFO have a place there.
        busy  = Signal()
        block = Signal(block_layout(config))
        tag   = Signal(tag_shape)
        room  = Signal()
        m.d.comb += [
            self.weights.ready.eq(busy & (room | ~block.last)),
            tag.valid.eq(self.weights.valid & self.weights.ready),
            tag.first.eq(block.first),
            tag.last.eq(block.last),
        ]
        ends = Signal()
        m.d.comb += [
            ends.eq(tag.valid & (block.rows == 1)),
            self.block.ready.eq(ends | ~busy),
        ]
        with m.If(tag.valid):
            m.d.sync += [
                tag.row.eq(tag.row + 1),
                tag.start.eq(0),
                block.rows.eq(block.rows - 1),
            ]
        with m.If(self.block.ready):
            m.d.sync += [
                busy.eq(self.block.valid),
                block.eq(self.block.payload),
                tag.row.eq(0),
                tag.start.eq(1),
            ]

        free = Signal(range(config.accumulator_rows + 1), init=config.accumulator_rows)
        m.d.sync += [
            free.eq(free - (tag.valid & tag.last) + (self.o.valid & self.o.ready)),
            room.eq(free > 1),      # one cycle late, and a beat may have gone in it
        ]

        m.submodules.unpacker = unpacker = TritUnpacker(lanes=config.lanes)
        m.d.comb += unpacker.i.eq(self.weights.payload)
        trits = unpacker.o

        # Codes change between the last beat of the old block and the first of the new one.
        swap = delay(m, tag.valid & tag.start, unpacker.LATENCY - 1, reset_less=False)
        held = Signal(columns_layout(config), reset_less=True)
        m.d.comb += self.taken.eq(swap)
        with m.If(swap):
            m.d.sync += held.eq(self.columns)

        # -x is ~x + 1: the ones are counted once for all positions, and join each tree where it
        # has three terms. That comes at every `lanes`, 5 or 10 times a power of two, and just
        # when the count, which starts with four trits a term, is down to one.
        negative = [trit == 0 for trit in trits]
        counts = [sum(negative[k:k + 4]) for k in range(0, config.lanes, 4)]
        counts = [delay(m, count, 1) for count in counts]
        terms = [[delay(m, Mux(trit == 0, ~x, Mux(trit == 1, 0, x)), 1)
                  for trit, x in zip(trits, codes, strict=True)] for codes in held]
        levels = 1
        while len(terms[0]) > 1:
            if len(terms[0]) == 3:
                (ones,) = counts
                terms = [[*tree, ones] for tree in terms]
            counts = _level(m, counts) if len(counts) > 1 else counts
            terms = [_level(m, tree) for tree in terms]
            levels += 1

        # The row's sums so far arrive with what is added to them.
        m.submodules.sums = sums = memory.Memory(shape=sums_layout(config),
                                                 depth=config.accumulator_rows, init=[])
        read  = sums.read_port(transparent_for=())
        write = sums.write_port()
        fetch = delay(m, tag, unpacker.LATENCY + levels - 2, reset_less=False)
        add   = delay(m, fetch, 2, reset_less=False)
        done  = delay(m, add, 1, reset_less=False)
        so_far = Signal(sums_layout(config), reset_less=True)
        total  = Signal(sums_layout(config), reset_less=True)
        m.d.comb += read.addr.eq(fetch.row)
        first = delay(m, fetch.first, 1)
        for p, (x,) in enumerate(terms):
            m.d.sync += [
                so_far[p].eq(Mux(first, 0, read.data[p])),
                total[p].eq(so_far[p] + x),
            ]
        m.d.comb += [
            write.addr.eq(done.row),
            write.data.eq(total),
            write.en.eq(done.valid & ~done.last),
        ]

        # One row beyond the memory's: the FIFO's output register.
        m.submodules.rows = rows = fifo.SyncFIFOBuffered(width=sums_layout(config).size,
                                                         depth=config.accumulator_rows + 1)
        m.d.comb += [
            rows.w_data.eq(total),
            rows.w_en.eq(done.valid & done.last),
            self.o.payload.eq(rows.r_data),
            self.o.valid.eq(rows.r_rdy),
            rows.r_en.eq(self.o.ready),
        ]
        return m
