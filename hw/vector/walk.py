"""The loop of a vector instruction: positions, and the rows of each."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tern_fpga.assembler.contract import formats
from tern_fpga.hw.array.codes import encode, lowest
from tern_fpga.hw.common.signatures import position_shape, row_address_layout


__all__ = ["Walk", "row_shape", "row_address", "uniform_row_address"]


def row_shape(config):
    """Shape of the number of a row within a vector."""
    return unsigned(ceil_log2(formats.MAX_LENGTH) - exact_log2(config.vector_lanes))


def row_address(config, registers, number, position, row):
    """Address of row ``row`` of the vector at register ``number``, for one position.

    In a memory of ``registers`` registers of all positions.
    """
    layout = row_address_layout(config, registers)
    # All sizes are powers of two: the parts of the address are fields, and only registers add.
    low    = layout["row"].width
    split  = data.View(data.StructLayout({"row": low, "register": len(row) - low}), row)
    register = (number + split.register)[:layout["register"].width]
    return Cat(split.row, position[:layout["position"].width], register)


def uniform_row_address(config, number, row):
    """Address of row ``row`` of the uniform vector at register ``number``."""
    low   = exact_log2(config.positions * config.register_rows)
    split = data.View(data.StructLayout({"row": low, "register": max(0, len(row) - low)}),
                      (row | C(0, low))[:max(low, len(row))])
    return Cat(split.row, (number + split.register)[:exact_log2(config.registers)])


class Walk(wiring.Component):
    """Step through rows 0 to ``last_row`` of each position in a mask, positions ascending.

    ``position``, ``row``, ``first`` and ``last`` describe the current step while ``busy``.

    Throughput: a step a cycle.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    start : :py:`In(1)`
        Strobe: take ``mask`` and begin; only while not ``busy``.
    mask : :py:`In(positions)`
        Positions to walk through. For an empty mask ``busy`` stays 0.
    last_row : :py:`In(row_shape(config))`
        Stable while ``busy``.
    next : :py:`In(1)`
        Strobe: go on to the next step; only while ``busy``.
    busy : :py:`Out(1)`
    position : :py:`Out(position_shape(config))`
    row : :py:`Out(row_shape(config))`
    first : :py:`Out(1)`
        The position is the first of the mask.
    last : :py:`Out(1)`
        The row is the last of its position.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "start": In(1), "mask": In(config.positions), "last_row": In(row_shape(config)),
            "next": In(1), "busy": Out(1),
            "position": Out(position_shape(config)), "row": Out(row_shape(config)),
            "first": Out(1), "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        # Every output is a register, `first` and `last` included: other blocks decide by them.
        left  = Signal(self.config.positions)       # positions after this one
        after = Signal.like(self.last_row)          # rows after this one
        upcoming = Mux(self.start, self.mask, left)
        with m.If(self.start | (self.next & self.last)):
            m.d.sync += [
                self.busy.eq(upcoming.any()),
                self.position.eq(encode(lowest(upcoming))),
                left.eq(upcoming & ~lowest(upcoming)),
                self.first.eq(self.start),
                self.row.eq(0),
                after.eq(self.last_row),
                self.last.eq(self.last_row == 0),
            ]
        with m.Elif(self.next):
            m.d.sync += [
                self.row.eq(self.row + 1),
                after.eq(after - 1),
                self.last.eq(after == 1),
            ]
        return m
