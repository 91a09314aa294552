"""Commands of the memory port, cut at the ends of SDRAM rows."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.hw.common.signatures import BURST_WORDS, command_layout


__all__ = ["Segments", "segment_layout"]


def segment_layout(part):
    """A segment: ``words`` (1 to BURST_WORDS) words of one row, from ``column`` on."""
    return data.StructLayout({
        "column": part.column_bits,
        "bank":   2,
        "row":    part.row_bits,
        "write":  1,
        "words":  ceil_log2(BURST_WORDS + 1),
    })


class Segments(wiring.Component):
    """Turns a command into one segment, or into two where it crosses the end of a row.

    The bank is just above the column in the address, so that consecutive rows of memory are in
    different banks: one streams while the next is opened.

    Latency: 2 cycles. Throughput: a command in 3 cycles, one more if it is cut.

    Cost: part of the SDRAM controller in ``docs/reports/area.md`` (SDRAM).

    Parameters
    ----------
    config : assembler.contract.config.Config
    part : assembler.contract.sdram_parts.Part

    Members
    -------
    i : :py:`In(stream.Signature(command_layout(config)))`
    o : :py:`Out(stream.Signature(segment_layout(part)))`
    """
    def __init__(self, *, config, part):
        self.config = config
        self.part   = part
        super().__init__({
            "i": In(stream.Signature(command_layout(config))),
            "o": Out(stream.Signature(segment_layout(part))),
        })

    def elaborate(self, platform):
        m = Module()
        # The parts of an address. The column is a place within a block of BURST_WORDS words and
        # the block's number: only from the last block can a burst reach into the next row.
        place_bits = ceil_log2(BURST_WORDS)
        address = data.StructLayout({
            "place": place_bits,
            "block": self.part.column_bits - place_bits,
            "bank":  2,
            "row":   self.part.row_bits,
        })
        end = data.StructLayout({"place": place_bits, "over": 1})

        segment = Signal.like(self.o.payload)
        m.d.comb += self.o.payload.eq(segment)
        given = data.View(address, Signal(address.size, name="given"))
        m.d.comb += given.as_value().eq(self.i.payload.address)

        room  = Signal(range(BURST_WORDS + 1))      # words up to the end of the block
        after = Signal(end)                         # where the command ends
        tail  = Signal()                            # in the last block of the row
        rest  = Signal(place_bits)                  # words of the second segment, or 0

        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    segment.column.eq(Cat(given.place, given.block)),
                    segment.bank.eq(given.bank),
                    segment.row.eq(given.row),
                    segment.write.eq(self.i.payload.write),
                    segment.words.eq(self.i.payload.words),
                    room.eq(BURST_WORDS - given.place),
                    after.eq(given.place + self.i.payload.words),
                    tail.eq(given.block.all()),
                ]
                with m.If(self.i.valid):
                    m.next = "CUT"
            # A state of its own, so that adding and comparing are in different cycles.
            with m.State("CUT"):
                m.d.sync += rest.eq(0)
                with m.If(tail & after.over):
                    m.d.sync += [segment.words.eq(room), rest.eq(after.place)]
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    # The second segment starts in the next bank, after the last bank in row + 1.
                    m.d.sync += [
                        Cat(segment.bank, segment.row).eq(Cat(segment.bank, segment.row) + 1),
                        segment.column.eq(0),
                        segment.words.eq(rest),
                        rest.eq(0),
                    ]
                    with m.If(rest == 0):
                        m.next = "TAKE"
        return m
