"""Resting blocks: the cycles in which a block needs its clock."""

from amaranth import *

from tern_fpga.hw.common.float import delay


__all__ = ["RESTING", "clocks_needed"]


# Cycles for which a block keeps its clock after the last sign of work: more than a payload takes
# through the block without another sign.
RESTING = {"transfer": 64, "vector": 64, "draw": 64, "vector_memory": 16, "sequencer": 64}


def clocks_needed(m, *, transfer, vector, draw, vector_memory, sequencer):
    """Mask of :data:`RESTING`: the blocks whose next clock edge can have a visible effect.

    An edge can have one while the block works, while another block addresses it, during a reset,
    and for a number of cycles after these. In all other cycles the block would only move payloads
    whose valid bit is 0 from register to register: its outputs, what it accepts and what it keeps
    are the same without the edge (``docs/decisions/resting.md``).

    Combinational, with counters in the domain ``sync``.
    """
    readers = [getattr(vector_memory, name) for name in vector_memory.readers]
    writers = [getattr(vector_memory, name) for name in vector_memory.writers]
    queues  = [sequencer.memory, sequencer.vector, sequencer.array, sequencer.drain,
               sequencer.weights]
    waits   = sequencer.activity.queue | sequencer.activity.step    # for other blocks only
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
    # Inputs without a valid bit, whose effect is delayed: a change of theirs is a sign of work.
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
