"""Asks the vector memory for the rows of an instruction's operands."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from assembler import isa
from hw.signatures import VectorRead, position_shape
from hw.vector_plan import from_memory, plan_layout
from hw.walk import Walk, row_address, uniform_row_address


__all__ = ["VectorFetch"]


class VectorFetch(wiring.Component):
    """One request per row for each operand that lies in the vector memory, all in step.

    One row a cycle while the memory accepts that. Rows of the same number mostly lie in the same
    bank, so ``b`` and ``c`` ask for theirs one and two cycles after ``a`` and follow it through
    the banks. In a scan of a prompt step, ``b`` is the result at the position before: a position
    waits until ``written`` says that the one before it can be read.

    Parameters
    ----------
    config : assembler.config.Config

    Members
    -------
    start : :py:`In(1)`
        Strobe: ``plan`` is new.
    plan : :py:`In(plan_layout(config))`
    slot : :py:`In(position_shape(config))`
        Where the state of a prompt step is.
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

        # In a chain, b of the first position is the state, of all others the result before.
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

        ahead = Signal()    # a position was asked for whose results are not written
        with m.If(self.start | self.written):
            m.d.sync += ahead.eq(0)

        ports = (
            (self.a, plan.a, plan.a.number, walk.position, from_memory(plan.a)),
            (self.b, plan.b, b_number, b_position, b_wanted),
            (self.c, plan.c, plan.c.number, walk.position, from_memory(plan.c)),
        )
        free = Cat(~port.valid | port.ready for port, *_ in ports).all()
        m.d.comb += walk.next.eq(walk.busy & free & ~(plan.chain & ahead))
        for late, (port, operand, number, position, wanted) in enumerate(ports):
            valid   = walk.next & wanted
            address = Mux(operand.space == isa.Space.U,
                          uniform_row_address(config, number, walk.row),
                          row_address(config, config.registers, number, position, walk.row))
            with m.If(port.ready):
                m.d.sync += port.valid.eq(0)
            with m.If(free):
                for n in range(late):
                    waits = Signal(name=f"waits_{late}_{n}")
                    held  = Signal.like(port.payload, name=f"held_{late}_{n}", reset_less=True)
                    m.d.sync += [waits.eq(valid), held.eq(address)]
                    valid, address = waits, held
                m.d.sync += [port.valid.eq(valid), port.payload.eq(address)]
        with m.If(walk.next & walk.last):
            m.d.sync += ahead.eq(1)
        return m
