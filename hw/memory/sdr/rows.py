"""Rows of an SDRAM: opened ahead of their use, refreshed, and set up after power-up."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract.sdram_parts import BUNDLE
from tern_fpga.hw.common.signatures import BURST_WORDS
from tern_fpga.hw.memory.sdr.segments import segment_layout


__all__ = ["Rows", "Command", "request_layout", "access_layout", "DEPTH"]


DEPTH  = 4          # segments that wait behind the one that streams, all with open rows
LEAD   = 3          # least number of cycles from passing a segment on to its first READ or WRITE
ALL    = 10         # address pin that makes PRECHARGE close all banks


class Command(enum.Enum, shape=3):
    """RAS#, CAS# and WE# at the pins; RAS# is the highest bit."""
    MODE      = 0b000
    REFRESH   = 0b001
    PRECHARGE = 0b010
    ACTIVE    = 0b011
    WRITE     = 0b100
    READ      = 0b101
    NOP       = 0b111


request_layout = data.StructLayout({"command": Command, "bank": 2, "a": 13})


def access_layout(part):
    """A segment whose row is open."""
    return data.StructLayout({
        "column": part.column_bits,
        "bank":   2,
        "write":  1,
        "words":  ceil_log2(BURST_WORDS + 1),
    })


class Rows(wiring.Component):
    """Passes segments on in order, each once its row is open.

    Protocol: up to ``DEPTH + 2`` segments that were passed on may be unfinished (``done`` is still
    to follow). While these stream, the rows of later segments are opened. A bank is closed only
    when no segment that was passed on needs it. A segment that writes is passed on when all its
    words have arrived (``arrived``), so nothing that was passed on ever waits.

    Refreshes are postponed and done ``BUNDLE`` at a time, so that a bundle shares the time to close
    and open rows. In idle times a refresh that is due is done at once. A row is never open longer
    than the time between two bundles.

    After reset and the pause: PRECHARGE ALL, ``BUNDLE`` refreshes, and the mode register: bursts of
    8 words, single writes.

    Latency: 4 cycles if the row is open, ``6 + max(0, rcd - 4)`` if its bank is closed, and ``rp``
    more if another row is open, without other commands at the pins. Throughput: a segment in 5
    cycles.

    Cost: part of the SDRAM controller in ``docs/reports/area.md`` (SDRAM).

    Parameters
    ----------
    part : assembler.contract.sdram_parts.Part
    timing : assembler.contract.sdram_parts.Timing
    pause : int
        Time after reset without a command, in intervals of ``timing.refi`` cycles.

    Members
    -------
    i : :py:`In(stream.Signature(segment_layout(part)))`
    o : :py:`Out(stream.Signature(access_layout(part)))`
    request : :py:`Out(stream.Signature(request_layout))`
        Commands for the pins; each is sent in the cycle in which it is taken.
    arrived : In(1)
        Strobe: a word to write arrived.
    done, done_bank : In(1), In(2)
        Strobe, and the bank: the last word of a segment was read or written.
    ready : Out(1)
        Level: the part is set up.

    Source: ``docs/decisions/sdram.md``; the parts' datasheets are named in
    ``assembler.contract.sdram_parts``.
    """
    def __init__(self, *, part, timing, pause):
        self.part   = part
        self.timing = timing
        self.pause  = pause
        super().__init__({
            "i":         In(stream.Signature(segment_layout(part))),
            "o":         Out(stream.Signature(access_layout(part))),
            "request":   Out(stream.Signature(request_layout)),
            "arrived":   In(1),
            "done":      In(1),
            "done_bank": In(2),
            "ready":     Out(1),
        })

    def elaborate(self, platform):
        part, timing = self.part, self.timing
        m = Module()

        segment = Signal(segment_layout(part))
        held    = Signal()          # `segment` is still to be passed on
        m.d.comb += [
            self.o.payload.column.eq(segment.column),
            self.o.payload.bank.eq(segment.bank),
            self.o.payload.write.eq(segment.write),
            self.o.payload.words.eq(segment.words),
        ]
        passed = self.o.valid & self.o.ready
        sent   = self.request.valid & self.request.ready

        # Words to write that arrived for segments still to be passed on.
        stored = Signal(range(4 * BURST_WORDS))
        enough = Signal()           # for `segment`
        m.d.sync += stored.eq(stored + self.arrived
                              - Mux(passed & segment.write, segment.words, 0))
        m.d.sync += enough.eq(~segment.write | (stored >= segment.words))

        # The banks.
        activates = sent & (self.request.payload.command == Command.ACTIVE)
        opened = Array(Signal(name=f"opened_{n}") for n in range(4))
        rows   = Array(Signal(part.row_bits, name=f"row_{n}") for n in range(4))
        idle   = Array(Signal(name=f"idle_{n}") for n in range(4))  # no segment passed on needs it
        # A bank's PRECHARGE is at the pins three cycles after its last access at the earliest:
        # `idle`, `closable`, the request. tWR and tRAS are counted less these.
        late = 3
        done, done_bank = self.done, self.done_bank
        for _ in range(timing.wr - 1 - late):
            before, done, before_bank, done_bank = done, Signal(), done_bank, Signal(2)
            m.d.sync += [done.eq(before), done_bank.eq(before_bank)]
        for n in range(4):
            pending = Signal(range(DEPTH + 3), name=f"pending_{n}")
            age     = Signal(range(timing.ras), name=f"age_{n}")
            m.d.sync += pending.eq(pending + (passed & (segment.bank == n))
                                   - (done & (done_bank == n)))
            m.d.sync += idle[n].eq((pending == 0) & (age == 0))
            with m.If(activates & (segment.bank == n)):
                m.d.sync += age.eq(max(0, timing.ras - 1 - late))
            with m.Elif(age != 0):
                m.d.sync += age.eq(age - 1)

        # Refreshes due: one more in every mean interval between refreshes.
        interval = Signal(range(timing.refi), init=timing.refi - 1)
        tick     = Signal()
        pause    = Signal(range(self.pause + 1), init=self.pause)
        due      = Signal(range(2 * BUNDLE))
        refreshes = sent & (self.request.payload.command == Command.REFRESH)
        m.d.sync += tick.eq(interval == 0)
        m.d.sync += interval.eq(Mux(interval == 0, timing.refi - 1, interval - 1))
        m.d.sync += due.eq(due + tick - refreshes)
        all_idle = Signal()
        urgent   = Signal()
        lazy     = Signal()         # a refresh is due and there is no segment
        m.d.sync += all_idle.eq(Cat(*idle).all())
        m.d.sync += urgent.eq(due >= BUNDLE)
        m.d.sync += lazy.eq((due != 0) & all_idle & ~self.i.valid)

        found    = Signal.like(segment.row)
        is_open  = Signal()
        closable = Signal()
        m.d.sync += [
            found.eq(rows[segment.bank]),
            is_open.eq(opened[segment.bank]),
            closable.eq(idle[segment.bank]),
        ]
        same = Signal()
        m.d.sync += same.eq(found == segment.row)

        # Cycles until the next request, or until a segment may be passed on.
        wait  = Signal(range(max(timing.rfc, 2)))
        ready = Signal(init=1)      # wait == 0
        m.d.sync += [wait.eq(Mux(ready, 0, wait - 1)), ready.eq(wait <= 1)]

        def ask(when, command, *, then, cycles, bank=0, a=0, effect=()):
            """Request ``command`` as soon as ``when``; ``cycles`` after it, go on to state
            ``then``.
            """
            # A state's command is constant until it is sent, so only `valid` needs `when`.
            m.d.sync += [
                self.request.payload.command.eq(command),
                self.request.payload.bank.eq(bank),
                self.request.payload.a.eq(a),
            ]
            with m.If(sent):
                m.d.sync += [self.request.valid.eq(0), wait.eq(max(0, cycles - 2)),
                             ready.eq(cycles <= 2), *effect]
                m.next = then
            with m.Elif(when):
                m.d.sync += self.request.valid.eq(1)

        with m.FSM():
            with m.State("POWER"):
                m.d.sync += [due.eq(BUNDLE), pause.eq(pause - tick)]
                with m.If(pause == 0):
                    m.next = "CLOSE"
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += segment.eq(self.i.payload)
                m.d.sync += held.eq(self.i.valid)
                with m.If(urgent | lazy):
                    m.next = "SETTLE"
                with m.Elif(self.i.valid):
                    m.next = "FIND"
            # Two states for the look-up of the bank: `found`, then `same`.
            with m.State("FIND"):
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(~is_open):
                    m.next = "ACTIVATE"
                with m.Elif(same):
                    m.next = "PASS"
                with m.Else():
                    m.next = "PRECHARGE"
            with m.State("PRECHARGE"):
                ask(closable, Command.PRECHARGE, bank=segment.bank, cycles=timing.rp,
                    then="ACTIVATE", effect=[opened[segment.bank].eq(0)])
            with m.State("ACTIVATE"):
                # tRRD needs no timer: the look-up of a segment between two ACTIVEs takes longer.
                ask(ready, Command.ACTIVE, bank=segment.bank, a=segment.row,
                    cycles=timing.rcd + 1 - LEAD, then="PASS",
                    effect=[opened[segment.bank].eq(1), rows[segment.bank].eq(segment.row)])
            with m.State("PASS"):
                m.d.comb += self.o.valid.eq(ready & enough)
                with m.If(passed):
                    m.d.sync += held.eq(0)
                    m.next = "TAKE"
                # A write whose words are late must not delay the refreshes.
                with m.Elif(urgent & ~self.o.valid):
                    m.next = "SETTLE"
            with m.State("SETTLE"):     # until `all_idle` includes the last segment
                m.next = "CLOSE"
            with m.State("CLOSE"):
                ask(all_idle, Command.PRECHARGE, a=1 << ALL, cycles=timing.rp, then="REFRESH",
                    effect=[bank.eq(0) for bank in opened])
            with m.State("REFRESH"):
                with m.If(ready & (due == 0) & ~self.request.valid):
                    with m.If(~self.ready):
                        m.next = "MODE"
                    with m.Elif(held):
                        m.next = "ACTIVATE"
                    with m.Else():
                        m.next = "TAKE"
                with m.Else():
                    ask(ready, Command.REFRESH, cycles=timing.rfc, then="REFRESH")
            with m.State("MODE"):
                # Bit 9: single writes; bits 6 to 4: CAS latency; 2 to 0: bursts of 8, sequential.
                ask(1, Command.MODE, a=1 << 9 | timing.cas << 4 | 3, cycles=timing.mrd,
                    then="SET", effect=[self.ready.eq(1)])
            with m.State("SET"):
                with m.If(ready):
                    m.next = "TAKE"
        return m
