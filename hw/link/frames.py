"""Frames of the host link: bytes of a serial line to checked requests, and answers to bytes."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import link
from tern_fpga.hw.common.ram import BlockRam


__all__ = ["FrameReceiver", "FrameSender", "Crc", "byte_layout"]


SLOT_BYTES = 256           # of block RAM, for one frame
CRC_BYTES  = link.CRC.size
SHORTEST   = link.REQUEST.size + CRC_BYTES

byte_layout = data.StructLayout({"data": 8, "last": 1})


def Crc():
    """CRC-32 as in zlib, a byte a cycle."""
    return catalog.CRC32_ISO_HDLC(data_width=8).create()


class FrameReceiver(wiring.Component):
    """Decodes COBS frames and passes on those whose CRC is right, in order.

    Protocol: a frame ends with a zero byte (see ``assembler.contract.link``), so the receiver is in
    step again after the next zero, whatever precedes it. A frame is kept in a slot of block RAM
    until its CRC was checked, and only then offered on ``o``. A frame that is damaged, too short or
    too long, or for which no slot is free, is dropped and reported. Empty frames are ignored.

    Throughput: a byte a cycle in, and 4 cycles after a frame; a byte in 3 cycles out. Latency: 7
    cycles from the zero to the first byte.

    Cost: one block RAM; part of the boards' reports in ``docs/reports``.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
        Bytes of the line.
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

        filling = Signal(range(link.WINDOW))        # slot being written
        reading = Signal(range(link.WINDOW))        # slot being read to `o`
        full    = Signal(range(link.WINDOW + 1))    # slots with a checked frame
        push, pop = Signal(), Signal()
        m.d.sync += [filling.eq(filling + push), reading.eq(reading + pop)]
        with m.If(push & ~pop):
            m.d.sync += full.eq(full + 1)
        with m.If(pop & ~push):
            m.d.sync += full.eq(full - 1)

        # COBS to bytes. A code gives the length of a run of nonzero bytes, which a zero follows.
        # The zero is stored at the next code, because the last run of a frame has no zero.
        run   = Signal(8)       # remaining bytes of the run
        begun = Signal()        # the frame has a first code
        bad   = Signal()        # ... and is certainly wrong
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
            # Two states until the CRC includes the byte stored last.
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
        last = Signal()         # the byte at `at` is the frame's last
        m.d.comb += lengths_read.addr.eq(reading)
        m.d.comb += [ram.read_address.eq(Cat(at, reading)), ram.read_enable.eq(1)]
        # The register behind the block RAM, without an enable, so that it can be the RAM's own. It
        # holds while `at` does.
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
    """Encodes answers as COBS frames, and repeats the answer that was kept.

    Protocol: an answer is stored as it will be sent. Nonzero bytes are stored in place; at a zero
    the length of the run before it is written to the place reserved at the start of that run. The
    frame is sent when the last byte was taken, with its CRC and a tail of zeros. An answer with
    ``keep`` is kept until the next one with it; all others have a separate area.

    Throughput: a byte in 2 cycles in, in 3 cycles out; the next answer is taken when the last one
    is sent. Latency: 7 cycles from the last byte to the first byte of the line.

    Cost: one block RAM; part of the boards' reports in ``docs/reports``.

    Members
    -------
    i : :py:`In(stream.Signature(byte_layout))`
        An answer of up to FRAME_BYTES - 4 bytes; ``last`` with its last byte.
    keep : :py:`In(1)`
        Keep this answer; stable while it is given.
    again : :py:`In(1)`
        Strobe, while ``idle``: send the kept answer again.
    o : :py:`Out(stream.Signature(8))`
        Bytes of the line.
    idle : :py:`Out(1)`
        Level: nothing is being sent, and no answer has begun.
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

        area = Signal()         # area being written or sent; 1: the kept answer
        ends = Array(Signal(8, name=f"end_{n}") for n in range(2))      # bytes of each area
        mark = Signal(8)        # place reserved for the length of the open run
        at   = Signal(8)        # next place to write or read
        byte = Signal(8)
        last = Signal()         # only bytes of the CRC follow
        tail = Signal(range(CRC_BYTES + 1))     # bytes of the CRC stored so far
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
            # The CRC is encoded like the bytes before it: it may contain zeros.
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
