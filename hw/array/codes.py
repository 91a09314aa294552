"""Code memory, and the loader that brings its column blocks to the array."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import BlockRam
from tern_fpga.hw.common.signatures import (
    codes_layout,
    instruction_layout,
    row_address_layout,
    step_layout,
)


__all__ = ["ColumnLoader", "block_layout", "columns_layout", "computing",
           "encode", "lowest"]


def block_layout(config):
    """A column block of a tile: ``rows`` beats follow; it is the tile's ``first`` or ``last``
    block.
    """
    return data.StructLayout({
        "rows":  range(config.accumulator_rows + 1),
        "first": 1,
        "last":  1,
    })


def columns_layout(config):
    """The codes of a column block, (positions, lanes) int8."""
    return data.ArrayLayout(data.ArrayLayout(signed(formats.CODE.width), config.lanes),
                            config.positions)


def encode(one_hot):
    """Index of the only set bit; 0 if no bit is set."""
    return Cat(Cat(bit for n, bit in enumerate(one_hot) if n >> k & 1).any()
               for k in range(ceil_log2(len(one_hot))))


def lowest(mask):
    """The lowest set bit alone. Built of LUTs: the carry chain of ``mask & -mask`` is slower."""
    return Cat(mask[n] & ~mask[:n].any() for n in range(len(mask)))


def computing(instruction, step):
    """Mask of the positions that an array instruction computes: those that sample, if its
    destination is the sampler, else all active ones.
    """
    return Mux(instruction.dst.space == isa.Space.NONE, step.sample, step.live)


class ColumnLoader(wiring.Component):
    """Hold the code registers, and load their column blocks for the array.

    ``columns[p][c] = q[p][block * lanes + c]`` for each active position p, each block of each
    tile of each matmul, in the order of the weight stream. Codes of inactive positions keep
    their old values. Codes beyond the end of the vector are whatever the memory holds.

    Protocol: a block is offered on ``block`` 3 cycles before its codes are in ``columns``; the
    array copies them 5 cycles after it took the offer at the earliest. ``columns`` holds until
    ``taken``. The next block loads while the array works on this one.

    Throughput: blocks, tiles and instructions follow each other without a gap if a tile has at
    least :py:meth:`period` rows.

    Cost: ``8 * lanes * positions`` flip-flops for ``columns``, and the block RAM of the code
    registers. See ``docs/reports/area.md`` (column loader).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    codes : :py:`In(stream.Signature(codes_layout(config)))`
        Writes of the code memory; ``ready`` is always high.
    i : :py:`In(stream.Signature(instruction_layout("matmul")))`
        Each ``matmul``, when its codes can be read. ``rows`` and ``blocks`` are at least 1.
    step : :py:`In(step_layout(config))`
        Stable while an instruction executes.
    block : :py:`Out(stream.Signature(block_layout(config)))`
        Blocks in the order of the weight stream.
    columns : :py:`Out(columns_layout(config))`
        Codes of the block offered last.
    taken : :py:`In(1)`
        Strobe: the array starts to copy ``columns``, and ends within 4 cycles. Once per block,
        after its offer was taken.
    codes_done : :py:`Out(1)`
        Strobe per instruction: its codes were read for the last time.
    active : :py:`Out(1)`
        Level: an instruction executes.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "codes":      In(stream.Signature(codes_layout(config))),
            "i":          In(stream.Signature(instruction_layout("matmul"))),
            "step":       In(step_layout(config)),
            "block":      Out(stream.Signature(block_layout(config))),
            "columns":    Out(columns_layout(config)),
            "taken":      In(1),
            "codes_done": Out(1),
            "active":     Out(1),
        })

    @staticmethod
    def period(config, positions):
        """Least number of cycles from the first beat of a block to that of the next one, when
        ``positions`` are active; one less within an instruction.
        """
        return max(1, positions) * config.lanes // config.vector_lanes + 9

    def elaborate(self, platform):
        config = self.config
        m = Module()

        row_shape = data.ArrayLayout(signed(formats.CODE.width), config.vector_lanes)
        m.submodules.memory = codes = BlockRam(shape=row_shape, depth=config.code_rows, masked=True)
        m.d.comb += [
            self.codes.ready.eq(1),
            codes.write_address.eq(self.codes.payload.row),
            codes.write_data.eq(self.codes.payload.codes),
            codes.write_enable.eq(Mux(self.codes.valid, self.codes.payload.enable, 0)),
        ]

        # A row of a vector without its position. `row` is below `register`, so that counting
        # carries from the last row of a register into the next register.
        cursor_shape = data.StructLayout({
            "row":      ceil_log2(config.register_rows),
            "register": isa.Operand.NUMBER_BITS,
        })
        cursor  = Signal(cursor_shape)
        start   = Signal(cursor_shape)              # of the block, the same in every position
        origin  = Signal(cursor_shape)              # of the vector
        group   = config.lanes // config.vector_lanes
        count   = Signal(range(group))
        mask    = Signal(config.positions)
        pending = Signal(config.positions)          # positions still to be loaded
        issue   = Signal()
        blocks  = Signal(isa.BLOCKS.width)
        left    = Signal(isa.BLOCKS.width)          # blocks of the tile, this one included
        rows    = Signal(isa.ROWS.width)            # of this tile and those after it

        now = lowest(pending)
        address = Signal(row_address_layout(config, config.code_registers))
        m.d.sync += [
            address.row.eq(cursor.row),
            address.register.eq(cursor.register),
            address.position.eq(encode(now)),
        ]
        m.d.comb += [codes.read_address.eq(address), codes.read_enable.eq(1)]

        # Four cycles from `issue` to the shift: address, memory, a register near the block RAMs and
        # one near the columns.
        data_row = delay(m, codes.read_data.as_value(), 2)
        shift = Mux(issue, now, 0)
        for n in range(4):
            shift, previous = Signal(config.positions, name=f"shift_{n}"), shift
            m.d.sync += shift.eq(previous)
        columns = Signal(columns_layout(config), reset_less=True)
        m.d.comb += self.columns.eq(columns)
        # The rows of a block shift in from the top: no multiplexer in front of any column.
        for p in range(config.positions):
            with m.If(shift[p]):
                m.d.sync += columns[p].eq(Cat(columns[p], data_row).shift_right(row_shape.size))

        last_tile = Signal()
        last_block = Signal()
        m.d.comb += [
            last_tile.eq(rows <= config.accumulator_rows),
            last_block.eq(left == 1),
            self.block.payload.rows.eq(Mux(last_tile, rows, config.accumulator_rows)),
            self.block.payload.first.eq(left == blocks),
            self.block.payload.last.eq(last_block),
        ]

        m.d.comb += self.active.eq(~self.i.ready)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                instruction = self.i.payload
                m.d.sync += [
                    origin.register.eq(instruction.q),
                    start.register.eq(instruction.q),
                    start.row.eq(0),
                    blocks.eq(instruction.blocks),
                    left.eq(instruction.blocks),
                    rows.eq(instruction.rows),
                    mask.eq(computing(instruction, self.step)),
                ]
                with m.If(self.i.valid):
                    m.next = "start"

            with m.State("start"):
                m.d.sync += [pending.eq(mask), cursor.eq(start), count.eq(0)]
                m.next = "load"

            with m.State("load"):
                m.d.comb += issue.eq(1)
                m.d.sync += [cursor.eq(cursor.as_value() + 1), count.eq(count + 1)]
                with m.If(count == group - 1):
                    m.d.sync += [pending.eq(pending & ~now), cursor.eq(start), count.eq(0)]
                    with m.If((pending & ~now) == 0):
                        m.d.sync += start.eq(cursor.as_value() + 1)
                        m.next = "settle"

            with m.State("settle"):     # the last row is read in this cycle
                m.d.comb += self.codes_done.eq(last_tile & last_block)
                m.next = "offer"

            # The codes are still 3 cycles away, less than the array takes until it copies them.
            with m.State("offer"):
                m.d.comb += self.block.valid.eq(1)
                with m.If(self.block.ready):
                    m.next = "wait"

            with m.State("wait"):
                # Blocks within a tile, tiles within a matrix: the order of the weights in memory.
                with m.If(self.taken):
                    m.next = "start"
                    m.d.sync += left.eq(left - 1)
                    with m.If(last_block):
                        m.d.sync += [
                            left.eq(blocks),
                            start.eq(origin),
                            rows.eq(rows - config.accumulator_rows),
                        ]
                        with m.If(last_tile):
                            m.next = "idle"
        return m
