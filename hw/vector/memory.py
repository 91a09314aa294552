"""Memory of the vector registers: four banks, several readers and writers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from tern_fpga.hw.common.ram import BlockRam, Buffer, Queue
from tern_fpga.hw.common.signatures import VectorRead, VectorWrite, row_layout


__all__ = ["VectorMemory", "BANKS"]


BANKS = 4
RESPONSES = 16             # rows that a reader may have outstanding
SLICE_ROWS = 2048          # an ECP5 block RAM is 2048 x 9: as 1024 x 18, with fewer wires out


class VectorMemory(wiring.Component):
    """``vector_rows`` rows of ``vector_lanes`` float words, for several clients at once.

    Row ``r`` is in bank ``r % 4``. A bank takes one read and one write a cycle; among clients that
    address the same bank, the first in ``readers`` or ``writers`` has priority. Clients that walk
    through rows in sequence collide once, then follow each other through the banks without
    conflict, so that four readers and four writers move a row each in every cycle.

    Protocol: a write is done when accepted; its ``ready`` depends on the ``valid`` of writers of
    higher priority. A read request waits in a buffer, and has a place reserved for its row in a
    queue before it enters a bank; so a reader that takes no rows delays no other. Rows return in
    the order of the requests. A read that is accepted in a later cycle than a write returns the new
    row. A read is undefined if its row is written between request and response; the scoreboard
    excludes that.

    Latency: 7 cycles from an accepted request at the earliest. Throughput: a row a cycle for each
    client without conflict.

    Cost: ``8 * ceil(vector_rows / 8192) * vector_lanes`` block RAMs of 18 Kb (18-bit words). See
    ``docs/reports/area.md`` (vector memory).

    Parameters
    ----------
    config : assembler.contract.config.Config
    readers, writers : tuple of str
        Clients by falling priority.

    Members
    -------
    one per reader : :py:`In(VectorRead(config))`
    one per writer : :py:`In(VectorWrite(config))`

    Source: ``docs/decisions/vector-memory.md``.
    """
    def __init__(self, *, config, readers=("a", "b", "c", "store"),
                 writers=("result", "drain", "load")):
        self.config  = config
        self.readers = tuple(readers)
        self.writers = tuple(writers)
        super().__init__({
            **{name: In(VectorRead(config)) for name in self.readers},
            **{name: In(VectorWrite(config)) for name in self.writers},
        })

    def elaborate(self, platform):
        config = self.config
        m = Module()

        depth = min(SLICE_ROWS, config.vector_rows // BANKS)
        slices = config.vector_rows // BANKS // depth
        place_layout = data.StructLayout({
            "bank":   ceil_log2(BANKS),
            "offset": ceil_log2(depth),
            "slice":  ceil_log2(slices),
        })
        row_shape = row_layout(config)

        requests  = [Buffer(shape=place_layout) for _ in self.readers]
        responses = [Queue(shape=row_shape, depth=RESPONSES) for _ in self.readers]
        rows      = [Signal(row_shape, name=f"row_{bank}", reset_less=True)
                     for bank in range(BANKS)]
        wants     = []      # for each reader: it requests its bank
        for name, request, response in zip(self.readers, requests, responses):
            client = getattr(self, name)
            m.submodules[f"{name}_request"]  = request
            m.submodules[f"{name}_response"] = response
            m.d.comb += [
                request.i.valid.eq(client.request.valid),
                request.i.payload.eq(client.request.payload),
                client.request.ready.eq(request.i.ready),
                client.response.valid.eq(response.o.valid),
                client.response.payload.eq(response.o.payload),
                response.o.ready.eq(client.response.ready),
            ]

            # Credits, one cycle late, so that no client's `ready` is in front of the adder.
            places = Signal(range(RESPONSES + 1), init=RESPONSES, name=f"{name}_places")
            took   = Signal(name=f"{name}_took")
            gave   = Signal(name=f"{name}_gave")
            room   = Signal(name=f"{name}_room")
            issued = request.o.valid & request.o.ready
            m.d.sync += [
                took.eq(client.response.valid & client.response.ready),
                gave.eq(issued),
                places.eq(places + took - gave),
                # One more request may have been issued in this cycle.
                room.eq((places > 2) | ((places == 2) & ~gave)),
            ]

            # Four registers to `rows`: address, RAM, slice, bank. The bank number is delayed too.
            flight_layout = data.StructLayout({"valid": 1, "bank": ceil_log2(BANKS)})
            flight = Signal(flight_layout, name=f"{name}_flight_0")
            m.d.comb += [flight.valid.eq(issued), flight.bank.eq(request.o.payload.bank)]
            for stage in range(4):
                following = Signal(flight_layout, name=f"{name}_flight_{stage + 1}")
                m.d.sync += following.eq(flight)
                flight = following
            m.d.comb += [
                response.i.valid.eq(flight.valid),
                response.i.payload.eq(Array(rows)[flight.bank]),
            ]
            wants.append(request.o.valid & room)

        writes = [getattr(self, name).request for name in self.writers]
        stores = [Signal(place_layout, name=f"{name}_place") for name in self.writers]
        for write, place in zip(writes, stores):
            m.d.comb += place.eq(write.payload.row)

        def first(n, wanting, banks):
            """Whether no client of higher priority than ``n`` addresses its bank."""
            return ~Cat(wanting[k] & (banks[k] == banks[n]) for k in range(n)).any()

        read_banks = [request.o.payload.bank for request in requests]
        for n, request in enumerate(requests):
            m.d.comb += request.o.ready.eq(wants[n] & first(n, wants, read_banks))
        offers, write_banks = [write.valid for write in writes], [place.bank for place in stores]
        for n, write in enumerate(writes):
            m.d.comb += write.ready.eq(first(n, offers, write_banks))

        for bank in range(BANKS):
            read_place = Signal(place_layout, name=f"read_place_{bank}", reset_less=True)
            for n, request in reversed([*enumerate(requests)]):     # the last assignment wins
                with m.If(wants[n] & (read_banks[n] == bank)):
                    m.d.sync += read_place.eq(request.o.payload)

            write_offset = Signal(ceil_log2(depth), name=f"write_offset_{bank}", reset_less=True)
            write_row    = Signal(row_shape, name=f"write_row_{bank}", reset_less=True)
            enables      = [Signal(config.vector_lanes, name=f"write_enable_{bank}_{n}")
                            for n in range(slices)]
            m.d.sync += [enable.eq(0) for enable in enables]
            for write, place in reversed([*zip(writes, stores)]):
                with m.If(write.valid & (place.bank == bank)):
                    m.d.sync += [
                        write_offset.eq(place.offset),
                        write_row.eq(write.payload.data),
                        *(enable.eq(Mux(place.slice == n, write.payload.enable, 0))
                          for n, enable in enumerate(enables)),
                    ]

            slice_rows = []
            for n in range(slices):
                m.submodules[f"bank_{bank}_{n}"] = ram = BlockRam(shape=row_shape, depth=depth,
                                                                  masked=True)
                slice_row = Signal(row_shape, name=f"slice_row_{bank}_{n}", reset_less=True)
                m.d.comb += [
                    ram.read_address.eq(read_place.offset),
                    ram.read_enable.eq(1),
                    ram.write_address.eq(write_offset),
                    ram.write_data.eq(write_row),
                    ram.write_enable.eq(enables[n]),
                ]
                # Data of a block RAM are late in the cycle: no logic in front of this register.
                m.d.sync += slice_row.eq(ram.read_data)
                slice_rows.append(slice_row)
            place = read_place.slice
            for stage in range(2):
                following = Signal(ceil_log2(slices), name=f"slice_{bank}_{stage}")
                m.d.sync += following.eq(place)
                place = following
            m.d.sync += rows[bank].eq(Array(slice_rows)[place])
        return m
