"""Block RAM, and FIFOs made of it."""

from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2


__all__ = ["BlockRam", "Queue", "DeepQueue", "Buffer"]


class BlockRam(wiring.Component):
    """A memory with one write port and one read port that maps to block RAM and nothing else.

    Protocol: ``read_data`` is the row at ``read_address`` one cycle after ``read_enable``, and
    holds until the next read. A read of a row that is written in the same cycle returns undefined
    data (simulators return the old row), so a block must not need it. Amaranth's own
    synchronous port promises the old row there, for which Yosys adds a comparator, a bypass
    register and a multiplexer to each ECP5 block RAM.

    Latency: 1 cycle. Throughput: a read and a write a cycle.

    Cost: block RAM only.

    Parameters
    ----------
    shape : ShapeLike
        A row; with ``masked`` an array layout.
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
        The row that was read last.
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
        # Yosys merges the register below into the RAM, and only there reads the attribute. So this
        # is an asynchronous port and a register, not a synchronous port.
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


def _checked(depth):
    """``depth``; ValueError if it is not a power of two from 2 on."""
    if depth < 2 or depth & depth - 1:
        raise ValueError(f"depth must be a power of two from 2 on, not {depth!r}")
    return depth


class _Rows(wiring.Component):
    """Read and write pointers of a FIFO.

    ``push`` is allowed only with ``room``, ``pull`` only with ``filled``; both flags are
    registers.
    """
    def __init__(self, *, depth):
        self.depth = depth
        super().__init__({
            "push":    In(1),
            "pull":    In(1),
            "produce": Out(range(depth)),
            "consume": Out(range(depth)),
            "filled":  Out(1),
            "room":    Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        level = Signal(range(self.depth + 1))
        m.d.sync += [
            self.produce.eq(self.produce + self.push),
            self.consume.eq(self.consume + self.pull),
        ]
        with m.If(self.push & ~self.pull):
            m.d.sync += [
                level.eq(level + 1),
                self.filled.eq(1),
                self.room.eq(level != self.depth - 1),
            ]
        with m.If(self.pull & ~self.push):
            m.d.sync += [level.eq(level - 1), self.filled.eq(level != 1), self.room.eq(1)]
        return m


class Queue(wiring.Component):
    """FIFO of ``depth`` payloads in RAM, and one more in its output register.

    Protocol: no handshake depends on the other combinationally, except that ``o.ready`` reads the
    next payload from the RAM. Throughput: a payload a cycle at both ends. Latency: a payload is
    on ``o`` two cycles after it was accepted at the earliest.

    Meant for shallow FIFOs in distributed RAM. Data of a block RAM are late in the cycle: for
    deep ones use :class:`DeepQueue`, or put a :class:`Buffer` behind.

    Parameters
    ----------
    shape : ShapeLike
        A payload.
    depth : int
        A power of two, at least 2.

    Members
    -------
    i, o : streams of ``shape``

    Raises
    ------
    ValueError
        ``depth`` is not a power of two from 2 on.
    """
    def __init__(self, *, shape, depth):
        self.shape = shape
        self.depth = _checked(depth)
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows = rows = _Rows(depth=self.depth)
        m.submodules.ram  = ram  = BlockRam(shape=self.shape, depth=self.depth)
        m.d.comb += [
            self.i.ready.eq(rows.room),
            rows.push.eq(self.i.valid & self.i.ready),
            rows.pull.eq(rows.filled & (~self.o.valid | self.o.ready)),
            ram.write_address.eq(rows.produce),
            ram.write_data.eq(self.i.payload),
            ram.write_enable.eq(rows.push),
            ram.read_address.eq(rows.consume),
            ram.read_enable.eq(rows.pull),
            self.o.payload.eq(ram.read_data),
        ]
        with m.If(rows.pull):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        return m


class DeepQueue(wiring.Component):
    """FIFO of ``depth`` payloads in block RAM, and :py:attr:`BEHIND` more in a FIFO behind it.

    A payload is read from the block RAM when the FIFO behind it has a place for it. The block RAM
    reads in every cycle and has a register behind it, so that this register can be the block
    RAM's own (see :mod:`hw.tools.absorb`).

    Protocol: no handshake depends on the other combinationally. Throughput: a payload a cycle at
    both ends. Latency: a payload is on ``o`` five cycles after it was accepted at the earliest.

    Parameters
    ----------
    shape : ShapeLike
        A payload.
    depth : int
        A power of two, at least 2.

    Members
    -------
    i, o : streams of ``shape``

    Raises
    ------
    ValueError
        ``depth`` is not a power of two from 2 on.
    """
    BEHIND = 16

    def __init__(self, *, shape, depth):
        self.shape = shape
        self.depth = _checked(depth)
        super().__init__({
            "i": In(stream.Signature(shape)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.rows  = rows  = _Rows(depth=self.depth)
        m.submodules.ram   = ram   = BlockRam(shape=self.shape, depth=self.depth)
        m.submodules.ready = ready = Queue(shape=self.shape, depth=self.BEHIND)
        payload = Signal(self.shape, reset_less=True)
        m.d.sync += payload.eq(ram.read_data)
        m.d.comb += [
            self.i.ready.eq(rows.room),
            rows.push.eq(self.i.valid & self.i.ready),
            ram.write_address.eq(rows.produce),
            ram.write_data.eq(self.i.payload),
            ram.write_enable.eq(rows.push),
            ram.read_address.eq(rows.consume),
            ram.read_enable.eq(1),
            ready.i.payload.eq(payload),
            self.o.valid.eq(ready.o.valid),
            self.o.payload.eq(ready.o.payload),
            ready.o.ready.eq(self.o.ready),
        ]

        # Credits: `places` counts those of that FIFO. Everything here is a register, because
        # the block that takes from `o` may be far away on the chip.
        places = Signal(range(self.BEHIND + 1), init=self.BEHIND)
        left   = Signal()
        place  = Signal()
        read   = Signal()           # `read_data` is a payload to pass on
        m.d.comb += rows.pull.eq(rows.filled & place)
        m.d.sync += [
            left.eq(ready.o.valid & ready.o.ready),
            places.eq(places + left - rows.pull),
            place.eq(places > 1),           # one cycle late: one more payload may have passed
            read.eq(rows.pull),
            ready.i.valid.eq(read),
        ]
        return m


class Buffer(wiring.Component):
    """Two payloads deep: cuts every combinational path between ``i`` and ``o``.

    Throughput: a payload a cycle. Latency: 1 cycle.

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
        # `spare` takes the payload that `i` gives in the cycle in which `o` first stalls.
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [
                self.o.valid.eq(spare_full | self.i.valid),
                offer.eq(Mux(spare_full, Value.cast(spare), Value.cast(self.i.payload))),
                spare_full.eq(0),
            ]
        with m.Elif(self.i.valid & ~spare_full):
            m.d.sync += [spare.eq(self.i.payload), spare_full.eq(1)]
        return m
