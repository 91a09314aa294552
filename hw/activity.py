"""What memory and units do in each cycle, one thing each: what the counters count."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from assembler.registers import COUNTERS, GROUPS
from hw.array import ArrayUnit
from hw.float import delay
from hw.memory import OUTSTANDING, MemoryArbiter
from hw.scoreboard import queues_layout
from hw.sequencer import Sequencer
from hw.vector import VectorUnit
from hw.weights import WeightStream


__all__ = ["Activity", "CLIENTS"]


CLIENTS = ("transfer", "program", "host", "weights")       # of the memory, the most urgent first

_OWED_BITS = 8              # of words to write that may wait for a cycle of their own


class Activity(wiring.Component):
    """One event a cycle for each group of :data:`assembler.registers.GROUPS` while a program runs.

    The memory moves a word in a cycle, or else there is a reason. Words to write pass the port
    beside words that come, but not the memory's pins: they count in cycles in which none
    comes. Weights are what should fill the memory's time, so idle cycles are laid at their
    stream's door when nothing was asked for it, up to the first word of what it asked for then:
    it had nothing to fetch, or no room. If something is asked for, the memory is late.

    All inputs go into registers, and nothing depends on what comes out: it has no part in any
    path of the units.

    Latency: 2 cycles.

    Cost: 110 LUT4 and 81 flip-flops (Yosys 0.70).

    Members
    -------
    running : In(1)
    of_memory : :py:`In(MemoryArbiter.activity_layout(CLIENTS))`
    of_weights, of_array, of_vector, of_sequencer :
        The ``activity`` of each.
    transfers : In(1)
        The transfer unit has an instruction.
    blocked : :py:`In(queues_layout)`
    events : :py:`Out(len(COUNTERS))`
        In the order of :data:`assembler.registers.COUNTERS`.
    """
    def __init__(self):
        super().__init__({
            "running":   In(1),
            "of_memory": In(MemoryArbiter.activity_layout(CLIENTS)),
            "of_weights": In(WeightStream.activity_layout),
            "of_array":  In(ArrayUnit.activity_layout),
            "of_vector": In(VectorUnit.activity_layout),
            "of_sequencer": In(Sequencer.activity_layout),
            "transfers": In(1),
            "blocked":   In(queues_layout),
            "events":    Out(len(COUNTERS)),
        })

    def elaborate(self, platform):
        m = Module()

        def register(port):
            shape = port.shape()
            value = delay(m, Value.cast(port), 1, reset_less=False)
            return data.View(shape, value) if isinstance(shape, data.Layout) else value

        running   = register(self.running)
        memory    = register(self.of_memory)
        weights   = register(self.of_weights)
        array     = register(self.of_array)
        vector    = register(self.of_vector)
        sequencer = register(self.of_sequencer)
        transfers = register(self.transfers)
        blocked   = register(self.blocked)

        # Words that were written while others came, and have not been counted.
        came  = memory.came.as_value().any()
        store = self._owed(m, memory.went.transfer, ~came)
        host  = self._owed(m, memory.went.host, ~came & ~store)

        # Bursts of weights that were asked for and have not ended.
        flying = Signal(range(2 * OUTSTANDING))
        m.d.sync += flying.eq(flying + weights.asked - memory.ended.weights)
        none = flying == 0
        few  = flying[1:] == 0
        # Nothing was asked for, and why; up to the first word of what then was.
        lacking = Signal(init=1)
        full    = Signal()
        with m.If(none):
            m.d.sync += [lacking.eq(1), full.eq(weights.some & (weights.full | full))]
        with m.Elif(memory.came.weights):
            m.d.sync += lacking.eq(0)
        unasked  = (none | lacking) & ~full
        too_full = (none | lacking) & full | few & weights.some & weights.full

        # The first that is true, of each group; the last is what remains.
        causes = {
            "memory": {
                "weight_words":   memory.came.weights,
                "load_words":     memory.came.transfer,
                "program_words":  memory.came.program,
                "host_words":     memory.came.host | host,
                "store_words":    store,
                "memory_unasked": unasked,
                "memory_full":    too_full,
                "memory_starved": memory.owed,
                "memory_late":    1,
            },
            "array": {
                "array_beats":   array.beat,
                "array_starved": array.starved,
                "array_blocked": array.blocked,
                "array_codes":   array.codes,
                "array_operand": blocked.array,
                "array_idle":    1,
            },
            "vector": {
                "vector_rows":    vector.row,
                "vector_busy":    vector.busy,
                "vector_operand": blocked.vector,
                "vector_idle":    1,
            },
            "transfer": {
                "transfer_busy":    transfers,
                "transfer_operand": blocked.memory,
                "transfer_idle":    1,
            },
            "sequencer": {
                "sequencer_scoreboard": sequencer.scoreboard,
                "sequencer_queue":      sequencer.queue,
                "sequencer_units":      sequencer.units,
                "sequencer_step":       sequencer.step,
                "sequencer_busy":       1,
            },
        }
        event = {"cycles": C(1), "instructions": sequencer.fetch}
        for group, names in GROUPS.items():
            assert set(names) == set(causes[group])
            before = C(0)
            for name, cause in causes[group].items():
                event[name] = ~before & cause
                before = before | cause
        for bit, counter in zip(self.events, COUNTERS, strict=True):
            m.d.sync += bit.eq(running & event[counter.name])
        return m

    @staticmethod
    def _owed(m, moved, may):
        """Whether a word counts in this cycle: as many as ``moved``, but only when they ``may``."""
        owed = Signal(_OWED_BITS)
        some = Signal()
        counts = may & some
        change = owed + moved - counts
        m.d.sync += [owed.eq(change), some.eq(change[:_OWED_BITS] != 0)]
        return counts
