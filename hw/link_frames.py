"""Frames of the host link: bytes of a line to checked requests, and answers to bytes."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from assembler import link
from hw.ram import BlockRam


__all__ = ["FrameReceiver", "FrameSender", "Crc", "byte_layout"]


SLOT_BYTES = 256           # of block RAM for a frame
CRC_BYTES  = link.CRC.size
SHORTEST   = link.REQUEST.size + CRC_BYTES

byte_layout = data.StructLayout({"data": 8, "last": 1})


def Crc():
    """CRC-32 as in zlib, a byte a cycle."""
    return catalog.CRC32_ISO_HDLC(data_width=8).create()


class FrameReceiver(wiring.Component):
    """Bytes of the line to requests whose CRC is right, in the order in which they came.

    A frame ends with a zero (COBS; see ``assembler.link``), so whatever came before, the frame
    after the next zero is understood again. It is kept in a slot of block RAM until its CRC
    was seen; only then it is on ``o``. A frame that is damaged, too short or too long, or
    for which no slot is free, is dropped and reported. Empty frames are nothing.

    Latency: 7 cycles from the zero to the first byte. Throughput: a byte in 1 cycle in, 4 cycles
    after a frame; a byte in 3 cycles out.

    Cost: 270 LUT4, 99 FF and 1 DP16KD (Yosys 0.70).

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    o : :py:`Out(stream.Signature(byte_layout))`
        A frame without its CRC; ``last`` with its last byte.
    length : :py:`Out(8)`
        Bytes of the frame on ``o``, without its CRC.
    damaged : :py:`Out(1)`
        Strobe: a frame was dropped.
    """
    i:       In(stream.Signature(8))
    o:       Out(stream.Signature(byte_layout))
    length:  Out(8)
    damaged: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram     = ram     = BlockRam(shape=8, depth=link.WINDOW * SLOT_BYTES)
        m.submodules.lengths = lengths = Memory(shape=8, depth=link.WINDOW, init=[])
        m.submodules.crc     = crc     = Crc()
        lengths_write = lengths.write_port()
        lengths_read  = lengths.read_port(domain="comb")

        filling = Signal(range(link.WINDOW))        # slot that is written
        reading = Signal(range(link.WINDOW))        # slot that is on `o`
        full    = Signal(range(link.WINDOW + 1))    # slots with a checked frame
        push, pop = Signal(), Signal()
        m.d.sync += [filling.eq(filling + push), reading.eq(reading + pop)]
        with m.If(push & ~pop):
            m.d.sync += full.eq(full + 1)
        with m.If(pop & ~push):
            m.d.sync += full.eq(full - 1)

        # COBS to bytes. The zero of a run comes with the code of the next.
        run   = Signal(8)       # bytes that are left of the run
        begun = Signal()        # the frame has a code
        bad   = Signal()        # and it cannot be right
        count = Signal(8)       # bytes stored
        byte  = Signal(8)
        store = Signal()
        right = Signal()
        free  = Signal()
        m.d.comb += [
            free.eq(full != link.WINDOW),
            ram.write_address.eq(Cat(count, filling)),
            ram.write_data.eq(byte),
            ram.write_enable.eq(store & free),
            crc.data.eq(byte),
            crc.valid.eq(store),
            lengths_write.addr.eq(filling),
            lengths_write.data.eq(count - CRC_BYTES),
            lengths_write.en.eq(push),
        ]
        m.d.sync += right.eq(crc.match_detected)
        m.d.sync += store.eq(0)
        with m.If(store):
            m.d.sync += count.eq(count + 1)
            with m.If(~free | (count == link.FRAME_BYTES)):
                m.d.sync += bad.eq(1)
                m.d.sync += count.eq(count)

        with m.FSM():
            with m.State("byte"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    with m.If(self.i.payload == 0):
                        with m.If(begun):
                            m.next = "last byte"
                    with m.Elif(run == 0):
                        m.d.sync += run.eq(self.i.payload - 1)
                        m.d.sync += begun.eq(1)
                        m.d.sync += byte.eq(0)
                        m.d.sync += store.eq(begun)
                    with m.Else():
                        m.d.sync += run.eq(run - 1)
                        m.d.sync += byte.eq(self.i.payload)
                        m.d.sync += store.eq(1)
            with m.State("last byte"):
                m.next = "crc"
            with m.State("crc"):
                m.d.sync += bad.eq(bad | (run != 0) | (count < SHORTEST))
                m.next = "verdict"
            with m.State("verdict"):
                m.d.comb += push.eq(right & ~bad)
                m.d.comb += self.damaged.eq(~push)
                m.d.comb += crc.start.eq(1)
                m.d.sync += [begun.eq(0), run.eq(0), bad.eq(0), count.eq(0)]
                m.next = "byte"

        at   = Signal(8)
        last = Signal()         # that byte is the frame's last
        m.d.comb += lengths_read.addr.eq(reading)
        m.d.comb += [ram.read_address.eq(Cat(at, reading)), ram.read_enable.eq(1)]
        # The block RAM's own register: it stays while `at` does.
        read = Signal(8, reset_less=True)
        m.d.sync += read.eq(ram.read_data)
        m.d.comb += self.o.payload.data.eq(read)
        with m.FSM():
            with m.State("fetch"):
                m.d.sync += self.length.eq(lengths_read.data)
                with m.If(full != 0):
                    m.next = "byte"
            with m.State("byte"):
                m.d.sync += last.eq(at + 1 == self.length)
                m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += at.eq(at + 1)
                    m.next = "fetch"
                    with m.If(last):
                        m.d.comb += pop.eq(1)
                        m.d.sync += at.eq(0)
        m.d.comb += self.o.payload.last.eq(last)
        return m


class FrameSender(wiring.Component):
    """Answers to bytes of the line, and the answer that is kept once more.

    An answer is stored as it will be sent: a byte that is not zero where it belongs, and for a
    zero the length of the run before it, in the place that was left free there. It goes out when
    its last byte was taken, with its CRC and a tail of zeros. An answer given with ``keep``
    is kept until the next one with it; others have a place of their own.

    Latency: 7 cycles from the last byte to the first of the line. Throughput: a byte in 2
    cycles in, in 3 cycles out; no new answer before the last one is out.

    Cost: 255 LUT4, 113 FF and 1 DP16KD (Yosys 0.70).

    Members
    -------
    i : :py:`In(stream.Signature(byte_layout))`
        An answer of up to FRAME_BYTES - 4 bytes.
    keep : :py:`In(1)`
        Keep it; stable while it is given.
    again : :py:`In(1)`
        Strobe, while ``idle``: send the kept answer again.
    o : :py:`Out(stream.Signature(8))`
    idle : :py:`Out(1)`
        Nothing is sent, and no answer has begun.
    """
    i:     In(stream.Signature(byte_layout))
    keep:  In(1)
    again: In(1)
    o:     Out(stream.Signature(8))
    idle:  Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BlockRam(shape=8, depth=2 * SLOT_BYTES)
        m.submodules.crc = crc = Crc()

        area = Signal()         # that is written or sent: 1 keeps
        ends = Array(Signal(8, name=f"end_{n}") for n in range(2))      # bytes in each
        mark = Signal(8)        # where the length of the open run will stand
        at   = Signal(8)        # next place
        byte = Signal(8)
        last = Signal()         # no more bytes but those of the CRC
        tail = Signal(range(CRC_BYTES + 1))     # bytes of the CRC that were stored
        sums = Signal(8 * CRC_BYTES)
        m.d.comb += [
            crc.data.eq(byte),
            ram.write_address.eq(Cat(at, area)),
            ram.write_data.eq(byte),
            ram.read_address.eq(Cat(at, area)),
        ]

        def length_of_run():
            m.d.comb += ram.write_address.eq(Cat(mark, area))
            m.d.comb += ram.write_data.eq(at - mark)
            m.d.comb += ram.write_enable.eq(1)

        with m.FSM():
            with m.State("rest"):
                m.d.comb += self.idle.eq(~self.i.valid)
                m.d.comb += crc.start.eq(1)
                m.d.sync += [area.eq(self.keep), mark.eq(0), at.eq(1), last.eq(0), tail.eq(0)]
                with m.If(self.i.valid):
                    m.next = "byte"
                with m.Elif(self.again):
                    m.d.sync += [area.eq(1), at.eq(0)]
                    m.next = "fetch"
            with m.State("byte"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += byte.eq(self.i.payload.data)
                m.d.sync += last.eq(self.i.payload.last)
                with m.If(self.i.valid):
                    m.next = "store"
            with m.State("store"):
                m.d.comb += crc.valid.eq(tail == 0)
                m.d.sync += at.eq(at + 1)
                with m.If(byte == 0):
                    length_of_run()
                    m.d.sync += mark.eq(at)
                with m.Else():
                    m.d.comb += ram.write_enable.eq(1)
                m.next = "byte"
                with m.If(last):
                    m.next = "crc"
            with m.State("crc"):
                m.d.sync += tail.eq(tail + 1)
                m.d.sync += byte.eq(sums[:8])
                m.d.sync += sums.eq(sums[8:])
                m.next = "store"
                with m.If(tail == 0):
                    m.d.sync += byte.eq(crc.crc[:8])
                    m.d.sync += sums.eq(crc.crc[8:])
                with m.If(tail == CRC_BYTES):
                    m.next = "end"
            with m.State("end"):
                length_of_run()
                m.d.sync += ends[area].eq(at)
                m.d.sync += at.eq(0)
                m.next = "fetch"
            with m.State("fetch"):
                m.d.comb += ram.read_enable.eq(1)
                m.d.sync += last.eq(at == ends[area])
                m.d.sync += tail.eq(len(link.TAIL))
                m.next = "load"
            with m.State("load"):
                m.d.sync += self.o.payload.eq(Mux(last, 0, ram.read_data))
                m.d.sync += self.o.valid.eq(1)
                m.d.sync += at.eq(at + 1)
                m.next = "offer"
            with m.State("offer"):
                with m.If(self.o.ready):
                    m.d.sync += self.o.valid.eq(0)
                    m.d.sync += tail.eq(tail - 1)
                    m.next = "fetch"
                    with m.If(last):
                        m.next = "offer"
                        m.d.sync += self.o.valid.eq(1)
                        with m.If(tail == 1):
                            m.d.sync += self.o.valid.eq(0)
                            m.next = "rest"
        return m
