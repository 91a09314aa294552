"""Requests the rows of an instruction's operands from the vector memory."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.signatures import VectorRead, position_shape
from tern_fpga.hw.vector.plan import from_memory, plan_layout
from tern_fpga.hw.vector.walk import Walk, row_address, uniform_row_address


__all__ = ["VectorFetch"]


class VectorFetch(wiring.Component):
    """One request per row for each operand in the vector memory; all operands in lockstep.

    Rows of equal number usually are in the same bank, so the requests of ``b`` and ``c`` are one
    and two cycles behind those of ``a`` and follow them through the banks. In a ``scan`` of a
    prefill step, ``b`` is the result of the position before: a position waits until ``written``
    says that this result can be read.

    Throughput: a row a cycle while the memory accepts it.

    Cost: part of the vector unit in ``docs/reports/area.md``.

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
    written : :py:`In(1)`
        Strobe: all results of a position can be read.
    a, b, c : :py:`Out(VectorRead(config).members["request"].signature)`
        Requests.
    """
    def __init__(self, *, config):
        self.config = config
        request = VectorRead(config).members["request"].signature
        super().__init__({
            "start": In(1), "plan": In(plan_layout(config)), "slot": In(position_shape(config)),
            "written": In(1), "a": Out(request), "b": Out(request), "c": Out(request),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        m.submodules.walk = walk = Walk(config=config)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.mask.eq(plan.positions),
            walk.last_row.eq(plan.last_row),
        ]

        # In a scan of a prefill step, `b` of the first position is the state of the slot, and of
        # every other one the result of the position before.
        b_number, b_position = Signal.like(plan.b.number), Signal.like(walk.position)
        b_wanted = Signal()
        m.d.comb += [
            b_number.eq(plan.b.number),
            b_position.eq(walk.position),
            b_wanted.eq(from_memory(plan.b)),
        ]
        with m.If(plan.chain & walk.first):
            m.d.comb += [b_position.eq(self.slot), b_wanted.eq(~plan.fresh)]
        with m.Elif(plan.chain):
            m.d.comb += [b_position.eq(walk.position - 1), b_number.eq(plan.dst.number)]

        ahead = Signal()    # a position was requested whose results are not written yet
        # One position at a time in such a scan: each needs the result of the one before.
        with m.If(self.start | self.written):
            m.d.sync += ahead.eq(0)

        ports = (
            (self.a, plan.a, plan.a.number, walk.position, from_memory(plan.a)),
            (self.b, plan.b, b_number, b_position, b_wanted),
            (self.c, plan.c, plan.c.number, walk.position, from_memory(plan.c)),
        )
        free = Cat(~port.valid | port.ready for port, *_ in ports).all()
        m.d.comb += walk.next.eq(walk.busy & free & ~(plan.chain & ahead))
        # The three operands advance together, so that one walk serves them all.
        for late, (port, operand, number, position, wanted) in enumerate(ports):
            valid   = walk.next & wanted
            address = Mux(operand.space == isa.Space.U,
                          uniform_row_address(config, number, walk.row),
                          row_address(config, config.registers, number, position, walk.row))
            with m.If(port.ready):
                m.d.sync += port.valid.eq(0)
            with m.If(free):
                # One and two more registers for b and c: they follow `a` through the banks.
                for n in range(late):
                    waits = Signal(name=f"waits_{late}_{n}")
                    held  = Signal.like(port.payload, name=f"held_{late}_{n}", reset_less=True)
                    m.d.sync += [waits.eq(valid), held.eq(address)]
                    valid, address = waits, held
                m.d.sync += [port.valid.eq(valid), port.payload.eq(address)]
        with m.If(walk.next & walk.last):
            m.d.sync += ahead.eq(1)
        return m
