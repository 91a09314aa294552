"""The digest of hardware: blind to names, and to nothing else."""

from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
import pytest

from tern_fpga.hw.tools.digest import canonical, digest


class Inner(Elaboratable):
    def __init__(self, names, init=3, swapped=False):
        self.names, self.init, self.swapped = names, init, swapped
        self.a, self.b = Signal(4, name=names[0]), Signal(4, name=names[1])
        self.y = Signal(5, name=names[2], init=init)

    def elaborate(self, platform):
        m = Module()
        rows = memory.Memory(shape=4, depth=4, init=[])
        m.submodules[self.names[3]] = rows
        read = rows.read_port()
        m.d.comb += read.addr.eq(self.a)
        left, right = (self.b, self.a) if self.swapped else (self.a, self.b)
        with m.If(left > right):
            m.d.sync += self.y.eq(left - read.data)
        return m


class Outer(wiring.Component):
    a: In(4)
    y: Out(5)

    def __init__(self, names=("a", "b", "y", "rows", "inner", "other"), **options):
        self.names, self.options = names, options
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        for name, swap in zip(self.names[4:], (False, self.options.pop("second", False))):
            inner = Inner(self.names, **{"swapped": swap, **self.options})
            m.submodules[name] = inner
            m.d.comb += [inner.a.eq(self.a), inner.b.eq(self.a + 1)]
        m.d.comb += self.y.eq(inner.y)
        return m


def text(*arguments, **options):
    return rtlil.convert(Outer(*arguments, **options), emit_src=False)


def test_names_do_not_count():
    one, other = text(), text(("p", "q", "z", "table", "x1", "x2"))
    assert one != other and canonical(one) == canonical(other)


@pytest.mark.parametrize("options", [{"swapped": True}, {"init": 2}, {"second": True}])
def test_structure_counts(options):
    """A swapped operand, in all copies of a block and in one; an initial value."""
    assert digest(text()) != digest(text(**options))


def test_widths_count():
    def made(width):
        m, y = Module(), Signal(width)
        m.d.sync += y.eq(y + 1)
        return digest(rtlil.convert(m, ports=[y], emit_src=False))

    assert made(4) == made(4) != made(5)
