"""SDR SDRAM controller made for streaming: memory port on one side, pins on the other."""

from math import ceil

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract.sdram_parts import Timing
from tern_fpga.hw.common.ram import DeepQueue, Queue
from tern_fpga.hw.common.signatures import BURST_WORDS, MemoryPort, connect
from tern_fpga.hw.memory.sdr.rows import DEPTH, Command, Rows, access_layout, request_layout
from tern_fpga.hw.memory.sdr.segments import Segments


__all__ = ["SdramController", "SdramPins"]


READ_WORDS = 8              # words that a READ returns: the burst length in the mode register
MOST_CAPTURE     = 64       # half cycles: more than any board's delays
MOST_POWER_UP_US = 1_000_000


class SdramPins(wiring.Signature):
    """Pins of the part, without its clock, seen from the controller."""
    def __init__(self, config):
        super().__init__({
            "cke":   Out(1),
            "cs_n":  Out(1, init=1),
            "ras_n": Out(1, init=1),
            "cas_n": Out(1, init=1),
            "we_n":  Out(1, init=1),
            "ba":    Out(2),
            "a":     Out(13),
            "dqm":   Out(config.word_bytes, init=(1 << config.word_bytes) - 1),
            "dq_o":  Out(config.memory_bits),
            "dq_oe": Out(1),
            "dq_i":  In(config.memory_bits),
        })


class _Accesses(wiring.Component):
    """One command a cycle to the pins: READs without a gap, then requests of ``Rows``, then
    WRITEs.
    """
    def __init__(self, *, config, part, timing, capture):
        self.config  = config
        self.timing  = timing
        self.capture = capture
        super().__init__({
            "i":         In(stream.Signature(access_layout(part))),
            "request":   In(stream.Signature(request_layout)),
            "write":     In(stream.Signature(config.memory_bits)),
            "read":      Out(stream.Signature(config.memory_bits)),
            "ready":     In(1),
            "done":      Out(1),
            "done_bank": Out(2),
            "pins":      Out(SdramPins(config)),
        })

    def elaborate(self, platform):
        config, timing, pins = self.config, self.timing, self.pins
        m = Module()

        # The segment in progress. A READ returns the words up to the end of its block of
        # READ_WORDS, unless the next READ cuts it short. So a segment needs a READ at its start and
        # at the start of each block. A WRITE takes one word.
        column  = Signal.like(self.i.payload.column)
        bank    = Signal(2)
        words   = Signal.like(self.i.payload.words)     # remaining words of the segment
        last    = Signal()          # words == 1
        free    = Signal(init=1)    # no segment, or the last word of one that reads
        reads   = Signal()          # a segment that reads is in progress
        writes  = Signal()
        command = Signal()          # its next word needs a READ
        quiet   = Signal()          # the part no longer drives the data pins

        # The next word to write, in a register: data of a block RAM are late in the cycle.
        word_out = Signal(config.memory_bits, reset_less=True)
        full     = Signal()

        reading = reads & command
        writing = writes & full & quiet & ~self.request.valid
        moves   = reads | writing
        in_block = column[:ceil_log2(READ_WORDS)]
        m.d.comb += [
            self.done.eq(moves & last),
            self.done_bank.eq(bank),
            self.write.ready.eq(~full | writing),
            self.request.ready.eq(~reading),
            self.i.ready.eq(free | (last & writing)),
        ]
        with m.If(self.write.ready):
            m.d.sync += [full.eq(self.write.valid), word_out.eq(self.write.payload)]
        with m.If(moves):
            m.d.sync += [
                column.eq(column + 1),
                words.eq(words - 1),
                last.eq(words == 2),
                free.eq((words == 2) & reads),
                command.eq(in_block.all()),
            ]
        with m.If(self.i.ready):
            m.d.sync += [
                column.eq(self.i.payload.column),
                bank.eq(self.i.payload.bank),
                words.eq(self.i.payload.words),
                last.eq(self.i.payload.words == 1),
                free.eq(~self.i.valid | ((self.i.payload.words == 1) & ~self.i.payload.write)),
                reads.eq(self.i.valid & ~self.i.payload.write),
                writes.eq(self.i.valid & self.i.payload.write),
                command.eq(1),
            ]

        # After a READ the part drives the pins for READ_WORDS words from `cas` cycles on. One cycle
        # follows in which neither side drives them.
        turn = Signal(range(READ_WORDS + timing.cas), init=0)
        with m.If(reading):
            m.d.sync += [turn.eq(READ_WORDS + timing.cas - 1), quiet.eq(0)]
        with m.Else():
            m.d.sync += [turn.eq(Mux(quiet, 0, turn - 1)), quiet.eq(quiet | (turn == 0))]

        m.d.sync += [
            pins.cke.eq(1),
            pins.cs_n.eq(0),
            pins.dqm.eq(Mux(self.ready, 0, ~0)),
            pins.ba.eq(bank),
            pins.a.eq(column),
            Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(Command.NOP),
            pins.dq_o.eq(word_out),
            pins.dq_oe.eq(writing),
        ]
        # READs have priority, because a late one is a gap in the data. Seven of eight cycles remain
        # for the requests of `Rows`, and writes use the cycles that neither needs.
        with m.If(reading):
            m.d.sync += Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(Command.READ)
        with m.Elif(self.request.valid):
            m.d.sync += [
                Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(self.request.payload.command),
                pins.ba.eq(self.request.payload.bank),
                pins.a.eq(self.request.payload.a),
            ]
        with m.Elif(writing):
            m.d.sync += Cat(pins.we_n, pins.cas_n, pins.ras_n).eq(Command.WRITE)

        # A command is at the pins one cycle after it was chosen, the part takes it at the next
        # edge, and the word is sampled `cas` cycles later.
        word = Signal(config.memory_bits, reset_less=True)
        if self.capture % 2:
            m.domains.falling = falling = ClockDomain(clk_edge="neg", reset_less=True, local=True)
            m.d.comb += falling.clk.eq(ClockSignal())
            early = Signal(config.memory_bits, reset_less=True)
            m.d.falling += early.eq(pins.dq_i)
            m.d.sync += word.eq(early)
        else:
            m.d.sync += word.eq(pins.dq_i)
        under_way = Signal(timing.cas + 2 + ceil(self.capture / 2))
        m.d.sync += under_way.eq(Cat(reads, under_way))
        m.d.comb += [self.read.valid.eq(under_way[-1]), self.read.payload.eq(word)]
        return m


