"""Memory of the vector registers: four banks, several readers and writers."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In
from amaranth.utils import ceil_log2

from hw.ram import BlockRam, Buffer, Queue
from hw.signatures import VectorRead, VectorWrite, row_layout


__all__ = ["VectorMemory", "BANKS"]


BANKS = 4
RESPONSES = 16             # rows that a reader may have asked for and not taken
SLICE_ROWS = 2048          # an ECP5 block RAM is 2048 x 9: as 1024 x 18, with fewer wires out


class VectorMemory(wiring.Component):
    """``vector_rows`` rows of ``vector_lanes`` float words, for several clients at a time.

    Row ``r`` lies in bank ``r % 4``. A bank takes one read and one write a cycle; of the clients
    that want the same bank the first in ``readers`` or ``writers`` goes first. Clients that go
    through rows in sequence collide once, and then follow each other through the banks without
    another conflict, so that four readers and four writers take a row each in every cycle.

    A write is done when accepted; its ``ready`` depends on the offers of the writers before it. A
    read request waits in a buffer, and has a place for its row in a queue before it enters a
    bank, so that a reader that takes no rows holds up nobody else. Rows come in the order of the
    requests, 7 cycles after the request was accepted at the earliest. A read that is accepted
    in a cycle after that of a write returns what was written. What a read returns when the row is
    written between the request and the response is undefined; the scoreboard lets no instruction
    come to it.

    Cost: ``8 * ceil(vector_rows / 8192) * vector_lanes`` block RAMs of 18 Kb (18-bit words), 64 of
    them for ulx3s-85f, and there about 3,000 LUT4 and 2,000 flip-flops (Yosys 0.70).

    Parameters
    ----------
    config : Config
    readers, writers : tuple of str
        Clients, the most urgent first.

    Members
    -------
    one per reader : :py:`In(VectorRead(config))`
    one per writer : :py:`In(VectorWrite(config))`
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
        wants     = []      # reader: it would enter its bank
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

            # One cycle late, so that nobody's `ready` is in front of the adder.
            places = Signal(range(RESPONSES + 1), init=RESPONSES, name=f"{name}_places")
            took   = Signal(name=f"{name}_took")
            gave   = Signal(name=f"{name}_gave")
            room   = Signal(name=f"{name}_room")
            issued = request.o.valid & request.o.ready
            m.d.sync += [
                took.eq(client.response.valid & client.response.ready),
                gave.eq(issued),
                places.eq(places + took - gave),
                # A request may have entered in this cycle too.
                room.eq((places > 2) | ((places == 2) & ~gave)),
            ]

            # Address, RAM, slice and bank register: then the row is in `rows`.
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
            """Whether nobody before client ``n`` wants its bank."""
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
                # The data of a block RAM are late in the cycle: no logic before this register.
                m.d.sync += slice_row.eq(ram.read_data)
                slice_rows.append(slice_row)
            place = read_place.slice
            for stage in range(2):
                following = Signal(ceil_log2(slices), name=f"slice_{bank}_{stage}")
                m.d.sync += following.eq(place)
                place = following
            m.d.sync += rows[bank].eq(Array(slice_rows)[place])
        return m
