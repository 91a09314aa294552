"""Blocks that rest: in which cycles they need their clocks."""

from amaranth import *

from hw.float import delay


__all__ = ["RESTING", "clocks_needed"]


# Cycles for which a block has its clock after the last sign that it works: longer than anything
# is on its way through it without another one.
RESTING = {"transfer": 64, "vector": 64, "draw": 64, "vector_memory": 16, "sequencer": 64}


def clocks_needed(m, *, transfer, vector, draw, vector_memory, sequencer):
    """Mask of :data:`RESTING`: what the block does at the next edge of its clock can be seen.

    It can while the block works or is spoken to, in a reset, and for some cycles after that. In all
    others it would only take words that no valid bit goes with from register to register: what it
    offers, what it accepts and what it keeps are the same without these edges.

    Combinational, with counters in the domain ``sync``.
    """
    readers = [getattr(vector_memory, name) for name in vector_memory.readers]
    writers = [getattr(vector_memory, name) for name in vector_memory.writers]
    queues  = [sequencer.memory, sequencer.vector, sequencer.array, sequencer.drain,
               sequencer.weights]
    waits   = sequencer.activity.queue | sequencer.activity.step    # for others, nothing else
    signs = {
        "transfer":      [transfer.busy],
        "vector":        [vector.activity.busy, vector.i.valid],
        "draw":          [draw.choice.valid, draw.forgetting, draw.prepare, draw.i.valid,
                          draw.busy, draw.emit],
        "vector_memory": [*(port.request.valid for port in (*readers, *writers)),
                          *(port.response.valid for port in readers)],
        "sequencer":     [sequencer.running & ~waits, sequencer.start,
                          Value.cast(sequencer.done).any(),
                          *(queue.valid & queue.ready for queue in queues)],
    }
    # Inputs without a valid bit that have effects some cycles later: a change is a sign.
    levels = {"vector": vector.scale_address, "draw": draw.step}
    needed = []
    for name, linger in RESTING.items():
        sign  = Signal(name=f"{name}_sign")
        still = Signal(range(linger + 1), init=linger, name=f"{name}_still")
        m.d.comb += sign.eq(Cat(*signs[name], ResetSignal(name)).any())
        if name in levels:
            level = Value.cast(levels[name])
            with m.If(level != delay(m, level, 1)):
                m.d.comb += sign.eq(1)
        with m.If(sign):
            m.d.sync += still.eq(linger)
        with m.Elif(still != 0):
            m.d.sync += still.eq(still - 1)
        needed.append(sign | (still != 0))
    return Cat(needed)
