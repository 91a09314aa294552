"""The vector unit: executes the instructions whose unit is VECTOR, one after the other."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.common.divide import Divide
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import Queue
from tern_fpga.hw.common.signatures import (
    VectorRead,
    VectorWrite,
    codes_layout,
    connect,
    row_layout,
    scale_address_layout,
    step_layout,
)
from tern_fpga.hw.vector.fetch import VectorFetch
from tern_fpga.hw.vector.issue import VectorIssue
from tern_fpga.hw.vector.lane import Lane
from tern_fpga.hw.vector.plan import decode, plan_layout, vector_instruction_layout
from tern_fpga.hw.vector.scalars import Scalars
from tern_fpga.hw.vector.store import VectorStore


__all__ = ["VectorUnit"]


class VectorUnit(wiring.Component):
    """``dst[p] = (a[p] * b[p] + c[p]) * d[p]`` and related operations over n elements of each
    active position p.

    Protocol: instructions run one after the other; each is accepted when the one before is done.
    Results leave the lanes into a queue that has room for all rows in flight, so that lanes never
    stall.

    Throughput: a position takes ``rows(n)`` cycles while the vector memory answers a row of each
    operand every cycle. Added to that for 12/6: about 30 cycles for an instruction, 40 for
    ``sigmoid`` and ``silu``; 4 for a position with scalar operands, at most 40 for one with a sum
    of squares, 30 for one of ``div`` and ``sqrt``. In a ``scan`` of a prefill step each position
    waits until the one before is written, about 30 cycles too.

    Cost: see ``docs/reports/area.md`` (vector unit, vector lane).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(vector_instruction_layout))`
        Instructions of the vector unit, n at least 1.
    step : :py:`In(step_layout(config))`
        Stable from the offer of an instruction until it is done.
    done : :py:`Out(1)`
        Strobe per instruction, in order: everything that it writes can be read.
    saturated : :py:`Out(1)`
        Strobe: a result was larger than the float format holds.
    a, b, c : :py:`Out(VectorRead(config))`
        Reads of the operands.
    result : :py:`Out(VectorWrite(config))`
        Writes of the results.
    codes : :py:`Out(stream.Signature(codes_layout(config)))`
        Writes of codes.
    scale_address : :py:`In(scale_address_layout(config))`
    scale : :py:`Out(config.float.width)`
        The scalar at that address, two cycles later.
    activity : :py:`Out(VectorUnit.activity_layout)`
        State in this cycle: ``busy``: there is an instruction; ``row``: a row enters the lanes.

    Golden twins: :class:`sim.golden.vector.VectorUnit`, :class:`sim.golden.machine.Machine`.
    """
    activity_layout = data.StructLayout({"busy": 1, "row": 1})

    ROOM = 32       # rows that may be in lanes and queue: more than a lane's longest latency

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":    In(stream.Signature(vector_instruction_layout)),
            "step": In(step_layout(config)),
            "done": Out(1),
            "saturated": Out(1),
            "a": Out(VectorRead(config)),
            "b": Out(VectorRead(config)),
            "c": Out(VectorRead(config)),
            "result": Out(VectorWrite(config)),
            "codes":  Out(stream.Signature(codes_layout(config))),
            "scale_address": In(scale_address_layout(config)),
            "scale":         Out(config.float.width),
            "activity":      Out(self.activity_layout),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        fmt    = config.float
        m.submodules.fetch   = fetch   = VectorFetch(config=config)
        m.submodules.store   = store   = VectorStore(config=config)
        m.submodules.scalars = scalars = Scalars(config=config)
        m.submodules.divide  = divide  = Divide(fmt=fmt)
        m.submodules.issue   = issue   = VectorIssue(config=config)
        m.submodules.results = results = Queue(shape=row_layout(config), depth=self.ROOM)
        lanes = [Lane(fmt=fmt) for _ in range(config.vector_lanes)]
        for number, lane in enumerate(lanes):
            m.submodules[f"lane{number}"] = lane

        # One instruction at a time: take, decode, run. The plan is a register, so that decoding is
        # in no path of the blocks that follow it.
        instruction = Signal(vector_instruction_layout)
        decoded, plan = Signal(plan_layout(config)), Signal(plan_layout(config))
        start = Signal()
        decode(m, decoded, instruction, self.step, config)
        with m.FSM():
            with m.State("take"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += instruction.eq(self.i.p)
                with m.If(self.i.valid):
                    m.next = "decode"
            with m.State("decode"):
                m.d.sync += plan.eq(decoded)
                m.next = "start"
            with m.State("start"):
                m.d.comb += start.eq(1)
                m.next = "run"
            with m.State("run"):
                with m.If(~store.busy):
                    m.d.comb += self.done.eq(1)
                    m.next = "take"

        for block in (fetch, issue, store):
            m.d.comb += [block.start.eq(start), block.plan.eq(plan)]
        m.d.comb += [
            fetch.slot.eq(self.step.slot),
            store.slot.eq(self.step.slot),
            fetch.written.eq(store.written),
        ]
        for name in "abc":
            port = getattr(self, name)
            connect(m, getattr(fetch, name), wiring.flipped(port.request))
            connect(m, wiring.flipped(port.response), getattr(issue, f"response_{name}"))
        m.d.comb += [
            scalars.operand_address.eq(issue.scalar_address),
            issue.scalar.eq(scalars.operand),
            scalars.scale_address.eq(self.scale_address),
            self.scale.eq(scalars.scale),
        ]

        # Rows enter the lanes, or a single element the divider, while the queue has room for the
        # results.
        room  = Signal(range(self.ROOM + 1), init=self.ROOM)
        left  = Signal()
        took  = Signal()
        ready = Signal()
        taken = issue.valid & issue.ready
        # `ready` is one cycle late, and so is `room`: a row may have entered in either cycle.
        some  = Mux(took, room > 2, room > 1)
        m.d.sync += [
            left.eq(results.o.valid & results.o.ready),
            took.eq(taken),
            room.eq(room - took + left),
            ready.eq(some & (~plan.divide | (divide.i.ready & ~divide.i.valid & ~taken))),
        ]
        m.d.comb += [
            issue.ready.eq(ready),
            self.activity.busy.eq(~self.i.ready),
            self.activity.row.eq(taken),
            divide.i.valid.eq(delay(m, taken & plan.divide, 1, reset_less=False)),
            divide.i.p.root.eq(plan.root),
            divide.o.ready.eq(1),
        ]
        row = Signal(row_layout(config))
        for number, lane in enumerate(lanes):
            a, b, c = (delay(m, getattr(issue, name)[number], 1) for name in "abc")
            valid = Signal(name=f"valid{number}")
            # Not for elements beyond the vector's end: they must not set `saturated`.
            m.d.sync += valid.eq(taken & issue.enable[number] & ~plan.divide)
            if number == 0:
                m.d.comb += [divide.i.p.a.eq(a), divide.i.p.b.eq(b)]
            m.d.comb += [
                lane.operation.eq(plan.operation),
                lane.valid.eq(valid),
                lane.a.eq(a),
                lane.b.eq(b),
                lane.c.eq(c),
                row[number].eq(lane.o),
            ]
        with m.If(plan.divide):
            m.d.comb += row[0].eq(divide.o.payload)
        m.d.comb += [
            results.i.payload.eq(row),
            results.i.valid.eq(lanes[0].done | divide.o.valid),     # element 0 is in every row
        ]

        connect(m, results.o, store.i)
        for name in ("result", "codes"):
            connect(m, getattr(store, name), wiring.flipped(getattr(self, name)))
        connect(m, store.scalar, scalars.write)
        m.d.sync += self.saturated.eq(
            Cat(lane.saturated for lane in lanes).any() | divide.saturated | store.saturated)
        return m
