"""Arbiter of the memory port, and long transfers cut into bursts."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.hw.array.codes import lowest
from tern_fpga.hw.common.ram import Buffer, Queue
from tern_fpga.hw.common.signatures import BURST_WORDS, MemoryPort, command_layout


__all__ = ["MemoryArbiter", "Bursts"]


OUTSTANDING = 16           # commands that may be outstanding, reads and writes each


class MemoryArbiter(wiring.Component):
    """One memory port for several clients.

    Protocol: commands are taken one at a time, from the first client in ``clients`` that offers
    one, and carried out in the order in which they were taken. A client may have several commands
    outstanding; its write words are taken in the order of all commands.

    ``stop`` abandons everything in flight, so that the clients can be reset: no new command is
    taken, outstanding write words are replaced by zeros, and returning words are dropped. Hold it
    until ``idle``. ``read.ready`` of the clients is ignored: see
    :class:`hw.common.signatures.MemoryPort`.

    Latency: 3 cycles for a command, 1 for a word in either direction. Throughput: a word a cycle,
    with one cycle between two writes; a command in 4 cycles.

    Cost: see ``docs/reports/area.md`` (arbiter).

    Parameters
    ----------
    config : assembler.contract.config.Config
    clients : tuple of str
        Names by falling priority.

    Members
    -------
    one per client : :py:`In(MemoryPort(config))`
    memory : :py:`Out(MemoryPort(config))`
    stop : In(1)
        Level.
    idle : Out(1)
        Level: no command and no word is in flight.
    activity : :py:`Out(MemoryArbiter.activity_layout(clients))`
        What moves in this cycle. A bit for each client: ``came``: a word was read; ``went``: a word
        to write passed; ``ended``: the last word of a read command passed. ``owed``: a write waits
        for its client's words.
    """
    @staticmethod
    def activity_layout(clients):
        """Layout of ``activity``."""
        each = data.StructLayout(dict.fromkeys(clients, 1))
        return data.StructLayout({"came": each, "went": each, "ended": each, "owed": 1})

    def __init__(self, *, config, clients=("transfer", "fetch", "host", "weights")):
        self.config  = config
        self.clients = tuple(clients)
        super().__init__({
            **{name: In(MemoryPort(config)) for name in self.clients},
            "memory": Out(MemoryPort(config)),
            "stop":   In(1),
            "idle":   Out(1),
            "activity": Out(self.activity_layout(clients)),
        })

    def elaborate(self, platform):
        config  = self.config
        clients = [getattr(self, name) for name in self.clients]
        m = Module()

        turn_layout = data.StructLayout({
            "client": ceil_log2(len(clients)),
            "words":  ceil_log2(BURST_WORDS + 1),
        })
        m.submodules.reads  = reads  = Queue(shape=turn_layout, depth=OUTSTANDING)
        m.submodules.writes = writes = Queue(shape=turn_layout, depth=OUTSTANDING)

        # A command waits in a register for the memory and for its entry in `reads` or `writes`.
        command = Signal(command_layout(config))
        client  = Signal(ceil_log2(len(clients)))
        held    = Signal()      # `command` waits for the memory
        noted   = Signal()      # ... and has its entry in `reads` or `writes`
        turns   = Mux(command.write, writes.i.ready, reads.i.ready)
        m.d.comb += [
            self.memory.command.payload.eq(command),
            self.memory.command.valid.eq(held & noted),
            writes.i.payload.client.eq(client),
            writes.i.payload.words.eq(command.words),
            reads.i.payload.eq(writes.i.payload),
            writes.i.valid.eq(held & ~noted & command.write),
            reads.i.valid.eq(held & ~noted & ~command.write),
        ]
        with m.If(held & turns):
            m.d.sync += noted.eq(1)
        with m.If(self.memory.command.valid & self.memory.command.ready):
            m.d.sync += held.eq(0)
        # The next client is chosen a cycle ahead, so that no client's `ready` depends on the
        # `valid` of the others.
        offers = Cat(port.command.valid for port in clients)
        chosen = Signal(len(clients))       # one-hot: the client whose command is taken
        m.d.sync += chosen.eq(0)
        with m.If(~held & ~chosen.any() & ~self.stop):
            m.d.sync += chosen.eq(lowest(offers))
        for n, port in enumerate(clients):
            m.d.comb += port.command.ready.eq(chosen[n] & ~self.stop)
            with m.If(chosen[n] & ~self.stop):
                m.d.sync += [held.eq(1), noted.eq(0), command.eq(port.command.payload),
                             client.eq(n)]

        m.submodules.outgoing = outgoing = Buffer(shape=config.memory_bits)
        # The client whose words are written, and whether the next word is its last: decoded into
        # registers, so that both are early in the cycle.
        turn = Signal(len(clients))
        some = Signal()
        owed = Signal(range(BURST_WORDS + 1))
        last = Signal()
        m.d.comb += [
            self.memory.write.valid.eq(outgoing.o.valid),
            self.memory.write.payload.eq(outgoing.o.payload),
            outgoing.o.ready.eq(self.memory.write.ready),
            writes.o.ready.eq(~some),
        ]
        with m.If(~some):
            m.d.sync += [
                turn.eq(1 << writes.o.payload.client),
                some.eq(writes.o.valid),
                owed.eq(writes.o.payload.words),
                last.eq(writes.o.payload.words == 1),
            ]
        # The memory still expects these words. The clients are in reset, so it gets zeros.
        with m.Elif(self.stop):
            m.d.comb += outgoing.i.valid.eq(1)
        with m.Else():
            for n, port in enumerate(clients):
                with m.If(turn[n]):
                    m.d.comb += [
                        outgoing.i.valid.eq(port.write.valid),
                        outgoing.i.payload.eq(port.write.payload),
                        port.write.ready.eq(outgoing.i.ready),
                    ]
        moved = outgoing.i.valid & outgoing.i.ready
        with m.If(moved):
            m.d.sync += [owed.eq(owed - 1), last.eq(owed == 2), some.eq(~last)]

        # Reads return in the order of their commands: `reads` names the client of this word.
        word  = Signal(config.memory_bits)
        taken = Signal(range(BURST_WORDS + 1), init=1)
        m.d.comb += self.memory.read.ready.eq(1)
        m.d.sync += word.eq(self.memory.read.payload)
        for n, port in enumerate(clients):
            valid = Signal(name=f"{self.clients[n]}_word")
            m.d.sync += valid.eq(self.memory.read.valid & (reads.o.payload.client == n)
                                 & ~self.stop)
            m.d.comb += [port.read.valid.eq(valid), port.read.payload.eq(word)]
        with m.If(self.memory.read.valid):
            m.d.sync += taken.eq(taken + 1)
            with m.If(taken == reads.o.payload.words):
                m.d.sync += taken.eq(1)
                m.d.comb += reads.o.ready.eq(1)

        m.d.comb += self.activity.owed.eq(some & ~outgoing.i.valid)
        for n, (name, port) in enumerate(zip(self.clients, clients)):
            m.d.comb += [
                self.activity.came[name].eq(port.read.valid),
                self.activity.went[name].eq(moved & turn[n]),
                self.activity.ended[name].eq(reads.o.ready & (reads.o.payload.client == n)),
            ]

        # Outstanding commands, one cycle late.
        under_way = Signal(range(2 * OUTSTANDING + 8))
        begun = Signal()
        ended = Signal(2)
        m.d.sync += [
            begun.eq(held & ~noted & turns),
            ended.eq(Cat(moved & last, reads.o.valid & reads.o.ready)),
            under_way.eq(under_way + begun - ended[0] - ended[1]),
        ]
        m.d.comb += self.idle.eq(~held & ~begun & (under_way == 0) & ~outgoing.o.valid)
        return m


class Bursts(wiring.Component):
    """Cut transfers into bursts, and request no more words than there is room for.

    Protocol: a transfer of 0 words gives no burst. Throughput: a burst in 3 cycles with ``room``,
    in 1 without; one cycle between two transfers.

    Cost: part of the weight stream and the transfer unit in ``docs/reports/area.md``.

    Parameters
    ----------
    config : assembler.contract.config.Config
    words_bits : int
        Bits of a transfer's length.
    longest : int
        Words of a burst; all but a transfer's last have that many. A power of two up to
        BURST_WORDS.
    room : int or None
        Words that may be requested and not freed, at least ``longest``; None: no limit.
    write : bool
        Bursts write.

    Members
    -------
    i : :py:`In(stream.Signature(Bursts.transfer(config, words_bits)))`
        ``words`` memory words from word ``address`` on.
    o : :py:`Out(stream.Signature(command_layout(config)))`
    freed : :py:`In(range(BURST_WORDS))`
        Words that become free in this cycle.
    last : Out(1)
        The burst on ``o`` is the last of its transfer.
    some, full : Out(1)
        Levels: there are words to request; there is no room for a burst (one cycle late).

    Raises
    ------
    ValueError
        ``longest`` or ``room`` is out of range.
    """
    @staticmethod
    def transfer(config, words_bits):
        """Payload of ``i``."""
        return data.StructLayout({
            "address": ceil_log2(config.memory_words),
            "words":   words_bits,
        })

    def __init__(self, *, config, words_bits, longest=BURST_WORDS, room=None, write=False):
        if longest < 1 or longest & longest - 1 or longest > BURST_WORDS:
            raise ValueError(f"longest must be a power of two from 1 to {BURST_WORDS}, "
                             f"not {longest!r}")
        if room is not None and room < longest:
            raise ValueError(f"room must be at least a burst of {longest}, not {room!r}")
        self.config     = config
        self.words_bits = words_bits
        self.longest    = longest
        self.room       = room
        self.write      = write
        super().__init__({
            "i":     In(stream.Signature(self.transfer(config, words_bits))),
            "o":     Out(stream.Signature(command_layout(config))),
            "freed": In(range(BURST_WORDS)),
            "last":  Out(1),
            "some":  Out(1),
            "full":  Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Words still to be requested, as a number of whole bursts and the rest.
        left = Signal(data.StructLayout({
            "rest":  ceil_log2(self.longest),
            "whole": max(1, self.words_bits - ceil_log2(self.longest)),
        }))
        address = Signal(ceil_log2(self.config.memory_words))
        whole   = Signal()      # left.whole != 0
        some    = Signal()      # left != 0
        fits    = Signal(init=1)        # there is room for the longest burst
        words   = Mux(whole, self.longest, left.rest)
        taken   = self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(~some),
            self.some.eq(some),
            self.o.valid.eq(some & fits),
            self.o.payload.write.eq(self.write),
            self.o.payload.address.eq(address),
            self.o.payload.words.eq(words),
            self.last.eq(~whole | ((left.whole == 1) & (left.rest == 0))),
        ]
        # `whole` and `some` are kept beside the counts, so that no comparison is in front of `o`.
        with m.If(~some):
            m.d.sync += [address.eq(self.i.payload.address), left.eq(self.i.payload.words)]
            m.d.sync += whole.eq(self.i.payload.words >= self.longest)
            m.d.sync += some.eq(self.i.valid & (self.i.payload.words != 0))
        with m.Elif(taken):
            m.d.sync += address.eq(address + words)
            with m.If(whole):
                m.d.sync += left.whole.eq(left.whole - 1)
                m.d.sync += whole.eq(left.whole != 1)
                m.d.sync += some.eq((left.whole != 1) | (left.rest != 0))
            with m.Else():
                m.d.sync += some.eq(0)

        if self.room is not None:
            # Credits, one cycle late, so that no client's `ready` is in front of the adder.
            room  = Signal(range(self.room + 1), init=self.room)
            owed  = Signal.like(self.o.payload.words)
            freed = Signal.like(self.freed)
            m.d.sync += [
                freed.eq(self.freed),
                owed.eq(Mux(taken, words, 0)),
                room.eq(room + freed - owed),
                fits.eq((room >= self.longest) & ~taken & (owed == 0)),
                self.full.eq(room < self.longest),
            ]
        return m
