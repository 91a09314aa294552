"""Many counters in one block RAM."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.float import delay
from hw.ram import BlockRam


__all__ = ["CounterBank"]


class CounterBank(wiring.Component):
    """``count`` counters of 32 bits, of which all can be kept as they were in one cycle.

    Each has a few bits in flip-flops. Once in a *pass* of ``count + 1`` cycles all of these move
    into a chain at the same time, from which they are added to the RAM one a cycle; the pass's last
    cycle reads for the host. The RAM has two banks: to keep the counters is to go on counting
    in the other one, which costs a pass whose sums are read from the one that is kept.

    Protocol: ``read`` with ``row`` is answered by ``valid`` with ``value``; no second ``read``
    before. With ``keep``, the value is that of now or up to two passes later, and so are those of
    the reads after it, all of the same cycle. Before the first ``keep`` the values mean nothing.
    ``clear`` sets all to 0, in the bank that counts.

    Latency: up to a pass and 2 cycles for a read, three passes with ``keep``.

    Cost: 434 LUT4, 375 flip-flops and one DP16KD for 29 counters (Yosys 0.70).

    Parameters
    ----------
    count : int
        Number of counters, at least 4.

    Members
    -------
    events : :py:`In(count)`
        Bit n counts in counter n.
    clear : In(1)
        Strobe; may last.
    read, keep, row : :py:`In(1)`, :py:`In(1)`, :py:`In(range(count))`
        ``keep`` and ``row`` come with ``read``.
    valid, value : :py:`Out(1)`, :py:`Out(32)`
        Strobe, and the counter.
    """
    WIDTH = 32

    def __init__(self, *, count):
        self.count = count
        super().__init__({
            "events": In(count),
            "clear":  In(1),
            "read":   In(1),
            "keep":   In(1),
            "row":    In(ceil_log2(count)),
            "valid":  Out(1),
            "value":  Out(self.WIDTH),
        })

    def elaborate(self, platform):
        m = Module()
        rows = ceil_log2(self.count)
        m.submodules.ram = ram = BlockRam(shape=self.WIDTH, depth=2 << rows)

        # `turn` is set in a pass's last cycle, which belongs to the host.
        phase = Signal(range(self.count + 1))
        turn  = Signal()
        m.d.sync += [turn.eq(phase == self.count - 1), phase.eq(Mux(turn, 0, phase + 1))]

        few   = range(self.count + 2)       # a pass's events
        chain = Signal(data.ArrayLayout(few, self.count))
        for n in range(self.count):
            front = Signal(few, name=f"front_{n}")
            with m.If(self.clear):
                m.d.sync += front.eq(0)
            with m.Elif(turn):
                m.d.sync += front.eq(self.events[n])
            with m.Else():
                m.d.sync += front.eq(front + self.events[n])
            following = chain[n + 1] if n + 1 < self.count else 0
            m.d.sync += chain[n].eq(Mux(turn, front, following))

        # Of the pass: the bank that counts, that its sums come from the other, or from nowhere.
        bank   = Signal()
        moved  = Signal()
        fresh  = Signal(init=1)
        clear  = Signal(init=1)             # the next pass starts from nothing
        keep   = Signal()                   # at the end of the next whole pass
        whole  = Signal()                   # which this one is
        wanted = Signal()
        row    = Signal(rows)
        with m.If(turn):
            m.d.sync += [fresh.eq(clear), clear.eq(0), moved.eq(0), whole.eq(keep)]
            with m.If(whole):
                m.d.sync += [bank.eq(~bank), moved.eq(1), keep.eq(0), whole.eq(0)]
        with m.If(self.clear):
            m.d.sync += clear.eq(1)
        with m.If(self.read):
            m.d.sync += [wanted.eq(1), row.eq(self.row), keep.eq(self.keep)]

        step_layout = data.StructLayout({
            "row": rows, "bank": 1, "fresh": 1, "count": few, "counts": 1, "host": 1,
        })
        step = Signal(step_layout)
        host = turn & wanted & ~keep
        m.d.comb += [
            step.row.eq(phase),
            step.bank.eq(bank),
            step.fresh.eq(fresh),
            step.count.eq(chain[0]),
            step.counts.eq(~turn),
            step.host.eq(host),
            ram.read_address.eq(Cat(Mux(turn, row, phase), bank ^ (moved | turn))),
            ram.read_enable.eq(1),
        ]
        with m.If(host):
            m.d.sync += wanted.eq(0)
        # A register by the RAM, then the sum.
        so_far = delay(m, ram.read_data, 1)
        second = data.View(step_layout, delay(m, step.as_value(), 2, reset_less=False))
        third  = data.View(step_layout, delay(m, second.as_value(), 1, reset_less=False))
        total  = Signal(self.WIDTH)
        m.d.sync += total.eq(Mux(second.fresh, 0, so_far) + second.count)
        m.d.comb += [
            ram.write_address.eq(Cat(third.row, third.bank)),
            ram.write_data.eq(total),
            ram.write_enable.eq(third.counts),
            self.valid.eq(second.host),
            self.value.eq(so_far),
        ]
        return m
