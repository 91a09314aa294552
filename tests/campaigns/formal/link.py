"""The serial line and its frames: never stuck, and no request without a right CRC."""

from types import SimpleNamespace
import zlib

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.link import Code
from tern_fpga.hw.link.frames import SHORTEST, Crc, FrameReceiver, byte_layout
from tern_fpga.hw.link.link import HostLink
from tern_fpga.hw.link.uart import UartReceiver, UartTransmitter
from tests.campaigns.formal.bench import Fault, Proof


__all__ = ["PROOFS"]


WINDOW = 2          # frames that wait, 8 in truth

_POLYNOMIAL = 0xEDB88320
_RESIDUE    = 0xDEBB20E3        # of a message and its CRC, before the last inversion


def _crc(b, crc, byte):
    """CRC-32 bit by bit, as zlib's authors explain it."""
    for n in range(8):
        odd = crc[0] ^ byte[n]
        crc = b.named(f"crc_{n}", crc[1:] ^ Mux(odd, _POLYNOMIAL, 0))
    return crc


def _checksum(b):
    """The generator of frames' checksums, told to begin and to count at any time."""
    crc = b.block("crc", Crc())
    b.m.d.comb += [crc.start.eq(b.any("start")), crc.valid.eq(b.any("valid")),
                   crc.data.eq(b.any("data", 8))]
    sum_ = Signal(32, init=0xFFFFFFFF)
    before = b.named("before", Mux(crc.start, sum_.init, sum_))
    b.m.d.sync += sum_.eq(Mux(crc.valid, _crc(b, before, crc.data), before))
    b.promise("same_sum", crc.crc == ~sum_)
    b.promise("same_verdict", crc.match_detected == (sum_ == _RESIDUE))
    b.reach("of_a_byte", crc.crc == zlib.crc32(b"T"))


class _AnySum(wiring.Component):
    """Stands for the CRC, which has a proof of its own: eight bits that depend on every byte and
    on their order. A decoder that only looks at the verdict cannot tell the difference."""
    start:          In(1)
    valid:          In(1)
    data:           In(8)
    match_detected: Out(1)

    @staticmethod
    def step(value, byte):
        return Cat(value[1:], value[0] ^ value[4]) ^ byte

    def elaborate(self, platform):
        m = Module()
        value = Signal(8, init=0xFF)
        with m.If(self.start):
            m.d.sync += value.eq(value.init)
        with m.Elif(self.valid):
            m.d.sync += value.eq(self.step(value, self.data))
        m.d.comb += self.match_detected.eq(value == 0)
        return m


def _frames(b):
    """A second decoder, written from the definition, agrees about every frame."""
    m = b.m
    receiver = b.block("receiver", FrameReceiver())
    taken    = b.feed("i", receiver.i)
    left     = b.drain("o", receiver.o)
    byte     = receiver.i.payload

    run    = Signal(8)              # bytes up to the next zero of the frame
    begun  = Signal()
    count  = Signal(8)
    bad    = Signal()
    crc    = Signal(8, init=0xFF)
    frames = Signal(range(WINDOW + 1))      # whole and not taken
    ending = Signal(2)              # cycles since a frame's zero, 3 at the most, or 0
    right  = Signal()
    store  = Signal()
    stored = Signal(8)
    verdict = ending == 3
    ok      = right & ~bad
    m.d.sync += [
        ending.eq(Mux(ending == 0, taken & (byte == 0) & begun, ending + 1)),
        store.eq(taken & (byte != 0) & (begun | (run != 0))),
        right.eq(crc == 0),
        frames.eq(frames + (verdict & ok) - (left & receiver.o.p.last)),
    ]
    with m.If(taken & (byte != 0)):
        m.d.sync += [begun.eq(1), run.eq(Mux(run == 0, byte, run) - 1),
                     stored.eq(Mux(run == 0, 0, byte))]
    with m.If(store):
        m.d.sync += crc.eq(_AnySum.step(crc, stored))
        with m.If((count == link.FRAME_BYTES) | (frames == WINDOW)):
            m.d.sync += bad.eq(1)
        with m.Else():
            m.d.sync += count.eq(count + 1)
    with m.If(ending == 2):
        m.d.sync += bad.eq(bad | (run != 0) | (count < SHORTEST))
    with m.If(verdict):
        m.d.sync += [run.eq(0), begun.eq(0), count.eq(0), bad.eq(0), crc.eq(crc.init)]

    b.promise("dropped_if_wrong_and_only_then", receiver.damaged == (verdict & ~ok))
    b.stream_rules("o", SimpleNamespace(valid=receiver.o.valid, ready=receiver.o.ready,
                                        payload=receiver.o.p.last))
    b.promise("offers_only_what_was_right", ~receiver.o.valid | (frames != 0))
    b.promise("takes_bytes_but_for_three_cycles", receiver.i.ready == (ending == 0))
    b.reach("right", verdict & ok)
    b.reach("damaged", receiver.damaged)


