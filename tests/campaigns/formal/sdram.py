"""The SDRAM controller at the pins, against the rules of the part."""

from dataclasses import replace

from amaranth import *

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.sdram_parts import Timing, part
from tern_fpga.hw.memory.sdr.rows import DEPTH, Command, Rows
from tern_fpga.hw.memory.sdr.sdram import READ_WORDS, SdramController
from tests.campaigns.formal.bench import Fault, Proof


__all__ = ["PROOFS"]


BUNDLE = 1          # refreshes at a time, 8 in truth
BUNDLES = 2         # where it matters
WORDS  = 8          # of a burst, 64 in truth

_SMALLER = {"hw.memory.sdr.rows.BUNDLE": BUNDLE,
            **{f"hw.{module}.BURST_WORDS": WORDS
               for module in ("common.signatures", "memory.sdr.sdram", "memory.sdr.rows",
                              "memory.sdr.segments")}}

_CONFIG = Config(memory_bytes=1 << 12)
_TRUE   = part("AS4C32M16SB-7")
_PART   = replace(_TRUE, row_bits=5, column_bits=4)


class _Since:
    """Cycles since something happened, up to ``most``; at first, long ago."""
    def __init__(self, b, name, most):
        self.most  = most
        self.count = Signal(range(most + 1), init=most, name=f"since_{name}")
        b.m.d.sync += self.count.eq(self.count + (self.count != most))
        self.b = b

    def restart(self):
        self.b.m.d.sync += self.count.eq(1)

    def least(self, cycles):
        assert cycles <= self.most
        return self.count >= cycles


def _rules(b, command, bank, a10, timing, *, writes=None):
    """The part's rules about commands, one at a time. ``writes``: this cycle has a word of a
    write. Returns a mask of the banks that are open."""
    m      = b.m
    opened = Signal(4)
    active = [_Since(b, f"active_{n}", timing.ras + timing.rp) for n in range(4)]
    closed = [_Since(b, f"close_{n}", timing.rp) for n in range(4)]
    wrote  = [_Since(b, f"write_{n}", timing.wr) for n in range(4)]
    any_active = _Since(b, "any_active", timing.rrd)
    refresh    = _Since(b, "refresh", timing.rfc)
    mode       = _Since(b, "mode", timing.mrd)

    def when(*commands):
        return Cat(command == each for each in commands).any()

    rested = Cat(each.least(timing.rp) for each in closed).all()
    b.promise("after_refresh", when(Command.NOP) | refresh.least(timing.rfc))
    b.promise("after_mode", when(Command.NOP) | mode.least(timing.mrd))
    b.promise("refresh_or_mode_of_closed_banks",
              ~when(Command.REFRESH, Command.MODE) | ~opened.any() & rested)
    b.promise("no_burst_stop", command != 0b110)
    b.promise("no_auto_precharge", ~when(Command.READ, Command.WRITE) | ~a10)
    for n in range(4):
        here  = bank == n
        close = when(Command.PRECHARGE) & (here | a10)
        b.promise(f"active_{n}", ~(when(Command.ACTIVE) & here)
                  | ~opened[n] & closed[n].least(timing.rp)
                  & active[n].least(timing.ras + timing.rp) & any_active.least(timing.rrd))
        b.promise(f"access_{n}", ~(when(Command.READ, Command.WRITE) & here)
                  | opened[n] & active[n].least(timing.rcd))
        b.promise(f"close_{n}", ~(close & opened[n])
                  | active[n].least(timing.ras) & wrote[n].least(timing.wr))
        with m.If(when(Command.ACTIVE) & here):
            m.d.sync += opened[n].eq(1)
            active[n].restart()
        with m.If(close):
            m.d.sync += opened[n].eq(0)
            closed[n].restart()
        with m.If(when(Command.WRITE) & here):
            wrote[n].restart()
    for what, since in ((Command.ACTIVE, any_active), (Command.REFRESH, refresh),
                        (Command.MODE, mode)):
        with m.If(when(what)):
            since.restart()
    return opened


def _controller(b):
    timing = Timing.of(_TRUE, 100)
    sdram  = SdramController(config=_CONFIG, part=_PART, clock_mhz=100, power_up_us=0)
    sdram.timing = timing = replace(timing, refi=24)
    b.block("sdram", sdram)
    port, pins = sdram.port, sdram.pins

    # One of two rows of each bank, and any words of it.
    payload = Signal(len(Value.cast(port.command.payload)))
    given   = port.command.payload.shape()(payload)
    words   = b.any("words", range(WORDS + 1))
    b.m.d.comb += [
        given.write.eq(b.any("write")),
        given.address.eq(Cat(b.any("column_bank", 6), b.any("row"))),
        given.words.eq(words),
    ]
    b.assume((words >= 1) & (words <= WORDS))
    b.feed("command", port.command, payload=payload)
    b.feed("write_word", port.write, payload=Const(0, len(port.write.payload)))
    b.m.d.comb += port.read.ready.eq(1)

    command = Signal(3)
    b.m.d.comb += command.eq(Mux(pins.cs_n, Command.NOP,
                                 Cat(pins.we_n, pins.cas_n, pins.ras_n)))
    opened = _rules(b, command, pins.ba, pins.a[10], timing)

    # Words of a READ are on the wires from `cas` cycles after it on, READ_WORDS of them.
    drives = Signal(timing.cas + READ_WORDS)
    b.m.d.sync += drives.eq(drives >> 1)
    with b.m.If(command == Command.READ):
        b.m.d.sync += drives.eq(((1 << READ_WORDS) - 1) << timing.cas - 1)
    b.promise("wires_are_driven_by_one", ~(pins.dq_oe & drives[0]))
    b.promise("word_with_its_write", pins.dq_oe == (command == Command.WRITE))
    seen = b.sticky(command == Command.MODE)
    b.promise("nothing_before_the_mode", seen | ~Cat(
        command == each for each in (Command.ACTIVE, Command.READ, Command.WRITE)).any())
    b.reach("reads", command == Command.READ)
    b.reach("writes", command == Command.WRITE)
    b.reach("two_rows", (opened & (opened - 1)).any() & (command == Command.READ))


