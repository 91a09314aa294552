"""The serial line and its frames: never stuck, and no request without a right CRC."""

from types import SimpleNamespace
import zlib

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from assembler import link
from hw.link_frames import SHORTEST, Crc, FrameReceiver
from hw.uart import UartReceiver, UartTransmitter
from tests.formal.bench import Fault, Proof


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


PROOFS = (
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
          constants={"assembler.link.WINDOW": WINDOW, "hw.link_frames.Crc": _AnySum},
          limits="What the bytes of the request are; more than 2 slots of 8. A sum of eight bits "
                 "stands for the CRC, which is proved alone.",
          faults=(
              Fault("the CRC is not looked at", "hw.link_frames:FrameReceiver",
                    "push.eq(right & ~bad)", "push.eq(~bad)"),
              Fault("a broken frame leaves something behind", "hw.link_frames:FrameReceiver",
                    "[begun.eq(0), run.eq(0), bad.eq(0)", "[begun.eq(0), bad.eq(0)"))),
    Proof("uart silence", "Whatever was on the line, after the time of a byte of silence the "
          "receiver hears what one hears that was just reset: nothing leaves it stuck.",
          _silence, limits="Other speeds than 4 cycles a bit.",
          faults=(Fault("times bits from whenever", "hw.uart:UartReceiver",
                        "timer.load.eq(~line)", "timer.load.eq(0)"),)),
    Proof("uart byte", "A receiver that was reset hears any byte of the transmitter as it was "
          "sent, once, and nothing else.",
          _byte, method=f"bounded {_LATE + 12}", reach=_LATE + 8,
          limits="Other speeds; senders with another clock (tests have those).",
          faults=(Fault("a start bit is believed at its end", "hw.uart:UartReceiver",
                        "timer.time.eq(self.period // 2)", "timer.time.eq(self.period)"),
                  Fault("the last bit is lost", "hw.uart:UartReceiver",
                        "count == 7", "count == 6"))),
)
