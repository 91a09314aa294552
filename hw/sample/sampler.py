"""Greedy sampling: the row with the largest sum."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import formats
from tern_fpga.hw.array.accumulate import sums_layout
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.signatures import TOKEN_BITS, tokens_layout


__all__ = ["Sampler"]


class Sampler(wiring.Component):
    """Greedy sampling: ``ids[p] = argmax over rows of sums[row][p]``, lowest row on ties.

    Protocol: rows are counted from 0 until ``emit``, over as many matmuls as there are. The
    sums are exact integers, so that rounding cannot make a tie. Where
    :class:`hw.sample.draw.Draw` chooses instead, no rows arrive on ``i`` and the tokens are those
    that it found.

    Throughput: a row a cycle. Latency: 5 cycles from the last row to ``tokens``.

    Cost: a comparator of 24 bits for each position. See ``docs/reports/area.md`` (sampler).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(sums_layout(config)))`
        Rows of sums; ``ready`` is always high.
    mask : :py:`In(config.positions)`
        Positions that are sampled; stable from the first row until the tokens are taken.
    found, found_row : :py:`In(config.positions)`, :py:`In(TOKEN_BITS)`
        Strobe of a position: ``found_row`` is its token so far.
    emit : :py:`In(1)`
        Level: offer the tokens. Held until they are taken.
    tokens : :py:`Out(stream.Signature(tokens_layout(config)))`
        Offered while ``emit`` is high, from 5 cycles after the last row on. Taking them clears
        the state. Ids of positions outside ``mask`` are 0.

    Golden twin: :class:`sim.golden.sampler.Sampler`.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":         In(stream.Signature(sums_layout(config))),
            "mask":      In(config.positions),
            "found":     In(config.positions),
            "found_row": In(TOKEN_BITS),
            "emit":      In(1),
            "tokens":    Out(stream.Signature(tokens_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        least = formats.ACC.min     # less than any sum
        valid = Signal(3)
        rows_in = delay(m, self.i.payload.as_value(), 1)
        clear = Signal()
        sums  = Signal(sums_layout(self.config), init=[least] * self.config.positions)
        best  = Signal(sums_layout(self.config), init=[least] * self.config.positions)
        rows  = Signal(TOKEN_BITS)
        ids   = self.tokens.payload.ids

        m.d.comb += self.i.ready.eq(1)
        # Three stages: row in a register, masked sums, comparison. `valid` has a bit for each.
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        with m.If(valid[1]):
            m.d.sync += rows.eq(rows + 1)
        # In the same cycle as `better`, which is a register behind the comparison.
        row_number = delay(m, Mux(self.found.any(), self.found_row, rows), 1)
        for p in range(self.config.positions):
            row = data.View(self.i.payload.shape(), rows_in)
            m.d.sync += sums[p].eq(Mux(valid[0] & self.mask[p], row[p], least))
            better = Signal(name=f"better_{p}")
            # `>` keeps the earlier row on ties. A masked sum is the least value, which never wins.
            m.d.sync += better.eq((sums[p] > best[p]) | self.found[p])
            with m.If(sums[p] > best[p]):
                m.d.sync += best[p].eq(sums[p])
            with m.If(better):
                m.d.sync += ids[p].eq(row_number)

        # `valid` is a register: the way from `emit` and the way back of `ready` are long.
        taken = self.tokens.valid & self.tokens.ready
        m.d.comb += self.tokens.payload.mask.eq(self.mask)
        m.d.sync += [
            self.tokens.valid.eq(self.emit & ~valid.any() & ~clear & ~taken),
            clear.eq(taken),
        ]
        with m.If(clear):
            m.d.sync += [best[p].eq(least) for p in range(self.config.positions)]
            m.d.sync += [rows.eq(0), ids.eq(0)]
        return m
