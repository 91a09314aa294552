"""Events for the counters: what the memory and each unit do in a cycle."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract.registers import COUNTERS, GROUPS
from tern_fpga.hw.array.array import ArrayUnit
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.control.scoreboard import queues_layout
from tern_fpga.hw.control.sequencer import Sequencer
from tern_fpga.hw.memory.memory import OUTSTANDING, MemoryArbiter
from tern_fpga.hw.memory.weights import WeightStream
from tern_fpga.hw.vector.vector import VectorUnit


__all__ = ["Activity", "CLIENTS"]


CLIENTS = ("transfer", "program", "host", "weights")       # of the memory, by falling priority

_OWED_BITS = 8              # bits of the number of written words still to be counted


class Activity(wiring.Component):
    """One event a cycle for each group of :data:`assembler.contract.registers.GROUPS` while a
    program runs, so that the counters of a group add up to ``cycles``.

    The memory moves a word in a cycle, or the event says why not. Words to write pass the memory
    port beside words read, but not the memory's pins, so they count in cycles in which no word
    arrives. Idle cycles count against the weight stream from when it has no request outstanding
    until the first word of its next request: it had nothing to fetch (``memory_unasked``) or no
    room (``memory_full``). Idle cycles with a request outstanding count against the memory
    (``memory_late``).

    Latency: 2 cycles. All inputs are registered and no unit depends on an output, so the block
    is in no critical path.

    Cost: see ``docs/decisions/counters.md``.

    Members
    -------
    running : In(1)
        Count.
    of_memory : :py:`In(MemoryArbiter.activity_layout(CLIENTS))`
    of_weights, of_array, of_vector, of_sequencer :
        ``activity`` of each.
    transfers : In(1)
        The transfer unit has an instruction.
    blocked : :py:`In(queues_layout)`
        The first instruction of a queue waits for its operands.
    events : :py:`Out(len(COUNTERS))`
        A bit for each of :data:`assembler.contract.registers.COUNTERS`, in their order.
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

        # Words that were written while others arrived: they count in the next idle cycles.
        came  = memory.came.as_value().any()
        store = self._owed(m, memory.went.transfer, ~came)
        host  = self._owed(m, memory.went.host, ~came & ~store)

        # Outstanding bursts of weights.
        flying = Signal(range(2 * OUTSTANDING))
        m.d.sync += flying.eq(flying + weights.asked - memory.ended.weights)
        none = flying == 0
        few  = flying[1:] == 0
        # The weight stream has no request outstanding, or still waits for its first word after
        # such a time. `full` is the cause: it had no room.
        lacking = Signal(init=1)
        full    = Signal()
        with m.If(none):
            m.d.sync += [lacking.eq(1), full.eq(weights.some & (weights.full | full))]
        with m.Elif(memory.came.weights):
            m.d.sync += lacking.eq(0)
        unasked  = (none | lacking) & ~full
        too_full = (none | lacking) & full | few & weights.some & weights.full

        # Of each group the first cause that is true counts; the last is the remainder.
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
            # Each cause excludes those above it, so that exactly one of the group is set.
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
        """Strobe: a word counts in this cycle. Each word of ``moved`` counts once, in a cycle with
        ``may``.
        """
        owed = Signal(_OWED_BITS)
        some = Signal()
        counts = may & some
        change = owed + moved - counts
        m.d.sync += [owed.eq(change), some.eq(change[:_OWED_BITS] != 0)]
        return counts
