"""Collects the operands of an instruction and sends them into the lanes."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.ram import Buffer
from tern_fpga.hw.common.signatures import connect, row_layout, scale_address_layout
from tern_fpga.hw.vector.plan import from_memory, plan_layout
from tern_fpga.hw.vector.walk import Walk


__all__ = ["VectorIssue"]


class VectorIssue(wiring.Component):
    """Offer one row of ``a``, ``b`` and ``c`` after the other, once every memory operand has
    arrived.

    Throughput: a row a cycle. A position with a scalar operand starts with 5 cycles that read its
    scalars.

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
    response_a, response_b, response_c : :py:`In(stream.Signature(row_layout(config)))`
        Rows from the vector memory, in the order of the plan.
    scalar_address : :py:`Out(scale_address_layout(config))`
    scalar : :py:`In(config.float.width)`
        The scalar at that address, two cycles later.
    valid, ready : :py:`Out(1)`, :py:`In(1)`
        A row is offered, and taken if both are set.
    a, b, c : :py:`Out(row_layout(config))`
        Operands of the row.
    enable : :py:`Out(vector_lanes)`
        Mask of the row's elements that exist.
    """
    def __init__(self, *, config):
        self.config = config
        rows = In(stream.Signature(row_layout(config)))
        super().__init__({
            "start": In(1), "plan": In(plan_layout(config)),
            "response_a": rows, "response_b": rows, "response_c": rows,
            "scalar_address": Out(scale_address_layout(config)),
            "scalar": In(config.float.width),
            "valid": Out(1), "ready": In(1),
            **{name: Out(row_layout(config)) for name in "abc"},
            "enable": Out(config.vector_lanes),
        })

    def elaborate(self, platform):
        m = Module()
        config, plan = self.config, self.plan
        m.submodules.walk = walk = Walk(config=config)
        m.d.comb += [
            walk.start.eq(self.start),
            walk.mask.eq(plan.positions),
            walk.last_row.eq(plan.last_row),
            walk.next.eq(self.valid & self.ready),
            self.enable.eq(Mux(walk.last, plan.tail, ~0)),
        ]

        # An operand that is not in memory is the same for all elements: a scalar or a constant.
        one      = int(config.float.encode(1.0))
        constant = {"a": plan.value, "b": Mux(plan.unit, one, 0), "c": 0}
        is_scalar, came, load = {}, {}, {}
        for name in "abc":
            operand = plan[name]
            m.submodules[f"row_{name}"] = row = Buffer(shape=row_layout(config))
            connect(m, wiring.flipped(getattr(self, f"response_{name}")), row.i)
            response = row.o
            wanted = Signal(name=f"wanted_{name}")      # from memory, at this position
            coming = Signal(name=f"coming_{name}")      # ... in the next cycle
            m.d.comb += coming.eq(from_memory(operand))
            if name == "b":
                # The state before a fresh prompt is 0 and is not read.
                with m.If(plan.fresh & walk.first):
                    m.d.comb += coming.eq(0)
            m.d.sync += wanted.eq(coming)
            is_scalar[name] = operand.space == isa.Space.S
            # The operand is not wanted or has arrived. A register, because everything that a row
            # triggers depends on it.
            came[name] = Signal(init=1, name=f"came_{name}")
            m.d.sync += came[name].eq(~coming | row.i.valid | ~row.i.ready
                                      | (response.valid & ~response.ready))
            load[name]      = Signal(name=f"load_{name}")
            repeated = Signal(config.float.width, name=f"repeated_{name}")
            with m.If(self.start):
                m.d.sync += repeated.eq(constant[name])
            with m.Elif(load[name] & is_scalar[name]):
                m.d.sync += repeated.eq(self.scalar)
            m.d.comb += response.ready.eq(walk.next & wanted)
            for out, word in zip(getattr(self, name), response.payload):
                m.d.comb += out.eq(Mux(wanted, word, repeated))

        # One read port for three operands: read in turn, each arrives two states later.
        m.d.comb += self.scalar_address.position.eq(walk.position)
        with m.FSM():
            with m.State("position"):
                with m.If(walk.busy):
                    m.next = "rows"
                    with m.If(Cat(is_scalar.values()).any()):
                        m.next = "read_a"
            with m.State("read_a"):
                m.d.comb += self.scalar_address.number.eq(plan.a.number)
                m.next = "read_b"
            with m.State("read_b"):
                m.d.comb += self.scalar_address.number.eq(plan.b.number)
                m.next = "read_c"
            with m.State("read_c"):
                m.d.comb += [self.scalar_address.number.eq(plan.c.number), load["a"].eq(1)]
                m.next = "load_b"
            with m.State("load_b"):
                m.d.comb += load["b"].eq(1)
                m.next = "load_c"
            with m.State("load_c"):
                m.d.comb += load["c"].eq(1)
                m.next = "rows"
            with m.State("rows"):
                m.d.comb += self.valid.eq(Cat(came.values()).all())
                with m.If(walk.next & walk.last):
                    m.next = "position"
        return m
