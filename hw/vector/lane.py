"""One lane of the vector unit: multiply, add, and the operations built of them."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.common.float import FloatAdd, FloatMultiply, delay
from tern_fpga.hw.vector.activation import Activation
from tern_fpga.hw.vector.quantise import Quantise


__all__ = ["Lane", "lane_operation"]


lane_operation = data.StructLayout({
    "table": 1,         # b and c are the sigmoid's line for a
    "gate":  1,         # multiply the sum by a
    "code":  1,         # o is the code of a * b
})


class Lane(wiring.Component):
    """``o = a * b + c``; times ``a`` with ``gate``; the int8 code of ``a * b`` with ``code``.

    Each product and sum is rounded. With ``table``, b and c are the sigmoid's line for a.

    Protocol: free-running, without handshake. ``operation`` is stable while an element is inside.
    Throughput: an element a cycle. Latency: 6 + :class:`FloatAdd`'s cycles, 4 more with ``table``
    and 5 more with ``gate``; 8 cycles with ``code``.

    Cost: two multipliers and one block RAM for 12/6. See ``docs/reports/area.md`` (vector lane).

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    operation : :py:`In(lane_operation)`
    valid, a, b, c : :py:`In(1)`, :py:`In(fmt.width)`
        An element.
    done, o : :py:`Out(1)`, :py:`Out(fmt.width)`
        Its result: a float word, or with ``code`` a code in the low 8 bits.
    saturated : :py:`Out(1)`
        A result inside the lane was larger than the format holds.

    Golden twin: :class:`sim.golden.vector.VectorUnit`.
    """
    def __init__(self, *, fmt):
        self.fmt = fmt
        super().__init__({
            "operation": In(lane_operation),
            "valid": In(1), "a": In(fmt.width), "b": In(fmt.width), "c": In(fmt.width),
            "done": Out(1), "o": Out(fmt.width), "saturated": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        fmt = self.fmt
        m.submodules.lines    = lines    = Activation(fmt=fmt)
        m.submodules.multiply = multiply = FloatMultiply(fmt=fmt)
        m.submodules.add      = add      = FloatAdd(fmt=fmt)
        m.submodules.gate     = gate     = FloatMultiply(fmt=fmt)
        m.submodules.quantise = quantise = Quantise(fmt=fmt)
        operation = self.operation

        def valid_after(valid, cycles):
            chain = Signal(cycles)
            m.d.sync += chain.eq(Cat(valid, chain))
            return chain[-1]

        # Only with `table` do the operands wait for the look-up: other operations skip its latency.
        m.d.comb += lines.i.eq(self.a)
        a, b, c = (Signal(fmt.width, reset_less=True) for _ in range(3))
        m.d.sync += [
            a.eq(Mux(operation.table, delay(m, self.a, lines.latency), self.a)),
            b.eq(Mux(operation.table, lines.slope, self.b)),
            c.eq(Mux(operation.table, lines.intercept, self.c)),
        ]
        looked = valid_after(self.valid, lines.latency)
        valid  = valid_after(Mux(operation.table, looked, self.valid), 1)

        m.d.comb += [
            multiply.a.eq(a),
            multiply.b.eq(b),
            quantise.i.eq(multiply.exact),
            add.a.eq(multiply.o),
            add.b.eq(delay(m, c, multiply.latency)),
            gate.a.eq(add.o),
            gate.b.eq(delay(m, a, multiply.latency + add.latency)),
        ]
        multiplied = valid_after(valid, multiply.latency)
        added      = valid_after(multiplied & ~operation.code, add.latency)
        gated      = valid_after(added & operation.gate, gate.latency)
        coded      = valid_after(valid & operation.code, 2 + quantise.latency)

        # One operation at a time, so that results of different latencies cannot meet.
        with m.If(operation.code):
            m.d.comb += [self.done.eq(coded), self.o.eq(quantise.o.as_unsigned())]
        with m.Elif(operation.gate):
            m.d.comb += [self.done.eq(gated), self.o.eq(gate.o)]
        with m.Else():
            m.d.comb += [self.done.eq(added), self.o.eq(add.o)]
        m.d.sync += self.saturated.eq(
            (multiplied & ~operation.code & multiply.saturated)
            | (added & add.saturated) | (gated & gate.saturated))
        return m
