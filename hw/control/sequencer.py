"""Sequencer: fetches the program, executes control instructions, dispatches the others."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.signatures import MemoryPort, connect, instruction_layout, step_layout
from tern_fpga.hw.control.fetch import ProgramMemory
from tern_fpga.hw.control.queue import queue_signature
from tern_fpga.hw.control.scoreboard import Scoreboard, queues_layout
from tern_fpga.hw.control.tickets import SLOTS, UNIT_INSTRUCTIONS, Queue
from tern_fpga.hw.memory.weights import WeightStream


__all__ = ["Sequencer", "STREAM_DEPTH"]


STREAM_DEPTH = 16       # `stream` instructions that may wait in front of the weight stream

_word_layout = instruction_layout(*(i.mnemonic for i in isa.INSTRUCTIONS))

_CONTROL = tuple(i for i in isa.INSTRUCTIONS if i.unit is isa.Unit.CONTROL)


class Sequencer(wiring.Component):
    """Runs the program, one instruction at a time; instructions of units go to the scoreboard.

    Protocol: ``start`` loads the program and runs it from instruction 0, with all address
    registers 0. An instruction that :func:`assembler.contract.isa.decode` refuses (its opcode
    does not exist, or a count of a unit's instruction is 0) waits until the units are idle and
    stops the program with ``fault``. ``pc`` then stays at that instruction. Beyond its end a
    program reads as zeros: `halt`.

    A `stream` enters a FIFO of ``STREAM_DEPTH`` descriptors in front of the weight stream. A
    program must not run further ahead of its matmuls than that: a `stream` waits for room, and
    room appears when matmuls that were dispatched before it take the weights.

    With ``single_step`` an instruction is issued only on ``resume``; ``stepped`` says that all
    units are idle and ``resume`` may be given. ``single_step`` must not be cleared while an
    instruction waits.

    Throughput: an instruction in 5 cycles; 1 more for an instruction of a unit (see
    :class:`hw.control.scoreboard.Scoreboard`), whose dispatch continues while the next is fetched.

    Cost: see ``docs/reports/area.md`` (sequencer).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    start, resume : :py:`In(1)`
        Strobes. ``start`` has no effect while running.
    single_step : :py:`In(1)`
        Level.
    program_address, program_length : :py:`In(...)`
        As in :class:`hw.control.fetch.ProgramMemory`; stable from ``start`` on.
    running, wanted, fault, stepped : :py:`Out(1)`
        Levels. ``wanted``: at `next`, with all units idle.
    pc : :py:`Out(range(config.program_words + 1))`
        Instruction to be issued next.
    port : :py:`Out(MemoryPort(config))`
        Reads of the program.
    steps : :py:`In(stream.Signature(step_layout(config)))`
        Taken at `next`.
    step : :py:`Out(step_layout(config))`
        The step taken last.
    weights : :py:`Out(stream.Signature(WeightStream.descriptor(config)))`
        Descriptors of `stream` instructions.
    memory, vector, array, drain, done, blocked :
        See :class:`hw.control.scoreboard.Scoreboard`.
    activity : :py:`Out(Sequencer.activity_layout)`
        State in this cycle. ``fetch``: an instruction is fetched. Otherwise an instruction may
        wait: ``scoreboard``: for the look-up of the one before; ``queue``: for room in a queue;
        ``units``: for the units to finish; ``step``: at `next` for a step.

    Golden twin: the control instructions of :class:`sim.golden.machine.Machine`.
    """
    activity_layout = data.StructLayout({
        "fetch": 1, "scoreboard": 1, "queue": 1, "units": 1, "step": 1,
    })

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "start":           In(1),
            "resume":          In(1),
            "single_step":     In(1),
            "program_address": In(ceil_log2(config.memory_words)),
            "program_length":  In(range(config.program_words + 1)),
            "running":         Out(1),
            "wanted":          Out(1),
            "fault":           Out(1),
            "stepped":         Out(1),
            "pc":              Out(range(config.program_words + 1)),
            "port":            Out(MemoryPort(config)),
            "steps":           In(stream.Signature(step_layout(config))),
            "step":            Out(step_layout(config)),
            "weights":         Out(stream.Signature(WeightStream.descriptor(config))),
            **{queue.name.lower(): Out(queue_signature(queue)) for queue in Queue},
            "done":            In(queues_layout),
            "blocked":         Out(queues_layout),
            "activity":        Out(self.activity_layout),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        flipped = wiring.flipped

        m.submodules.program = program = ProgramMemory(config=config)
        connect(m, program.port, flipped(self.port))
        m.d.comb += program.address.eq(self.program_address)
        m.d.comb += program.length.eq(self.program_length)
        m.d.comb += program.pc.eq(self.pc)

        m.submodules.scoreboard = scoreboard = Scoreboard(config=config)
        for queue in Queue:
            connect(m, getattr(scoreboard, queue.name.lower()),
                    flipped(getattr(self, queue.name.lower())))
        m.d.comb += scoreboard.done.eq(self.done)
        m.d.comb += self.blocked.eq(scoreboard.blocked)

        m.submodules.descriptors = descriptors = fifo.SyncFIFO(
            width=WeightStream.descriptor(config).size, depth=STREAM_DEPTH)
        descriptor = Signal(WeightStream.descriptor(config))
        m.d.comb += descriptors.w_data.eq(descriptor)
        m.d.comb += self.weights.payload.eq(descriptors.r_data)
        m.d.comb += self.weights.valid.eq(descriptors.r_rdy)
        m.d.comb += descriptors.r_en.eq(self.weights.ready)

        word    = Signal(_word_layout)
        r       = Signal(data.ArrayLayout(32, isa.ADDRESS_REGISTERS))
        base    = Signal(32)        # the address register that the instruction names
        address = Signal(32)
        outside = Signal()          # pc is past the program
        lacking = Signal()          # a field of a unit's instruction is below its minimum
        control = Signal(len(_CONTROL))     # one-hot in state `execute`: the word's opcode
        of_unit = Signal()                  # ... or it is an instruction of a unit
        m.d.sync += [
            control.eq(Cat(word.opcode == instr.opcode for instr in _CONTROL)),
            of_unit.eq(Cat(word.opcode == instr.opcode for instr in UNIT_INSTRUCTIONS).any()),
        ]
        m.d.comb += address.eq(base + word.address)
        m.d.comb += descriptor.address.eq(address)
        m.d.comb += descriptor.words.eq(word.words)

        # The word for the units, with operands and addresses resolved.
        ready  = Signal()
        issued = Signal(_word_layout)
        m.d.comb += scoreboard.i.payload.eq(issued)
        m.d.comb += ready.eq(~scoreboard.i.valid)       # not its `ready`: that is late
        with m.If(scoreboard.i.ready):
            m.d.sync += scoreboard.i.valid.eq(0)
        idle = Signal()
        m.d.sync += idle.eq(scoreboard.idle & ~scoreboard.i.valid)

        def proceed(target):
            m.d.sync += self.pc.eq(target)
            m.next = "fetch"

        # Done before dispatch, so that scoreboard and units see final register numbers.
        def index_operands():
            for field in (field for field in SLOTS if field.kind == "operand"):
                operand = word[field.name]
                with m.If(operand.indexed), m.Switch(word.opcode):
                    with m.Case(*(i.opcode for i in UNIT_INSTRUCTIONS if field in i.fields)):
                        m.d.sync += operand.number.eq(operand.number + r[isa.INDEX_REGISTER])
                        m.d.sync += operand.indexed.eq(0)

        def execute(instr):
            following = self.pc + 1
            match instr.mnemonic:
                # The units finish first: a stopped program has written everything.
                case "halt":
                    m.d.comb += self.activity.units.eq(~idle)
                    with m.If(idle):
                        m.d.sync += self.running.eq(0)
                        m.next = "stopped"
                case "next":
                    m.d.comb += self.wanted.eq(idle)
                    m.d.comb += self.activity.units.eq(~idle)
                    m.d.comb += self.activity.step.eq(idle & ~self.steps.valid)
                    m.d.comb += self.steps.ready.eq(idle)
                    with m.If(self.steps.valid & idle):
                        m.d.sync += self.step.eq(self.steps.payload)
                        proceed(following)
                # `set` is `add_r` on a base of 0, which `resolve` gave it. r0 stays 0.
                case "set" | "add_r":
                    with m.If(word.r != 0):
                        m.d.sync += r[word.r].eq(base + word.imm)
                    proceed(following)
                case "jump":
                    proceed(word.target)
                case "bnz":
                    proceed(Mux(base != 0, word.target, following))
                case "bns":
                    proceed(Mux(self.step.sample == 0, word.target, following))
                case "stream":
                    m.d.comb += descriptors.w_en.eq(word.words != 0)
                    m.d.comb += self.activity.queue.eq(~descriptors.w_rdy)
                    with m.If(descriptors.w_rdy):
                        proceed(following)

        def dispatch():
            with m.If(lacking):
                m.next = "fault"
            with m.Elif(ready):
                m.d.sync += scoreboard.i.valid.eq(1)
                m.d.sync += issued.eq(word)
                m.d.sync += issued.address.eq(address)
                proceed(self.pc + 1)
            with m.Else():
                m.d.comb += self.activity.queue.eq(scoreboard.full)
                m.d.comb += self.activity.scoreboard.eq(~scoreboard.full)

        with m.FSM():
            with m.State("stopped"):
                with m.If(self.start):
                    m.d.comb += program.load.eq(1)
                    m.d.sync += self.running.eq(1)
                    m.d.sync += self.fault.eq(0)
                    m.d.sync += self.pc.eq(0)
                    m.d.sync += r.eq(0)
                    m.next = "load"
            with m.State("load"):
                with m.If(program.loaded):
                    m.next = "fetch"
            with m.State("fetch"):
                m.d.comb += self.activity.fetch.eq(1)
                m.d.sync += outside.eq(self.pc >= self.program_length)
                m.next = "read"
            # The program memory has a latency of two cycles.
            with m.State("read"):
                m.next = "latch"
            with m.State("latch"):
                m.d.sync += word.eq(program.word)
                with m.If(outside):     # reads as 0 there: an earlier program may have been longer
                    m.d.sync += word.opcode.eq(0)
                m.next = "resolve"
            # Read the address register and check the fields: `execute` then uses registers only.
            with m.State("resolve"):
                m.d.comb += self.stepped.eq(self.single_step & idle)
                with m.Switch(word.opcode):
                    for instr in UNIT_INSTRUCTIONS:
                        with m.Case(instr.opcode):
                            m.d.sync += lacking.eq(Cat(word[field.name] < field.least
                                                       for field in instr.fields
                                                       if field.least).any())
                with m.If(~self.single_step | idle & self.resume):
                    m.d.sync += base.eq(Mux(word.opcode == isa.lookup("set").opcode,
                                            0, r[word.r]))
                    index_operands()
                    m.next = "execute"
            with m.State("execute"):
                for n, instr in enumerate(_CONTROL):
                    with m.If(control[n]):
                        execute(instr)
                with m.If(of_unit):
                    dispatch()
                with m.Elif(~control.any()):
                    m.next = "fault"
            # Instructions before the faulty one take effect first.
            with m.State("fault"):
                with m.If(idle):
                    m.d.sync += self.running.eq(0)
                    m.d.sync += self.fault.eq(1)
                    m.next = "stopped"
        return m
