"""Block RAM, and queues made of it."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


__all__ = ["BlockRam", "Queue", "DeepQueue", "Buffer"]


class BlockRam(wiring.Component):
    """A memory with one write and one read port that maps to block RAM and nothing else.

    ``read_data`` is the row at ``read_address`` one cycle after ``read_enable``, and stays until
    the next one. What a read returns of a row that is written in the same cycle is undefined in
    the block RAM (simulators return the old row): the user must not need it. Amaranth's own
    synchronous port promises the old row, for which Yosys builds a comparator, a bypass register
    and a multiplexer behind each ECP5 block RAM.

    Cost: block RAM alone.

    Parameters
    ----------
    shape : ShapeLike
        A row. With ``masked``, an array layout.
    depth : int
        Rows.
    masked : bool
        ``write_enable`` has a bit for each element of the row.

    Members
    -------
    write_address, write_data, write_enable : In
        A row to write.
    read_address, read_enable : In
        A row to read.
    read_data : Out(shape)
        The row that was read.
    """
    def __init__(self, *, shape, depth, masked=False):
        self.shape  = shape
        self.depth  = depth
        self.masked = masked
        super().__init__({
            "write_address": In(ceil_log2(depth)),
            "write_data":    In(shape),
            "write_enable":  In(shape.length if masked else 1),
            "read_address":  In(ceil_log2(depth)),
            "read_enable":   In(1),
            "read_data":     Out(shape),
        })

    def elaborate(self, platform):
        m = Module()
        # Yosys merges the register below into the RAM, and only there looks at the attribute.
        m.submodules.rows = rows = memory.Memory(shape=self.shape, depth=self.depth, init=[],
                                                 attrs={"no_rw_check": 1})
        write = rows.write_port(granularity=1 if self.masked else None)
        read  = rows.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
            write.en.eq(self.write_enable),
            read.addr.eq(self.read_address),
        ]
        row = Signal(self.shape, reset_less=True)
        with m.If(self.read_enable):
            m.d.sync += row.eq(read.data)
        m.d.comb += self.read_data.eq(row)
        return m


class Queue(wiring.Component):
    """First in, first out: ``depth`` payloads in RAM, and one more in its output register.

    Both ends take one payload a cycle, and neither handshake depends on the other combinationally
    except that taking ``o`` lets the next one out of the RAM. A payload appears on ``o`` two
    cycles after it was accepted at the earliest. Block RAM, whose data are late in the cycle, is
    for :class:`DeepQueue`.

    Parameters
    ----------
    shape : ShapeLike
        A payload.
    depth : int
        A power of two, at least 2.

    Members
    -------
    i, o : streams of ``shape``
    """
    def __init__(self, *, shape, depth):
        if depth < 2 or depth & depth - 1:
            raise ValueError(f"depth must be a power of two from 2 on, not {depth!r}")
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = BlockRam(shape=self.shape, depth=self.depth)

        produce = Signal(range(self.depth))
        consume = Signal(range(self.depth))
        level   = Signal(range(self.depth + 1))
        filled  = Signal()              # level is not 0
        room    = Signal(init=1)        # ... and not the depth
        push    = Signal()
        pull    = Signal()
        m.d.comb += [
            self.i.ready.eq(room),
            push.eq(self.i.valid & self.i.ready),
            pull.eq(filled & (~self.o.valid | self.o.ready)),
            ram.write_address.eq(produce),
            ram.write_data.eq(self.i.payload),
            ram.write_enable.eq(push),
            ram.read_address.eq(consume),
            ram.read_enable.eq(pull),
            self.o.payload.eq(ram.read_data),
        ]
        m.d.sync += [
            produce.eq(produce + push),
            consume.eq(consume + pull),
        ]
        with m.If(push & ~pull):
            m.d.sync += [level.eq(level + 1), filled.eq(1), room.eq(level != self.depth - 1)]
        with m.If(pull & ~push):
            m.d.sync += [level.eq(level - 1), filled.eq(level != 1), room.eq(1)]
        with m.If(pull):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


class DeepQueue(wiring.Component):
    """First in, first out: ``depth`` payloads in block RAM, and :py:attr:`BEHIND` more behind it.

    Both ends take one payload a cycle, and neither handshake depends on the other combinationally.
    A payload leaves the block RAM when there is a place for it in a small queue, on its way
    to which it passes a register of its own. It appears on ``o`` five cycles after it was
    accepted at the earliest.

    Parameters
    ----------
    shape : ShapeLike
        A payload.
    depth : int
        A power of two, at least 2.

    Members
    -------
    i, o : streams of ``shape``
    """
    BEHIND = 16

    def __init__(self, *, shape, depth):
        self.shape = shape
        self.depth = depth
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.deep  = deep  = Queue(shape=self.shape, depth=self.depth)
        m.submodules.ready = ready = Queue(shape=self.shape, depth=self.BEHIND)
        m.d.comb += [
            deep.i.valid.eq(self.i.valid),
            deep.i.payload.eq(self.i.payload),
            self.i.ready.eq(deep.i.ready),
            self.o.valid.eq(ready.o.valid),
            self.o.payload.eq(ready.o.payload),
            ready.o.ready.eq(self.o.ready),
        ]

        # All but the RAM's register in registers: who takes `o` may lie far away.
        places = Signal(range(self.BEHIND + 1), init=self.BEHIND)
        left   = Signal()
        place  = Signal()
        passed = deep.o.valid & deep.o.ready
        payload = Signal(self.shape, reset_less=True)
        m.d.comb += [deep.o.ready.eq(place), ready.i.payload.eq(payload)]
        m.d.sync += [
            left.eq(ready.o.valid & ready.o.ready),
            places.eq(places + left - passed),
            place.eq(places > 1),           # one cycle late, and a payload may have passed in it
            ready.i.valid.eq(passed),
            payload.eq(deep.o.payload),
        ]
        return m


class Buffer(wiring.Component):
    """Two payloads deep: cuts every combinational path between ``i`` and ``o``.

    One payload a cycle, one cycle of latency.

    Parameters
    ----------
    shape : ShapeLike
        A payload.

    Members
    -------
    i, o : streams of ``shape``
    """
    def __init__(self, *, shape):
        self.shape = shape
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        offer = Signal(self.shape, reset_less=True)
        spare = Signal(self.shape, reset_less=True)
        spare_full = Signal()
        m.d.comb += [self.i.ready.eq(~spare_full), self.o.payload.eq(offer)]
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(spare_full | self.i.valid),
                offer.eq(Mux(spare_full, Value.cast(spare), Value.cast(self.i.payload))),
                spare_full.eq(0),
            ]
        with m.Elif(self.i.valid & ~spare_full):
            m.d.sync += [spare.eq(self.i.payload), spare_full.eq(1)]
        return m
