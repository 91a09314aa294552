"""Table of lines for the sigmoid."""

from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tern_fpga.assembler.contract import tables
from tern_fpga.hw.common.float import delay, float_layout


__all__ = ["Activation"]


class Activation(wiring.Component):
    """Look up the line for an argument: ``sigmoid(i) = slope * i + intercept``.

    The index of the line is the sign and the magnitude of ``i``, the latter truncated to whole
    lines, as ``assembler.contract.tables`` defines.

    Latency: 4. Throughput: one a cycle.

    Cost: a table of 512 lines of ``2 * width`` bits, one block RAM for 12/6 (formats of more than
    14 significand bits have up to 4096 lines), and a shifter of 8 bits. See
    ``docs/reports/area.md`` (activation).

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    i : :py:`In(fmt.width)`
        Float word.
    slope, intercept : :py:`Out(fmt.width)`
        Float words.

    Golden twin: :func:`assembler.contract.tables.sigmoid` and
    :func:`assembler.contract.tables.sigmoid_index`.
    """
    latency = 4

    def __init__(self, *, fmt):
        self.fmt = fmt
        super().__init__({"i": In(fmt.width), "slope": Out(fmt.width), "intercept": Out(fmt.width)})

    def elaborate(self, platform):
        m = Module()
        fmt  = self.fmt
        bits = exact_log2(tables.lines(fmt)) - 1    # of the magnitude in the index
        line = data.StructLayout({"intercept": fmt.width, "slope": fmt.width})
        slope, intercept = (fmt.encode(values) for values in tables.sigmoid(fmt))
        m.submodules.lines = lines = memory.Memory(
            shape=line, depth=tables.lines(fmt),
            init=[{"slope": int(s), "intercept": int(c)} for s, c in zip(slope, intercept)])
        read = lines.read_port()

        # With 2**k lines per unit, |i| * 2**k = 1.m * 2**(e - bias + k). Its integer part is the
        # top e - bias + k + 1 bits of the significand, of which the index needs at most `bits`.
        word   = data.View(float_layout(fmt), self.i)
        places = Signal(signed(fmt.exponent + 1), reset_less=True)
        top    = Signal(bits, reset_less=True)
        sign   = Signal(reset_less=True)
        m.d.sync += [
            places.eq(fmt.bias - exact_log2(tables.lines_per_unit(fmt)) + bits - 1 - word.exponent),
            top.eq(Cat(word.mantissa, C(1, 1))[-bits:]),
            sign.eq(word.sign & word.exponent.any()),
        ]
        magnitude = Signal(bits, reset_less=True)
        # Beyond the last line the index saturates; a magnitude below one line has index 0.
        with m.If(places < 0):
            m.d.sync += magnitude.eq(~0)
        with m.Elif(places >= bits):
            m.d.sync += magnitude.eq(0)
        with m.Else():
            m.d.sync += magnitude.eq(top >> places.as_unsigned()[:ceil_log2(bits)])
        m.d.comb += read.addr.eq(Cat(magnitude, delay(m, sign, 1)))

        out = data.View(line, delay(m, read.data.as_value(), 1))
        m.d.comb += [self.slope.eq(out.slope), self.intercept.eq(out.intercept)]
        return m
