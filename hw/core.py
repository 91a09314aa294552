"""The core: sequencer, units, memories and the host's registers, wired together."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.activity import CLIENTS, Activity
from hw.array import ArrayUnit
from hw.float import delay
from hw.host import RESET_CYCLES, STATUS_BITS, HostRegisters, request_layout
from hw.memory import MemoryArbiter
from hw.ram import Buffer
from hw.rest import RESTING, clocks_needed
from hw.scheduler import Scheduler
from hw.sequencer import Sequencer
from hw.signatures import MemoryPort, beat_layout, connect, logits_layout
from hw.transfer import TransferUnit
from hw.vector import VectorUnit
from hw.vector_memory import VectorMemory
from hw.weights import WeightStream


__all__ = ["Core"]


class Core(wiring.Component):
    """A machine as ``config`` describes it; what it does is in ``docs/architecture.md``.

    The host starts a program through ``request``, sends messages and takes tokens; it may read
    and write memory at any time, at the cost of the program's speed. After STOP it must not
    expect words of transfers that were under way. ``memory`` alone may have any latency.

    Parameters
    ----------
    config : assembler.config.Config
    gated : bool
        Blocks that rest have clocks of their own, so that a simulator need not look at them: the
        same in every cycle, and nothing for a bitstream.

    Members
    -------
    clocks, needed : :py:`In(len(RESTING))`, :py:`Out(len(RESTING))`
        With ``gated`` only: the clocks of the blocks in :data:`hw.rest.RESTING`, each a copy of the
        core's that may leave out the cycles in which ``needed`` is low.
    memory : :py:`Out(MemoryPort(config))`
        All memory.
    request, response : :py:`In(stream.Signature(request_layout))`, :py:`Out(stream.Signature(32))`
        Control registers: see :class:`hw.host.HostRegisters`.
    messages, tokens : :py:`In(stream.Signature(32))`, :py:`Out(stream.Signature(32))`
        See :class:`hw.scheduler.Scheduler`.
    logits : :py:`Out(stream.Signature(logits_layout(config)))`
        Logits of every sampled position, if the host asked for them.
    stopped : :py:`Out(1)`
        A STOP is carried out: what waits on the streams of the core is to be dropped.
    status : :py:`Out(STATUS_BITS)`
        See :class:`assembler.registers.Status`.
    host : :py:`In(MemoryPort(config))`
        The host's way to the memory.

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

        registers = HostRegisters(config=config)
        arbiter   = MemoryArbiter(config=config, clients=CLIENTS)
        activity  = Activity()
        m.submodules.registers = registers
        m.submodules.watcher   = activity       # units have ports of the other name
        m.submodules.arbiter   = arbiter
        connect(m, flipped(self.request), registers.request)
        connect(m, registers.response, flipped(self.response))
        connect(m, arbiter.memory, flipped(self.memory))
        connect(m, flipped(self.host), arbiter.host)
        m.d.sync += arbiter.stop.eq(registers.reset)    # before the first block is reset
        m.d.comb += [self.stopped.eq(registers.reset), self.status.eq(registers.status)]
        m.d.comb += registers.memory_idle.eq(arbiter.idle)

        # Each block has a domain, to have a reset register of its own near by: one register would
        # drive all of the chip. The resets form a chain, since synthesis merges equal registers;
        # a reset is longer than the chain.
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
        sequencer     = block("sequencer", Sequencer(config=config))    # the last to be released

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
            # In a reset the sequencer may still be at `next`: messages then are the next program's.
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

        # Counters
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
        m.d.comb += [       # as a whole word
            transfer.i.payload.eq(sequencer.memory.payload),
            transfer.i.valid.eq(sequencer.memory.valid),
            sequencer.memory.ready.eq(transfer.i.ready),
        ]
        connect(m, sequencer.vector, vector.i)
        connect(m, sequencer.array, array.i)
        connect(m, sequencer.drain, array.i_drain)
        # Each unit has its copy of the step near by, from its neighbour's, since synthesis merges
        # equal registers. The sequencer needs more cycles than these to issue an instruction.
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
        # Whether a beat is taken depends on the array, and the beats come from afar.
        m.submodules.beats = DomainRenamer("array")(beats := Buffer(shape=beat_layout(config)))
        connect(m, weights.o, beats.i)
        connect(m, beats.o, array.weights)
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
