"""Queue in which instructions wait for their operands."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.signatures import instruction_layout
from tern_fpga.hw.control.tickets import AGE_LIMIT, PRODUCERS, TICKET_BITS, WINDOW, instructions_of


__all__ = ["UnitQueue", "need_layout", "queue_signature"]


def queue_signature(queue):
    """Stream of the instructions from a queue to its unit, seen from the queue."""
    return stream.Signature(instruction_layout(*(i.mnemonic for i in instructions_of(queue))))


def need_layout(queue):
    """What an instruction of ``queue`` waits for: for each producing queue a ticket, if
    ``pending``.
    """
    return data.StructLayout({
        producer.name.lower(): data.StructLayout({"pending": 1, "ticket": TICKET_BITS})
        for producer in PRODUCERS[queue]
    })


class UnitQueue(wiring.Component):
    """FIFO whose first instruction leaves when every ticket that it needs is completed.

    Protocol: the head is checked against ``completed``: it waits while the ticket that it needs
    is one of the next ``WINDOW`` to be completed. Once free it stays free. ``old`` makes the
    dispatcher pause before so many younger instructions complete that the head's ticket would
    look like a future one (see :mod:`hw.control.tickets`).

    Latency: 3 cycles through an empty queue; a completed ticket frees the head 1 cycle later.
    Throughput: an instruction in 2 cycles.

    Cost: distributed RAM of ``depth`` instruction words; part of the scoreboard in
    ``docs/reports/area.md``.

    Parameters
    ----------
    queue : hw.control.tickets.Queue
        Which queue this is; that decides whose tickets its instructions may need.
    depth : int
        Instructions that wait behind the head, 2 to 16.

    Members
    -------
    i : :py:`In(stream.Signature(UnitQueue.entry(queue)))`
        ``word``: the instruction; ``born``: ``now`` at its dispatch; ``needs``: its tickets.
    completed : :py:`In(data.StructLayout)`
        Instructions completed so far, for each producing queue, modulo ``2**TICKET_BITS``.
    now : :py:`In(TICKET_BITS)`
        Instructions dispatched so far, modulo ``2**TICKET_BITS``.
    o : :py:`Out(queue_signature(queue))`
        Instructions for the unit.
    blocked : :py:`Out(1)`
        Level: the head waits for a ticket.
    old : :py:`Out(1)`
        Level: ``AGE_LIMIT`` or more instructions were dispatched since the head.

    Raises
    ------
    ValueError
        ``depth`` is out of range.
    """
    @staticmethod
    def entry(queue):
        """Payload of ``i``."""
        return data.StructLayout({
            "word":  isa.WORD_BITS,
            "born":  TICKET_BITS,
            "needs": need_layout(queue),
        })

    def __init__(self, *, queue, depth):
        if depth not in range(2, 17):
            raise ValueError(f"depth must be 2 to 16, not {depth!r}")
        self.queue = queue
        self.depth = depth
        super().__init__({
            "i":         In(stream.Signature(self.entry(queue))),
            "completed": In(data.StructLayout({producer.name.lower(): TICKET_BITS
                                               for producer in PRODUCERS[queue]})),
            "now":       In(TICKET_BITS),
            "o":         Out(queue_signature(queue)),
            "blocked":   Out(1),
            "old":       Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        entry = self.entry(self.queue)
        m.submodules.waiting = waiting = fifo.SyncFIFO(width=entry.size, depth=self.depth)
        m.d.comb += waiting.w_data.eq(self.i.payload)
        m.d.comb += waiting.w_en.eq(self.i.valid)
        m.d.comb += self.i.ready.eq(waiting.w_rdy)

        head = Signal(entry)
        held = Signal()         # `head` holds an instruction
        free = Signal()         # ... and all its tickets are completed

        blocked = []
        for producer in PRODUCERS[self.queue]:
            name  = producer.name.lower()
            # Tickets wrap: only their distance to the completed count has a meaning.
            ahead = Signal(TICKET_BITS, name=f"{name}_ahead")
            m.d.comb += ahead.eq(head.needs[name].ticket - self.completed[name])
            blocked.append(head.needs[name].pending & (ahead < WINDOW))

        m.d.comb += self.o.payload.eq(head.word)
        m.d.comb += self.o.valid.eq(free)
        m.d.comb += self.blocked.eq(held & ~free)
        with m.If(~held | free & self.o.ready):
            m.d.comb += waiting.r_en.eq(1)
            m.d.sync += head.eq(waiting.r_data)
            m.d.sync += held.eq(waiting.r_rdy)
            m.d.sync += free.eq(0)
        with m.Else():
            m.d.sync += free.eq(free | ~Cat(blocked).any())

        age = Signal(TICKET_BITS)
        m.d.comb += age.eq(self.now - head.born)
        m.d.sync += self.old.eq(held & (age >= AGE_LIMIT))
        return m
