"""The core: sequencer, units, memories and host registers, wired together."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.array.array import ArrayUnit
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import Buffer
from tern_fpga.hw.common.rest import RESTING, clocks_needed
from tern_fpga.hw.common.signatures import MemoryPort, beat_layout, connect, logits_layout
from tern_fpga.hw.control.activity import CLIENTS, Activity
from tern_fpga.hw.control.host import RESET_CYCLES, STATUS_BITS, HostRegisters, request_layout
from tern_fpga.hw.control.scheduler import Scheduler
from tern_fpga.hw.control.sequencer import Sequencer
from tern_fpga.hw.memory.memory import MemoryArbiter
from tern_fpga.hw.memory.transfer import TransferUnit
from tern_fpga.hw.memory.weights import WeightStream
from tern_fpga.hw.vector.memory import VectorMemory
from tern_fpga.hw.vector.vector import VectorUnit


__all__ = ["Core"]


class Core(wiring.Component):
    """The machine that ``config`` describes; ``docs/architecture.md`` says what it computes.

    Protocol: the host starts a program through ``request``, sends messages and takes tokens. It
    may read and write memory at any time; its accesses delay the program. After a STOP the
    words of transfers that were in flight are lost. ``memory`` may have any latency.

    Cost: see ``docs/reports/area.md`` (core).

    Parameters
    ----------
    config : assembler.contract.config.Config
    gated : bool
        Give each block of :data:`hw.common.rest.RESTING` a clock port of its own, so that a
        simulator can skip the block while it rests. What the core does in each cycle does not
        change. False for a bitstream.

    Members
    -------
    clocks, needed : :py:`In(len(RESTING))`, :py:`Out(len(RESTING))`
        With ``gated`` only, a bit for each block in the order of
        :data:`hw.common.rest.RESTING`. ``clocks``: the block's clock, a copy of the core's that
        may leave out the cycles in which the block's bit of ``needed`` is 0.
    memory : :py:`Out(MemoryPort(config))`
        To the memory controller: weights, program, vectors and the host's accesses.
    request, response : :py:`In(stream.Signature(request_layout))`, :py:`Out(stream.Signature(32))`
        Access to the control registers: see :class:`hw.control.host.HostRegisters`.
    messages, tokens : :py:`In(stream.Signature(32))`, :py:`Out(stream.Signature(32))`
        Prompts and settings in, sampled tokens out: see
        :class:`hw.control.scheduler.Scheduler`.
    logits : :py:`Out(stream.Signature(logits_layout(config)))`
        Logits of every sampled position, if the host set LOGITS.
    stopped : :py:`Out(1)`
        Level: a STOP is being carried out. Whatever waits in queues on the core's streams is to
        be dropped.
    status : :py:`Out(STATUS_BITS)`
        See :class:`assembler.contract.registers.Status`.
    host : :py:`In(MemoryPort(config))`
        The host's access to the memory.

    Golden twin: :class:`sim.golden.machine.Machine`.
    """
    def __init__(self, *, config, gated=False):
        self.config = config
        self.gated  = gated
        blocks = len(RESTING)
        super().__init__({
            **({"clocks": In(blocks), "needed": Out(blocks)} if gated else {}),
            "memory":   Out(MemoryPort(config)),
            "request":  In(stream.Signature(request_layout)),
            "response": Out(stream.Signature(32)),
            "messages": In(stream.Signature(32)),
            "tokens":   Out(stream.Signature(32)),
            "logits":   Out(stream.Signature(logits_layout(config))),
            "stopped":  Out(1),
            "status":   Out(STATUS_BITS),
            "host":     In(MemoryPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config  = self.config
        flipped = wiring.flipped

        # These three carry out a STOP, so they are not in its reset.
        registers = HostRegisters(config=config)
        arbiter   = MemoryArbiter(config=config, clients=CLIENTS)
        activity  = Activity()
        m.submodules.registers = registers
        m.submodules.watcher   = activity       # units have ports called `activity`
        m.submodules.arbiter   = arbiter
        connect(m, flipped(self.request), registers.request)
        connect(m, registers.response, flipped(self.response))
        connect(m, arbiter.memory, flipped(self.memory))
        connect(m, flipped(self.host), arbiter.host)
        m.d.sync += arbiter.stop.eq(registers.reset)    # no later than the first block's reset
        m.d.comb += [self.stopped.eq(registers.reset), self.status.eq(registers.status)]
        m.d.comb += registers.memory_idle.eq(arbiter.idle)

        # Each block has a clock domain with a reset register of its own, placed near the block: a
        # single register would drive about 20,000 flip-flops all over the chip. The registers form
        # a chain, because synthesis merges registers that are equal. A reset lasts longer than the
        # chain, so that for a time all blocks are in reset (docs/decisions/resets.md).
        resets = [ResetSignal() | registers.reset]

        clocks = dict(zip(RESTING, self.clocks)) if self.gated else {}

        def block(name, component):
            domain = ClockDomain(name)
            reset  = Signal(init=1, reset_less=True, name=f"{name}_reset")
            m.domains += domain
            m.d.sync  += reset.eq(resets[-1])
            m.d.comb  += [domain.clk.eq(clocks.get(name, ClockSignal())), domain.rst.eq(reset)]
            resets.append(reset)
            assert len(resets) <= RESET_CYCLES
            m.submodules[name] = DomainRenamer(name)(component)
            return component

        scheduler     = block("scheduler", Scheduler(config=config))
        weights       = block("weights", WeightStream(config=config))
        transfer      = block("transfer", TransferUnit(config=config))
        vector        = block("vector", VectorUnit(config=config))
        array         = block("array", ArrayUnit(
            config=config, draw_domain="draw" if self.gated else "sync"))
        vector_memory = block("vector_memory", VectorMemory(
            config=config, readers=("a", "b", "c", "store"), writers=("result", "drain", "load")))
        sequencer     = block("sequencer", Sequencer(config=config))    # released last

        # `Draw` is inside the array unit and rests on its own, so it shares the array's reset.
        if self.gated:
            m.domains += (draw := ClockDomain("draw"))
            m.d.comb  += [
                draw.clk.eq(clocks["draw"]),
                draw.rst.eq(ResetSignal("array")),
                self.needed.eq(clocks_needed(m, transfer=transfer, vector=vector, draw=array.draw,
                                             vector_memory=vector_memory, sequencer=sequencer)),
            ]

        # Control
        connect(m, flipped(self.messages), scheduler.messages)
        connect(m, scheduler.tokens, flipped(self.tokens))
        connect(m, scheduler.step, sequencer.steps)
        connect(m, array.tokens, scheduler.emit)
        m.d.comb += [array.choice.eq(scheduler.choice), scheduler.forgetting.eq(array.forgetting)]
        m.d.comb += [
            # During a reset the sequencer may still be at `next`. Messages that arrive then belong
            # to the next program.
            scheduler.wanted.eq(sequencer.wanted & ~registers.reset),
            sequencer.start.eq(registers.start),
            sequencer.resume.eq(registers.step),
            sequencer.single_step.eq(registers.single_step),
            sequencer.program_address.eq(registers.program_address),
            sequencer.program_length.eq(registers.program_length),
            registers.running.eq(sequencer.running),
            registers.waiting.eq(scheduler.waiting),
            registers.fault.eq(sequencer.fault),
            registers.stepped.eq(sequencer.stepped),
            registers.pc.eq(sequencer.pc),
            registers.saturated.eq(vector.saturated | array.saturated),
            registers.sums.eq(weights.sums),
        ]

        # Counters: taps of the units, which no unit depends on
        m.d.comb += [
            activity.running.eq(sequencer.running),
            activity.of_memory.eq(arbiter.activity),
            activity.of_weights.eq(weights.activity),
            activity.of_array.eq(array.activity),
            activity.of_vector.eq(vector.activity),
            activity.of_sequencer.eq(sequencer.activity),
            activity.transfers.eq(transfer.busy),
            activity.blocked.eq(sequencer.blocked),
            registers.events.eq(activity.events),
        ]

        # Instructions
        connect(m, sequencer.weights, weights.i)
        m.d.comb += [       # the unit's port is the plain word, so `connect` would refuse it
            transfer.i.payload.eq(sequencer.memory.payload),
            transfer.i.valid.eq(sequencer.memory.valid),
            sequencer.memory.ready.eq(transfer.i.ready),
        ]
        connect(m, sequencer.vector, vector.i)
        connect(m, sequencer.array, array.i)
        connect(m, sequencer.drain, array.i_drain)
        # Each unit has a copy of the step in registers near it, taken from its neighbour's copy,
        # because synthesis merges equal registers. The copies are up to three cycles late; the
        # sequencer takes longer than that to issue an instruction.
        step = sequencer.step
        for unit in (transfer, vector, array):
            step = delay(m, step, 1)
            m.d.comb += unit.step.eq(step)
        m.d.comb += [
            sequencer.done.memory.eq(transfer.done),
            sequencer.done.vector.eq(vector.done),
            sequencer.done.array.eq(array.codes_done),
            sequencer.done.drain.eq(array.done),
        ]

        # Data
        connect(m, sequencer.port, arbiter.program)
        connect(m, transfer.port, arbiter.transfer)
        connect(m, weights.port, arbiter.weights)
        # The weight stream and the array are far apart on the chip: the buffer cuts `ready` too.
        m.submodules.beats = DomainRenamer("array")(beats := Buffer(shape=beat_layout(config)))
        connect(m, weights.o, beats.i)
        connect(m, beats.o, array.weights)
        # Ports of the vector memory; it ranks its clients in the order given to it above.
        connect(m, vector.a, vector_memory.a)
        connect(m, vector.b, vector_memory.b)
        connect(m, vector.c, vector_memory.c)
        connect(m, transfer.read, vector_memory.store)
        connect(m, vector.result, vector_memory.result)
        connect(m, array.write, vector_memory.drain)
        connect(m, transfer.write, vector_memory.load)
        connect(m, vector.codes, array.codes)
        connect(m, array.logits, flipped(self.logits))
        m.d.comb += [
            vector.scale_address.eq(array.scale_address),
            array.scale.eq(vector.scale),
            array.logits_enable.eq(registers.logits),
        ]
        return m
