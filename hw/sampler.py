"""The choice of the next token."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from assembler import formats
from hw.accumulate import sums_layout
from hw.float import delay
from hw.signatures import TOKEN_BITS, tokens_layout


__all__ = ["Sampler"]


class Sampler(wiring.Component):
    """Greedy sampling: ``ids[p] = argmax over rows of sums[row][p]``, the lowest row on ties.

    Takes a row of sums every cycle, and counts rows until ``emit``. The sums are exact, so that no
    rounding makes a tie. Where :class:`hw.draw.Draw` chooses instead, no rows come and the
    tokens are what it found.

    Cost (Yosys 0.70): 105 LUT4 and 149 flip-flops for one position.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : :py:`In(stream.Signature(sums_layout(config)))`
        Rows of sums; ``ready`` is always high.
    mask : :py:`In(config.positions)`
        Positions that take part; stable from the first row to the tokens.
    found, found_row : :py:`In(config.positions)`, :py:`In(TOKEN_BITS)`
        Strobe of a position: ``found_row`` is its token so far.
    emit : :py:`In(1)`
        Give the tokens now; held until they are taken.
    tokens : :py:`Out(stream.Signature(tokens_layout(config)))`
        Offered while ``emit`` is high, from 5 cycles after the last row on. Taking them starts
        afresh. Ids of positions outside ``mask`` are 0.

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
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        with m.If(valid[1]):
            m.d.sync += rows.eq(rows + 1)
        row_number = delay(m, Mux(self.found.any(), self.found_row, rows), 1)
        for p in range(self.config.positions):
            row = data.View(self.i.payload.shape(), rows_in)
            m.d.sync += sums[p].eq(Mux(valid[0] & self.mask[p], row[p], least))
            better = Signal(name=f"better_{p}")
            m.d.sync += better.eq((sums[p] > best[p]) | self.found[p])
            with m.If(sums[p] > best[p]):
                m.d.sync += best[p].eq(sums[p])
            with m.If(better):
                m.d.sync += ids[p].eq(row_number)

        # A register: `emit` comes from afar, and `ready` goes there.
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
