"""Instructions that wait for their operands."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from assembler import isa
from hw.signatures import instruction_layout
from hw.tickets import AGE_LIMIT, PRODUCERS, TICKET_BITS, WINDOW, instructions_of


__all__ = ["UnitQueue", "need_layout", "queue_signature"]


def queue_signature(queue):
    """Stream of the instructions that a queue hands to its unit, seen from the queue."""
    return stream.Signature(instruction_layout(*(i.mnemonic for i in instructions_of(queue))))


def need_layout(queue):
    """What an instruction of ``queue`` waits for: of each producing queue, a ticket or none."""
    return data.StructLayout({
        producer.name.lower(): data.StructLayout({"pending": 1, "ticket": TICKET_BITS})
        for producer in PRODUCERS[queue]
    })


class UnitQueue(wiring.Component):
    """First in, first out; the first leaves when every ticket that it needs is completed.

    The instruction at the head is checked against ``completed``: it waits while the ticket it
    needs is one of the next ``WINDOW`` to be completed. Once free it stays free. ``old`` asks
    the dispatcher to pause before so many younger instructions complete that the ticket of
    the head would look like one to come (see :mod:`hw.tickets`).

    Latency: 3 cycles through an empty queue. A ticket that completes frees the head 1 cycle later.
    Throughput: an instruction in 2 cycles.

    Cost: 4-bit columns of distributed RAM; about 40 TRELLIS_DPR16X4 and 60 LUT4 at depth 16.

    Parameters
    ----------
    queue : hw.tickets.Queue
        Which queue it is: says whose tickets its instructions may need.
    depth : int
        Instructions that wait behind the head, 2 to 16.

    Members
    -------
    i : :py:`In(stream.Signature(UnitQueue.entry(queue)))`
        ``word``: the instruction; ``born``: ``now`` when it was dispatched; ``needs``.
    completed : :py:`In(data.StructLayout)`
        By producing queue, the instructions completed so far, modulo ``2**TICKET_BITS``.
    now : :py:`In(TICKET_BITS)`
        Instructions dispatched so far, modulo ``2**TICKET_BITS``.
    o : :py:`Out(queue_signature(queue))`
        Instructions for the unit.
    blocked : :py:`Out(1)`
        The head waits for a ticket.
    old : :py:`Out(1)`
        ``AGE_LIMIT`` or more instructions were dispatched since the head.

    Raises
    ------
    ValueError
        ``depth`` is out of range.
    """
    @staticmethod
    def entry(queue):
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
        held = Signal()         # `head` is an instruction
        free = Signal()         # and what it needs is completed

        blocked = []
        for producer in PRODUCERS[self.queue]:
            name  = producer.name.lower()
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
