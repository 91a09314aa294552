"""Many counters in one block RAM, with a consistent snapshot."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import BlockRam


__all__ = ["CounterBank"]


class CounterBank(wiring.Component):
    """``count`` counters of 32 bits, all of which can be frozen as of one cycle.

    Each counter has a few bits in flip-flops. Once in a *pass* of ``count + 1`` cycles all of
    these move at the same time into a chain, from which they are added to the RAM, one a cycle;
    the last cycle of the pass reads for the host. The RAM has two banks. A snapshot continues
    counting in the other bank: one pass reads its sums from the frozen bank and writes them to
    the other.

    Protocol: ``read`` with ``row`` is answered by ``valid`` with ``value``, before the next
    ``read``. With ``keep`` a snapshot is taken, of that cycle or up to two passes later, and this
    value and those of later reads are all of that cycle. Before the first ``keep`` values are
    undefined. ``clear`` sets all counters to 0 in the bank that counts.

    Latency: up to a pass and 2 cycles for a read, three passes with ``keep``.

    Cost: see ``docs/decisions/counters.md``.

    Parameters
    ----------
    count : int
        Number of counters, at least 4.

    Members
    -------
    events : :py:`In(count)`
        Counter n counts the cycles in which bit n is set.
    clear : In(1)
        Strobe; may last.
    read, keep, row : :py:`In(1)`, :py:`In(1)`, :py:`In(range(count))`
        Strobe, and beside it: take a snapshot, and the counter to read.
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

        # `turn` is set in the last cycle of a pass, in which the RAM is read for the host.
        phase = Signal(range(self.count + 1))
        turn  = Signal()
        m.d.sync += [turn.eq(phase == self.count - 1), phase.eq(Mux(turn, 0, phase + 1))]

        few   = range(self.count + 2)       # events of a pass
        chain = Signal(data.ArrayLayout(few, self.count))
        # The chain of all counters loads at once, so the sums in the RAM are those of one cycle.
        for n in range(self.count):
            front = Signal(few, name=f"front_{n}")
            # The event of the cycle in which the count moves on belongs to the next pass.
            with m.If(self.clear):
                m.d.sync += front.eq(0)
            with m.Elif(turn):
                m.d.sync += front.eq(self.events[n])
            with m.Else():
                m.d.sync += front.eq(front + self.events[n])
            following = chain[n + 1] if n + 1 < self.count else 0
            m.d.sync += chain[n].eq(Mux(turn, front, following))

        # State of the pass: the bank that counts, whether sums are read from the other bank
        # (`moved`), and whether they start from 0 (`fresh`).
        bank   = Signal()
        moved  = Signal()
        fresh  = Signal(init=1)
        clear  = Signal(init=1)             # the next pass starts from 0
        keep   = Signal()                   # take a snapshot at the end of the next whole pass
        whole  = Signal()                   # this pass began with `keep` set
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

        # What a RAM access is for, delayed along with its data.
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
        # A register next to the RAM, then the adder.
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