class SdramController(wiring.Component):
    """SDR SDRAM behind the memory port: word k of memory is word k of {row, bank, column}.

    Protocol: commands are carried out in order, up to six segments (see
    :class:`hw.memory.sdr.segments.Segments`) ahead of the pins. A read after reads has no gap. A
    write waits ``9 + cas`` cycles after the last READ, so that part and controller never drive the
    data pins at once. A write starts when all its words have arrived: a late writer delays later
    commands, never a refresh.

    Throughput: sequential reads keep the data pins busy in every cycle except ``rp + 8 rfc + rcd +
    5`` cycles in 8 refresh intervals, for a bundle of refreshes. Writes take one cycle a word, and
    two more for each row that is closed and opened meanwhile. Latency: ``cas + 11`` cycles from a
    command that reads an open row of an idle memory to its first word, and ``ceil(capture / 2)``
    more.

    Every output is a register without logic behind it, and ``dq_i`` is sampled by one without logic
    before it, so that these can be in I/O cells. The board makes the part's clock: see
    ``docs/decisions/sdram.md``. ``capture`` shifts the moment at which ``dq_i`` is sampled.

    Cost: one block RAM for the words to write. See ``docs/reports/area.md`` (SDRAM).

    Parameters
    ----------
    config : assembler.contract.config.Config
        ``memory_bits`` of 16 are one part, of 32 two side by side, and so on.
    part : assembler.contract.sdram_parts.Part
    clock_mhz : float
        Frequency of ``sync``.
    cas_latency : 2, 3 or None
        Cycles. None: the lowest that the part allows at this clock.
    capture : int
        Half cycles, -2 to 64, by which words are sampled later than ``cas`` cycles after the edge
        at which the part would take a READ if its clock were that of ``sync``. An odd value samples
        at falling edges.
    power_up_us : float or None
        Microseconds after reset until the part is set up. None: what the part requires.

    Members
    -------
    port : :py:`In(MemoryPort(config))`
    pins : :py:`Out(SdramPins(config))`
    ready : Out(1)
        Level: the part is set up. Commands may be offered before.

    Raises
    ------
    ValueError
        The part is too slow, too fast or too small, or ``capture`` or ``power_up_us`` is out of its
        range.

    Source: ``docs/decisions/sdram.md``.
    """
    def __init__(self, *, config, part, clock_mhz, cas_latency=None, capture=0, power_up_us=None):
        self.config  = config
        self.part    = part
        self.timing  = Timing.of(part, clock_mhz, cas_latency)
        self.capture = capture
        if config.memory_words > part.words:
            raise ValueError(f"{part.name} has {part.words} words, and memory_bytes asks for "
                             f"{config.memory_words}")
        if capture < -2:
            raise ValueError(f"capture must be at least -2, not {capture!r}")
        if capture > MOST_CAPTURE:
            raise ValueError(f"capture must be at most {MOST_CAPTURE}, not {capture!r}")
        power_up_us = part.power_up_us if power_up_us is None else power_up_us
        if not 0 <= power_up_us <= MOST_POWER_UP_US:
            raise ValueError(f"power_up_us must be 0 to {MOST_POWER_UP_US:,}, not {power_up_us!r}")
        self.pause  = ceil(power_up_us * clock_mhz / self.timing.refi)
        super().__init__({
            "port":  In(MemoryPort(config)),
            "pins":  Out(SdramPins(config)),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        config, part, timing = self.config, self.part, self.timing
        m = Module()
        m.submodules.segments = segments = Segments(config=config, part=part)
        m.submodules.rows     = rows     = Rows(part=part, timing=timing, pause=self.pause)
        m.submodules.ahead    = ahead    = Queue(shape=access_layout(part), depth=DEPTH)
        m.submodules.words    = words    = DeepQueue(shape=config.memory_bits,
                                                    depth=2 * BURST_WORDS)
        m.submodules.accesses = accesses = _Accesses(config=config, part=part, timing=timing,
                                                     capture=self.capture)
        wiring.connect(m, wiring.flipped(self.port.command), segments.i)
        connect(m, segments.o, rows.i)
        connect(m, rows.o, ahead.i)
        connect(m, ahead.o, accesses.i)
        connect(m, rows.request, accesses.request)
        wiring.connect(m, wiring.flipped(self.port.write), words.i)
        connect(m, words.o, accesses.write)
        wiring.connect(m, accesses.read, wiring.flipped(self.port.read))
        wiring.connect(m, accesses.pins, wiring.flipped(self.pins))
        m.d.comb += [
            rows.arrived.eq(self.port.write.valid & self.port.write.ready),
            rows.done.eq(accesses.done),
            rows.done_bank.eq(accesses.done_bank),
            accesses.ready.eq(rows.ready),
            self.ready.eq(rows.ready),
        ]
        return m
