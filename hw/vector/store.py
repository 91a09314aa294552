"""Writes the results of an instruction: vectors, scalars, codes and statistics."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.exact_sum import Absmax, ExactSum
from tern_fpga.hw.common.signatures import VectorWrite, codes_layout, position_shape, row_layout
from tern_fpga.hw.vector.plan import plan_layout
from tern_fpga.hw.vector.scalars import Scalars
from tern_fpga.hw.vector.walk import Walk, row_address


__all__ = ["VectorStore"]


class VectorStore(wiring.Component):
    """Write one row of results a cycle, then a position's scalar or statistic.

    Throughput: a row a cycle while the vector memory accepts it. A position takes 2 cycles more;
    with a statistic it waits for that (see :class:`hw.common.exact_sum.ExactSum`).

    Cost: part of the vector unit in ``docs/reports/area.md``; mostly the exact sum.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    start : :py:`In(1)`
        Strobe: ``plan`` is new.
    plan : :py:`In(plan_layout(config))`
        Stable while the instruction executes.
    slot : :py:`In(position_shape(config))`
        Slot whose state a prefill step uses.
    i : :py:`In(stream.Signature(row_layout(config)))`
        Rows of results, in the order of the plan.
    result : :py:`Out(VectorWrite(config))`
        Rows of a vector result.
    codes : :py:`Out(stream.Signature(codes_layout(config)))`
        Rows of codes.
    scalar : :py:`Out(stream.Signature(Scalars.write_layout(config)))`
        A scalar result, or a statistic.
    written : :py:`Out(1)`
        Strobe: all results of a position can be read.
    busy : :py:`Out(1)`
        Level: a position of the plan is not written yet; from the cycle after ``start``.
    saturated : :py:`Out(1)`
        Strobe: a statistic was larger than the format holds.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "start": In(1), "plan": In(plan_layout(config)), "slot": In(position_shape(config)),
            "i": In(stream.Signature(row_layout(config))),
            "result": Out(VectorWrite(config)),
            "codes":  Out(stream.Signature(codes_layout(config))),
            "scalar": Out(stream.Signature(Scalars.write_layout(config))),
            "written": Out(1), "busy": Out(1), "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan, result = self.config, self.plan, self.result.request
        fmt, lanes = config.float, config.vector_lanes
        m.submodules.walk   = walk   = Walk(config=config)
        m.submodules.absmax = absmax = Absmax(fmt=fmt, lanes=lanes)
        m.submodules.sumsq  = sumsq  = ExactSum(fmt=fmt, lanes=lanes)
        statistics = {isa.Stat.ABSMAX: absmax, isa.Stat.SUMSQ: sumsq}
        m.d.comb += [
            walk.start.eq(self.start),
            walk.mask.eq(plan.positions),
            walk.last_row.eq(plan.last_row),
            self.saturated.eq(sumsq.saturated),
        ]

        enable   = Signal(lanes)
        position = Signal.like(walk.position)
        room     = Signal()     # the statistic takes rows; it stays so until a position's last row
        take     = self.i.valid & self.i.ready
        m.d.comb += [
            enable.eq(Mux(walk.last, plan.tail, ~0)),
            position.eq(Mux(plan.to_slot, self.slot, walk.position)),
            room.eq(1),
            walk.next.eq(take),
        ]
        for kind, statistic in statistics.items():
            with m.If(plan.stat == kind):
                m.d.comb += [room.eq(statistic.i.ready), statistic.i.valid.eq(take)]
            m.d.comb += [
                statistic.i.p.words.eq(self.i.p),
                statistic.i.p.enable.eq(enable),
                statistic.i.p.last.eq(walk.last),
            ]

        # A row is offered to both memories' ports; `valid` of one of them at most is set.
        m.d.sync += self.codes.valid.eq(take & plan.operation.code)
        with m.If(take):
            m.d.sync += [
                self.codes.p.row.eq(row_address(
                    config, config.code_registers, plan.q, position, walk.row)),
                self.codes.p.enable.eq(enable),
                *(code.eq(word) for code, word in zip(self.codes.p.codes, self.i.p)),
                result.p.row.eq(row_address(
                    config, config.registers, plan.dst.number, position, walk.row)),
                result.p.enable.eq(enable),
                result.p.data.eq(self.i.p),
            ]

        at = Signal.like(position)      # position of the row taken last
        with m.If(take):
            m.d.sync += at.eq(position)
        with m.If(result.ready):
            m.d.sync += result.valid.eq(0)
        with m.If(take & (plan.dst.space == isa.Space.V)):
            m.d.sync += result.valid.eq(1)

        # `codes` needs no such check: the code memory takes a row in every cycle.
        free = ~result.valid | result.ready
        m.d.comb += self.scalar.p.address.position.eq(at)
        with m.FSM():
            # The next position waits until the statistic of the one before has been taken.
            with m.State("position"):
                m.d.comb += self.busy.eq(walk.busy)
                with m.If(walk.busy & room):
                    m.next = "rows"
            with m.State("rows"):
                m.d.comb += [self.i.ready.eq(free), self.busy.eq(1)]
                with m.If(take & walk.last):
                    m.next = "result"
            # A scalar result is element 0 of the row taken last, which is in the register `result`.
            with m.State("result"):
                m.d.comb += [
                    self.busy.eq(1),
                    self.scalar.valid.eq(plan.dst.space == isa.Space.S),
                    self.scalar.p.address.number.eq(plan.dst.number),
                    self.scalar.p.data.eq(result.p.data[0]),
                ]
                with m.If(Cat(plan.stat == kind for kind in statistics).any()):
                    m.next = "statistic"
                # Written only when the vector memory has taken the last row.
                with m.Elif(free):
                    m.d.comb += self.written.eq(1)
                    m.next = "position"
            with m.State("statistic"):
                m.d.comb += [self.busy.eq(1), self.scalar.p.address.number.eq(plan.stat_to)]
                for kind, statistic in statistics.items():
                    with m.If((plan.stat == kind) & statistic.o.valid & free):
                        m.d.comb += [
                            statistic.o.ready.eq(1),
                            self.scalar.p.data.eq(statistic.o.payload),
                            self.scalar.valid.eq(1),
                            self.written.eq(1),
                        ]
                        m.next = "position"
        return m