_WHOLE = dict(clock_hz=4, baud=1)           # 4 cycles a bit
_SPEED = dict(clock_hz=40, baud=9)          # 4.44
_IDLE  = 48                     # cycles, more than a byte takes
_LATE  = 56                     # from a byte's first cycle until it must have come


def _silence(b):
    """Two receivers: one that heard anything, one that was reset when the silence ended."""
    line   = b.any("line")
    idle   = Signal(range(_IDLE + 1))
    silent = Signal()           # there was a silence
    fresh  = Signal()           # which ends with this cycle
    b.m.d.sync += idle.eq(Mux(line, idle + (idle != _IDLE), 0))
    b.m.d.comb += fresh.eq((idle == _IDLE) & ~silent & b.any("now"))
    b.m.d.sync += silent.eq(silent | fresh)
    old = b.block("old", UartReceiver(**_WHOLE))
    new = UartReceiver(**_WHOLE)
    b.block("new", ResetInserter(fresh)(new))
    b.assume(~fresh | line)
    for receiver in (old, new):
        b.m.d.comb += [receiver.rx.eq(line), receiver.o.ready.eq(1)]
    b.promise("heard_at_once", ~silent | (old.o.valid == new.o.valid))
    b.promise("heard_alike", ~(silent & old.o.valid) | (old.o.payload == new.o.payload))


def _byte(b):
    m = b.m
    receiver    = b.block("receiver", UartReceiver(**_SPEED))
    transmitter = b.block("transmitter", UartTransmitter(**_SPEED))
    byte  = b.constant("byte", 8)
    since = Signal(range(_LATE + 2))        # cycles since the byte was given
    heard = Signal()
    m.d.comb += [
        receiver.rx.eq(transmitter.tx),
        receiver.o.ready.eq(1),
        transmitter.i.payload.eq(byte),
        transmitter.i.valid.eq((since == 0) & b.any("send")),
    ]
    m.d.sync += heard.eq(heard | receiver.o.valid)
    with m.If((transmitter.i.valid & transmitter.i.ready) | (since != 0) & (since <= _LATE)):
        m.d.sync += since.eq(since + 1)
    b.promise("only_the_byte", ~receiver.o.valid
              | (receiver.o.payload == byte) & ~heard & (since != 0))
    b.promise("the_byte_came", (since <= _LATE) | heard)
    b.reach("heard", receiver.o.valid & (byte == 0x5A))