_REFI = 21          # cycles between refreshes
_SOON = 18          # from the last word to REFRESH: tRAS or tWR, PRECHARGE, tRP, and deciding


def _refresh(b):
    """Rows alone; who reads and writes ends segments at any time, in any order."""
    m      = b.m
    timing = replace(Timing.of(_TRUE, 100), refi=_REFI, rfc=3)
    rows   = b.block("rows", Rows(part=replace(_TRUE, row_bits=1, column_bits=4), timing=timing,
                                  pause=0))
    b.feed("i", rows.i)
    passed = b.named("passed", rows.o.valid & rows.o.ready)
    b.stream_rules("request", rows.request)

    # Segments of each bank that were passed on.
    some = []
    for n in range(4):
        pending = Signal(range(DEPTH + 3), name=f"bench_pending_{n}")
        m.d.sync += pending.eq(pending + (passed & (rows.o.p.bank == n))
                               - (rows.done & (rows.done_bank == n)))
        some.append(pending)
        b.assume(~(rows.done & (rows.done_bank == n)) | (pending != 0))
    total = Signal(range(DEPTH + 3), name="total")
    m.d.sync += total.eq(total + passed - rows.done)
    under_way = b.named("under_way", total != 0)
    m.d.comb += [
        rows.done.eq(b.any("done")),
        rows.done_bank.eq(b.any("done_bank", 2)),
        rows.arrived.eq(b.any("arrived")),
        rows.o.ready.eq(b.any("o_ready") | ~under_way),     # who has nothing takes a segment
        rows.request.ready.eq(b.any("request_ready") | ~under_way),
    ]
    b.assume(~passed | (total < DEPTH + 2))
    words = rows.i.p.words
    b.assume((words >= 1) & (words <= WORDS))

    sent = rows.request.valid & rows.request.ready
    refreshed = sent & (rows.request.p.command == Command.REFRESH)
    clock = Signal(range(_REFI), init=_REFI - 1)
    owed  = Signal(4)           # refreshes, since the part was set up
    late  = Signal(3)           # cycles for which a bundle is owed
    more  = Signal(2)           # segments passed on meanwhile
    still = Signal(range(_SOON + 2))        # cycles for which nothing is under way meanwhile
    m.d.sync += clock.eq(Mux(clock == 0, _REFI - 1, clock - 1))
    with m.If(rows.ready):
        m.d.sync += owed.eq(owed + (clock == 0) - (refreshed & (owed != 0)))
    b.assume(owed <= 2 * BUNDLES - 2)     # `due` has no more, and may be one ahead
    bundle = owed >= BUNDLES
    m.d.sync += [
        late.eq(Mux(bundle, Mux(late == 4, 4, late + 1), 0)),
        more.eq(Mux(bundle & (late == 4), Mux(more == 3, 3, more + passed), 0)),
        still.eq(Mux(bundle & ~under_way & ~refreshed, still + (still <= _SOON), 0)),
    ]
    b.promise("then_one_segment_more_at_most", more <= 1)
    b.promise("then_soon", still <= _SOON)
    b.reach("refreshed", rows.ready & refreshed)
    b.reach("owed_with_work", bundle & under_way & rows.i.valid)


PROOFS = (
    Proof("sdram pins", "Whatever is asked for: no ACTIVE, READ, WRITE, PRECHARGE, REFRESH or MODE "
          "at the pins breaks tRCD, tRP, tRAS, tRC, tRRD, tRFC, tWR or tMRD of AS4C32M16SB-7 at "
          "100 MHz, none goes to a bank that is open where it must be closed or the other way "
          "round, and part and controller never drive the data wires together.",
          _controller, method="bounded 42", reach=42, constants=_SMALLER,
          limits="What comes later; bursts of more than 8 words, bundles of refreshes, other "
                 "parts; that the words are the right ones (`make sdram` does).",
          faults=(Fault("closes a bank that is in use", "hw.memory.sdr.rows:Rows",
                        "(pending == 0) & (age == 0)", "(age == 0)"),
                  Fault("a command too early behind REFRESH", "hw.memory.sdr.rows:Rows",
                        "cycles=timing.rfc, then", "cycles=timing.rfc - 4, then"))),
    Proof("sdram refresh", "Once a bundle of refreshes is owed, at most one more segment goes "
          f"ahead of it, and when the last one under way has ended REFRESH comes within {_SOON} "
          "cycles, whatever is asked for and however long words to write are owed.",
          _refresh, method="bounded 68", reach=50,
          constants=_SMALLER | {"hw.memory.sdr.rows.BUNDLE": BUNDLES},
          limits="That segments end before too many refreshes are owed: what was passed on has "
                 "its words, and `make sdram` measures how long it takes. Bundles of 2 for 8, "
                 f"every {2 * _REFI} cycles for 6,250, a refresh in 3 cycles for 6.",
          faults=(Fault("waits for words while a refresh is owed", "hw.memory.sdr.rows:Rows",
                        "urgent & ~self.o.valid", "urgent & ~self.o.valid & ~segment.write"),
                  Fault("refreshes only when nothing is to do", "hw.memory.sdr.rows:Rows",
                        "m.If(urgent | lazy)", "m.If(lazy)"),)),
)
