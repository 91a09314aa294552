"""Control registers: how a host starts, stops, steps and watches the core."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from assembler import registers
from assembler.registers import Control, Status
from hw.counters import CounterBank
from hw.stream_sum import StreamSum


__all__ = ["RESET_CYCLES", "STATUS_BITS", "HostRegisters", "request_layout"]


RESET_CYCLES = 16          # shortest reset of the core's blocks
STATUS_BITS  = max(Status).bit_length()


request_layout = data.StructLayout({"write": 1, "address": 8, "data": 32})


class HostRegisters(wiring.Component):
    """The registers of ``assembler.registers`` behind a request and a response stream.

    Every read gets one response, in order; a write gets none. A read of a register that does
    not exist or is only written returns 0; a write to one that is only read does nothing. What
    a write to ``control`` does is visible to the next read.

    A read of ``cycles`` keeps all counters as they then are for the reads after it; before it they
    mean nothing. START clears them. A read of ``streams`` keeps the rest of the checksum likewise,
    which STOP clears.

    STOP raises ``reset`` until ``memory_idle``, RESET_CYCLES at least; a START with it or after it
    waits for that. STOP drops what is on its way on all streams, the host's memory transfers too.

    Latency: 1 cycle; up to 100 for a counter. Throughput: a request in 2 cycles.

    Cost: 755 LUT4, 526 FF and one DP16KD, most of it the counters (Yosys 0.70).

    Parameters
    ----------
    config : assembler.config.Config

    Members
    -------
    request : :py:`In(stream.Signature(request_layout))`
    response : :py:`Out(stream.Signature(32))`
    start, step : :py:`Out(1)`
        Strobes to the sequencer; ``start`` is held until ``running``.
    single_step, logits : :py:`Out(1)`
        Levels.
    reset : :py:`Out(1)`
        Keep all blocks but the memory arbiter in reset.
    memory_idle : :py:`In(1)`
    program_address, program_length : :py:`Out(...)`
        See :class:`hw.sequencer.Sequencer`. A longer program than fits is taken as one that fits.
    running, waiting, fault, stepped : :py:`In(1)`
        Levels for the status register.
    saturated : :py:`In(1)`
        Strobe that is kept from START on.
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
        # Whether the response is taken comes from afar, and `ready` goes back there.
        m.d.comb += self.request.ready.eq(~self.response.valid & ~reading)
        m.d.comb += taken.eq(self.request.valid & self.request.ready)
        m.d.comb += write.eq(request.data)

        wanted = Signal()               # START was asked for and has not begun
        hold   = Signal(range(RESET_CYCLES + 1))    # cycles that the reset has lasted
        m.d.comb += self.start.eq(wanted & ~self.reset & ~self.running)
        with m.If(self.running & ~self.reset):
            m.d.sync += wanted.eq(0)
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
        m.d.sync += counters.clear.eq(self.start)       # it drives many; events come later still

        status = {
            # A START that has not begun counts as running, a STEP given as taken.
            Status.RUNNING:   (self.running & ~self.reset) | wanted,
            Status.WAITING:   self.waiting & ~self.reset,
            Status.FAULT:     self.fault & ~self.reset & ~wanted,
            Status.SATURATED: saturated,
            Status.STEPPED:   self.stepped & ~self.step & ~self.reset,
        }
        m.d.comb += self.status.eq(Cat(status[Status(1 << bit)] for bit in range(STATUS_BITS)))
        kept = Signal(StreamSum.sums_layout, reset_less=True)
        digest = int(self.config.digest, 16)
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