class _PlainFrames(wiring.Component):
    """Stands for FrameReceiver, which has a proof of its own: a byte that says how many follow,
    and those. What passes is a request by definition."""
    i:       In(stream.Signature(8))
    o:       Out(stream.Signature(byte_layout))
    length:  Out(8)
    damaged: Out(1)

    def elaborate(self, platform):
        m = Module()
        inside = Signal()
        at     = Signal(8)
        m.d.comb += [
            self.o.valid.eq(inside & self.i.valid),
            self.o.p.data.eq(self.i.payload),
            self.o.p.last.eq(at + 1 == self.length),
            self.i.ready.eq(~inside | self.o.ready),
        ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [inside.eq(1), at.eq(at + inside)]
            with m.If(~inside):
                m.d.sync += [self.length.eq(self.i.payload), at.eq(0)]
            with m.Elif(self.o.p.last):
                m.d.sync += inside.eq(0)
        return m


class _PlainAnswers(wiring.Component):
    """Stands for FrameSender: bytes of answers as they come, and one for the kept answer."""
    i:     In(stream.Signature(byte_layout))
    keep:  In(1)
    again: In(1)
    o:     Out(stream.Signature(8))
    idle:  Out(1)

    def elaborate(self, platform):
        m = Module()
        begun = Signal()
        kept  = Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid | kept),
            self.o.payload.eq(self.i.p.data),
            self.i.ready.eq(self.o.ready & ~kept),
            self.idle.eq(~self.i.valid & ~begun & ~kept),
        ]
        m.d.sync += kept.eq(self.again | kept & ~self.o.ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += begun.eq(~self.i.p.last)
        return m


class _NoIdentity:
    """Stands for ``assembler.contract.link.IDENTITY``, which takes a SYNC another 50 cycles."""
    size = 4

    @classmethod
    def pack(cls, *fields):
        return bytes(cls.size)


_HOST = Config(memory_bytes=1 << 12)
_DATA = 4               # bytes of a request, at the most


def _host(b):
    """A link that gets any requests, a decoder beside it, and the memory's answers.

    Returns the link, the request (stays until the next one), and "it has just come".
    """
    host  = b.block("host", HostLink(config=_HOST, clock_hz=1, name="any"))
    taken = b.named("taken", host.i.valid & host.i.ready)
    byte  = host.i.payload
    b.m.d.comb += [
        host.i.valid.eq(1),
        host.i.payload.eq(Mux(b.past(~taken), b.past(byte), b.any("byte", 8))),
        host.stopped.eq(0),
    ]

    at      = Signal(range(link.REQUEST.size + _DATA + 2))      # bytes of the frame that came
    size    = Signal(8)         # of its data
    request = Signal(data.StructLayout({"number": 8, "code": 8, "address": 32, "operand": 32}))
    came    = Signal()
    last    = at == link.REQUEST.size + size
    b.m.d.sync += came.eq(taken & (at == link.REQUEST.size))
    b.assume((at != 0) | ~taken | (byte >= link.REQUEST.size)
             & (byte <= link.REQUEST.size + _DATA))
    with b.m.If(taken):
        b.m.d.sync += at.eq(Mux((at != 0) & last, 0, at + 1))
        with b.m.If(at == 0):
            b.m.d.sync += size.eq(byte - link.REQUEST.size)
        with b.m.Elif(at <= link.REQUEST.size):
            b.m.d.sync += request.eq(Cat(request, byte)[8:])
    body = b.named("body", taken & (at > link.REQUEST.size))    # `byte` is one of its data

    # Numbers, as docs/link.md has them.
    open_, expected, granted = Signal(), Signal(8), Signal()
    sync = came & (request.code == Code.SYNC) & (size == 0)
    mine = came & ~sync & open_ & (request.number == expected)
    with b.m.If(sync | mine):
        b.m.d.sync += [open_.eq(1), expected.eq(request.number + 1)]
    held = Signal.like(size)        # the next frame may have begun
    with b.m.If(came):
        b.m.d.sync += [granted.eq(mine), held.eq(size)]
    return host, SimpleNamespace(fields=request, size=held, came=came, granted=granted, body=body,
                                 byte=byte, taken=taken)


def _memory(b, port, *, quick):
    """A memory that does what it is asked; returns what :meth:`Bench.owed` says is taken."""
    reads, writes, taken, went = b.owed(port, 6)
    b.m.d.comb += [
        port.command.ready.eq(1 if quick else b.any("command_ready")),
        port.read.valid.eq((reads != 0) & (1 if quick else b.any("read_valid"))),
        port.read.payload.eq(b.any("read_word", len(port.read.payload))),
        port.write.ready.eq((writes != 0) & (1 if quick else b.any("write_ready"))),
    ]
    return taken, went


def _writes(b):
    """Memory, registers and messages change as a request in order says, and else not."""
    m = b.m
    host, request = _host(b)
    fields = request.fields
    b.drain("request", host.request)
    b.drain("messages", host.messages)
    b.feed("response", host.response)
    m.d.comb += [host.o.ready.eq(1), host.tokens.valid.eq(0)]
    taken, went = _memory(b, host.memory, quick=False)
    for name in ("request", "messages"):
        b.stream_rules(name, getattr(host, name))
    for name in ("command", "write"):
        b.stream_rules(f"memory_{name}", getattr(host.memory, name))

    # The data of the request, and what went of them.
    bytes_, count = Signal(8 * _DATA), Signal(range(_DATA + 1))
    words, asked, messages = Signal(range(_DATA)), Signal(range(_DATA)), Signal(2)
    message = host.messages.valid & host.messages.ready
    with m.If(request.body):
        m.d.sync += count.eq(count + 1)
        for n in range(_DATA):
            with m.If(count == n):
                m.d.sync += bytes_[8 * n:8 * n + 8].eq(request.byte)
    command = host.memory.command.p
    with m.If(taken & command.write):
        m.d.sync += asked.eq(asked + command.words)
    with m.If(went):
        m.d.sync += words.eq(words + 1)
    with m.If(request.came):
        m.d.sync += [words.eq(0), asked.eq(0), count.eq(0)]

    end   = b.named("end", (fields.address + fields.operand)[:33])
    write = b.named("may_write", request.granted & (fields.code == Code.WRITE_MEMORY)
                    & (fields.operand << 1 == request.size) & (fields.operand != 0)
                    & (end <= _HOST.memory_words))
    offers = host.memory.command.valid & command.write
    b.promise("only_what_was_asked", ~offers | write & (command.address == fields.address + asked)
              & (asked + command.words <= fields.operand))
    b.promise("word_of_the_request", ~host.memory.write.valid | write & (words < fields.operand)
              & (host.memory.write.payload == bytes_.word_select(words[0], 16)))
    b.promise("only_its_register", ~host.request.valid | request.granted & (request.size == 0)
              & (host.request.p.address == fields.address)
              & (fields.code == Mux(host.request.p.write, Code.WRITE_REGISTER,
                                    Code.READ_REGISTER))
              & (~host.request.p.write | (host.request.p.data == fields.operand)))
    m.d.sync += messages.eq(messages + message)
    came = Signal(2)
    with m.If(request.body & (fields.code == Code.MESSAGES) & (count == 3) & request.granted
              & (fields.operand == 1)):
        m.d.sync += came.eq(came + 1)
    b.promise("only_messages_that_came", ~host.messages.valid | (messages != came))
    b.reach("wrote", went)
    b.reach("register", host.request.valid & host.request.p.write)
    b.reach("message", host.messages.valid)


_STILL = 16


def _moves(b):
    """With partners that do what they are asked, something happens all the time."""
    host, request = _host(b)
    b.m.d.comb += [
        host.o.ready.eq(1),
        host.messages.ready.eq(1),
        host.request.ready.eq(1),
        host.response.valid.eq(b.past(host.request.valid & ~host.request.p.write)
                               | b.past(host.response.valid & ~host.response.ready)),
        host.tokens.valid.eq(b.any("token")),
    ]
    taken, went = _memory(b, host.memory, quick=True)
    event = Cat(request.taken, host.o.valid, taken, went, host.memory.read.valid,
                host.request.valid).any()
    still = Signal(range(_STILL + 2))
    b.m.d.sync += still.eq(Mux(event, 0, still + (still <= _STILL)))
    b.promise("something_happens", still <= _STILL)
    b.reach("second_request", request.granted)


_LINK = {"hw.link.link.FrameReceiver": _PlainFrames, "hw.link.link.FrameSender": _PlainAnswers,
         "assembler.contract.link.IDENTITY": _NoIdentity, "hw.link.link.WORDS": 4,
         "hw.link.memory.LONGEST": 2, "hw.link.memory.ROOM": 4}

PROOFS = (
    Proof("host link writes", "A word goes to memory only for a whole request with a right CRC, "
          "in order after a SYNC, that stays inside the memory: at its address, and as it came. "
          "Registers and messages alike. These streams keep their offers until they are taken.",
          _writes, method="bounded 66", reach=60, constants=_LINK,
          limits="Longer runs; requests of more than 4 bytes of data; pauses of the line. Frames "
                 "and CRCs, which have proofs of their own.",
          faults=(Fault("any number is in order", "hw.link.link:HostLink",
                        "(request.number == expected)", "1"),
                  Fault("one word beyond the memory", "hw.link.link:HostLink",
                        "beyond <= config.memory_words", "beyond <= config.memory_words + 1"))),
    Proof("host link moves", f"Whatever the requests, {_STILL + 1} cycles never pass without a "
          "byte of the line, or a step of memory or registers, if those do what they are asked.",
          _moves, method="bounded 76", reach=60, constants=_LINK,
          limits="Longer runs; requests of more than 4 bytes of data; pauses of the line.",
          faults=(Fault("waits for data that do not come", "hw.link.link:HostLink",
                        "words.eq(request.operand << word_shift == size)", "words.eq(1)"),)),
    Proof("crc", "The sum of a frame is CRC-32 as defined bit by bit, whatever bytes come when, "
          "and it is right exactly if the last four bytes are the CRC of those before.",
          _checksum, method="induction 2", reach=4,
          faults=(Fault("bits of a byte in the other order", "amaranth.lib.crc:Processor",
                        "data_in.eq(self.data[::-1])", "data_in.eq(self.data)"),)),
    Proof("frame receiver", "Of every sequence of bytes, exactly the frames whose COBS and CRC-32 "
          "are right, of 14 to 254 bytes and with a free slot, become requests; every other one "
          "is reported; bytes are taken but for three cycles behind a frame, so nothing leaves it "
          "stuck.",
          _frames, method="always merged", reach=30,
          constants={"assembler.contract.link.WINDOW": WINDOW, "hw.link.frames.Crc": _AnySum},
          limits="What the bytes of the request are; more than 2 slots of 8. A sum of eight bits "
                 "stands for the CRC, which is proved alone.",
          faults=(
              Fault("the CRC is not looked at", "hw.link.frames:FrameReceiver",
                    "push.eq(right & ~bad)", "push.eq(~bad)"),
              Fault("a broken frame leaves something behind", "hw.link.frames:FrameReceiver",
                    "[begun.eq(0), run.eq(0), bad.eq(0)", "[begun.eq(0), bad.eq(0)"))),
    Proof("uart silence", "Whatever was on the line, after the time of a byte of silence the "
          "receiver hears what one hears that was just reset: nothing leaves it stuck.",
          _silence, limits="Other speeds than 4 cycles a bit.",
          faults=(Fault("times bits from whenever", "hw.link.uart:UartReceiver",
                        "timer.load.eq(~line)", "timer.load.eq(0)"),)),
    Proof("uart byte", "A receiver that was reset hears any byte of the transmitter as it was "
          "sent, once, and nothing else.",
          _byte, method=f"bounded {_LATE + 12}", reach=_LATE + 8,
          limits="Other speeds; senders with another clock (tests have those).",
          faults=(Fault("a start bit is believed at its end", "hw.link.uart:UartReceiver",
                        "timer.time.eq(self.period // 2)", "timer.time.eq(self.period)"),
                  Fault("the last bit is lost", "hw.link.uart:UartReceiver",
                        "count == 7", "count == 6"))),
)
