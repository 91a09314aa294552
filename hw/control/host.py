"""Control registers, through which a host starts, stops, steps and watches the core."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.registers import Control, Status
from tern_fpga.hw.control.counters import CounterBank
from tern_fpga.hw.memory.stream_sum import StreamSum


__all__ = ["RESET_CYCLES", "STATUS_BITS", "HostRegisters", "request_layout"]


RESET_CYCLES = 16          # shortest reset of the core's blocks
STATUS_BITS  = max(Status).bit_length()


request_layout = data.StructLayout({"write": 1, "address": 8, "data": 32})


class HostRegisters(wiring.Component):
    """The registers of ``assembler.contract.registers`` behind a request and a response stream.

    Protocol: every read has one response, in order; a write has no response. A read of a register
    that does not exist or is write-only returns 0; a write to a read-only one has no effect. The
    next read sees the effect of a write to ``control``.

    A read of ``cycles`` freezes all counters for the reads after it; before the first such read
    their values are undefined. START clears them. A read of ``streams`` freezes the other two
    registers of the checksum in the same way; STOP clears the checksum.

    STOP raises ``reset`` until ``memory_idle``, and for RESET_CYCLES at least. A START with it or
    after it waits until then. STOP drops whatever is in flight on all streams, the host's memory
    transfers included.

    Latency: 1 cycle, up to 100 for a counter. Throughput: a request in 2 cycles.

    Cost: mostly the counters. See ``docs/reports/area.md`` (host registers).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    request : :py:`In(stream.Signature(request_layout))`
    response : :py:`Out(stream.Signature(32))`
    start, step : :py:`Out(1)`
        To the sequencer. ``start`` is held until ``running``; ``step`` is a strobe.
    single_step, logits : :py:`Out(1)`
        Levels: the bits of ``control``.
    reset : :py:`Out(1)`
        Keep all blocks but the memory arbiter in reset.
    memory_idle : :py:`In(1)`
        No command and no word is in flight in the memory arbiter.
    program_address, program_length : :py:`Out(...)`
        See :class:`hw.control.sequencer.Sequencer`. A length beyond the program memory is cut to
        its size.
    running, waiting, fault, stepped : :py:`In(1)`
        Levels for the status register.
    saturated : :py:`In(1)`
        Strobe. Sticky in the status register until the next START.
    events : :py:`In(len(registers.COUNTERS))`
        A bit for each counter, which counts the cycles in which it is set.
    pc : :py:`In(range(config.program_words + 1))`
    sums : :py:`In(StreamSum.sums_layout)`
        Checksum of the weight stream.
    status : :py:`Out(STATUS_BITS)`
        The status register.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "request":         In(stream.Signature(request_layout)),
            "response":        Out(stream.Signature(32)),
            "start":           Out(1),
            "step":            Out(1),
            "single_step":     Out(1),
            "logits":          Out(1),
            "reset":           Out(1),
            "memory_idle":     In(1),
            "program_address": Out(ceil_log2(config.memory_words)),
            "program_length":  Out(range(config.program_words + 1)),
            "running":         In(1),
            "waiting":         In(1),
            "fault":           In(1),
            "stepped":         In(1),
            "saturated":       In(1),
            "events":          In(len(registers.COUNTERS)),
            "pc":              In(range(config.program_words + 1)),
            "sums":            In(StreamSum.sums_layout),
            "status":          Out(STATUS_BITS),
        })

    def elaborate(self, platform):
        m = Module()

        request = self.request.p
        write   = Signal(32)            # the data of a write
        taken   = Signal()
        reading = Signal()              # a counter
        # `ready` depends on registers only: `response.ready` has a long way, and so has this one.
        m.d.comb += self.request.ready.eq(~self.response.valid & ~reading)
        m.d.comb += taken.eq(self.request.valid & self.request.ready)
        m.d.comb += write.eq(request.data)

        wanted = Signal()               # a START is pending
        hold   = Signal(range(RESET_CYCLES + 1))    # cycles that the reset has lasted
        # `running` may still be that of the program before, so a START waits for the reset.
        m.d.comb += self.start.eq(wanted & ~self.reset & ~self.running)
        with m.If(self.running & ~self.reset):
            m.d.sync += wanted.eq(0)
        # Long enough for the chain of reset registers, then until the arbiter has finished what the
        # memory still expects or returns.
        with m.If(self.reset):
            with m.If(hold != RESET_CYCLES):
                m.d.sync += hold.eq(hold + 1)
            with m.Elif(self.memory_idle):
                m.d.sync += self.reset.eq(0)
                m.d.sync += hold.eq(0)

        saturated = Signal()
        m.d.sync += saturated.eq((saturated | self.saturated) & ~self.start)

        m.submodules.counters = counters = CounterBank(count=len(registers.COUNTERS))
        m.d.comb += counters.events.eq(self.events)
        m.d.sync += counters.clear.eq(self.start)       # large fan-out; events are later still

        status = {
            # A pending START counts as running and a pending STEP as taken, so that the read after
            # the write sees its effect.
            Status.RUNNING:   (self.running & ~self.reset) | wanted,
            Status.WAITING:   self.waiting & ~self.reset,
            Status.FAULT:     self.fault & ~self.reset & ~wanted,
            Status.SATURATED: saturated,
            Status.STEPPED:   self.stepped & ~self.step & ~self.reset,
        }
        m.d.comb += self.status.eq(Cat(status[Status(1 << bit)] for bit in range(STATUS_BITS)))
        # Three registers that must be of one cycle: the read of the first freezes the others.
        kept = Signal(StreamSum.sums_layout, reset_less=True)
        digest = int(self.config.digest, 16)
        # Registers of one word each; the counters are in block RAM and take longer.
        read = {
            "id":           registers.ID,
            "version":      registers.VERSION,
            "digest_low":   digest & 0xffffffff,
            "digest_high":  digest >> 32,
            "status":       self.status,
            "pc":           self.pc,
            "streams":      self.sums.streams,
            "stream_words": kept.words,
            "stream_sum":   kept.sum,
        }

        def written(name):
            limit = self.config.program_words
            match name:
                case "control":
                    m.d.sync += self.step.eq(write & Control.STEP != 0)
                    m.d.sync += self.single_step.eq(write & Control.SINGLE_STEP != 0)
                    m.d.sync += self.logits.eq(write & Control.LOGITS != 0)
                    with m.If(write & Control.START):
                        m.d.sync += wanted.eq(1)
                    with m.If(write & Control.STOP):
                        m.d.sync += self.reset.eq(1)
                        m.d.sync += wanted.eq(write & Control.START != 0)
                case "program_address":
                    m.d.sync += self.program_address.eq(write)
                case "program_length":
                    m.d.sync += self.program_length.eq(Mux(write > limit, limit, write))

        m.d.sync += self.step.eq(0)
        with m.If(self.response.ready):
            m.d.sync += self.response.valid.eq(0)
        with m.If(taken & ~request.write):
            m.d.sync += self.response.valid.eq(1)
            m.d.sync += self.response.payload.eq(0)
        m.d.sync += counters.read.eq(0)
        with m.Switch(request.address):
            for register in registers.REGISTERS:
                with m.Case(register.address):
                    if register.group:
                        # A counter's response follows when the bank has read it.
                        with m.If(taken & ~request.write):
                            m.d.sync += [
                                reading.eq(1),
                                self.response.valid.eq(0),
                                counters.read.eq(1),
                                counters.row.eq(registers.COUNTERS.index(register)),
                                counters.keep.eq(register.name == "cycles"),
                            ]
                    elif register.access == "r":
                        with m.If(taken & ~request.write):
                            m.d.sync += self.response.payload.eq(read[register.name])
                            if register.name == "streams":
                                m.d.sync += kept.eq(self.sums)
                    else:
                        with m.If(taken & request.write):
                            written(register.name)
        with m.If(counters.valid):
            m.d.sync += reading.eq(0)
            m.d.sync += self.response.valid.eq(1)
            m.d.sync += self.response.payload.eq(counters.value)
        return m
