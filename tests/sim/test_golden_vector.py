"""Vector instructions of the golden machine against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from tern_fpga.assembler.contract import formats, isa, tables
from tern_fpga.assembler.contract.isa import Stat
from tern_fpga.assembler.contract.registers import PROMPT_FRESH
from tern_fpga.sim.golden.vector import VectorUnit
from tests.exact import (
    NONE,
    changes_only,
    elements,
    fill,
    over_configs,
    prompt_machine,
    rounded,
    s,
    stream_machine,
    u,
    v,
)


def table_sigmoid(fmt):
    slope, intercept = tables.sigmoid(fmt)
    side = len(slope) // 2

    def sigmoid(x):
        k = min(int(abs(x) * side / 16), side - 1) + (side if x < 0 else 0)
        return rounded(fmt, rounded(fmt, Fraction(slope[k]) * x) + Fraction(intercept[k]))
    return sigmoid


def formula(mnemonic, fmt):
    sigmoid = table_sigmoid(fmt)
    return {
        "mul": lambda a, b: rounded(fmt, a * b),
        "add": lambda a, b: rounded(fmt, a + b),
        "fma": lambda a, b, c: rounded(fmt, rounded(fmt, a * b) + c),
        "sigmoid": sigmoid,
        "silu": lambda a: rounded(fmt, a * sigmoid(a)),
    }[mnemonic]


@over_configs
@pytest.mark.parametrize("mnemonic", ["mul", "add", "fma", "sigmoid", "silu"])
@pytest.mark.parametrize("spaces", [(v(0), v(4), v(8)), (u(0), v(2), s(1)), (s(0), u(1), u(2))],
                         ids=["vvv", "uvs", "suu"])
def test_elementwise(config, mnemonic, spaces):
    n = 2 * config.register_elements + 5
    names = [name for name in "abc" if name in dict(isa.lookup(mnemonic).spaces)]
    operands = dict(zip(names, spaces))
    word = isa.encode(mnemonic, dst=v(12), n=n, stat=Stat.ABSMAX, stat_to=9, **operands)
    slots = sorted({0, config.positions - 1})
    machine = stream_machine(config, [word], slots)
    fill(machine, seed=sum(map(ord, mnemonic)))
    before, scalars = machine.v.copy(), machine.s.copy()
    apply = formula(mnemonic, config.float)
    expected = {p: [apply(*x) for x in zip(*(elements(machine, operand, n, p)
                                             for operand in operands.values()))]
                for p in slots}
    assert machine.step() == "running"
    for p in slots:
        assert elements(machine, v(12), n, p) == expected[p]
        assert machine.s[9, p] == max(map(abs, expected[p]))
        scalars[9, p] = machine.s[9, p]
    assert changes_only(machine, before, 12, slots, n)
    assert (machine.s == scalars).all()


@over_configs
def test_sum_of_squares_is_exact_and_rounded_once(config):
    n = 3 * config.register_elements
    machine = stream_machine(config, [isa.encode("add", dst=NONE, a=v(0), b=s(31), n=n,
                                                 stat=Stat.SUMSQ, stat_to=4)] * 20, [0])
    rng = np.random.default_rng(0)
    fmt = config.float
    for k in range(20):
        fill(machine, seed=k)
        machine.s[31] = 0
        if k % 2:       # equal exponents, and a tie at the rounding bit more often
            machine.v[:3] = fmt.round(rng.integers(0, 1 << k // 2 + 1, machine.v[:3].shape) * 1.0)
        exact = sum(x * x for x in elements(machine, v(0), n, 0))
        before = machine.v.copy()
        assert machine.step() == "running"
        assert Fraction(machine.s[4, 0]) == rounded(fmt, exact)
        assert (machine.v == before).all()          # no destination


@pytest.mark.parametrize("significand", [8, 9, 12, 24])
def test_sum_of_squares_ties_go_to_even(significand):
    """2**p + 1 and 2**p + 3 lie half-way between values of p bits: one goes down, one up."""
    unit = VectorUnit(formats.Float(significand, 8))
    power = [2.0 ** (significand // 2)] * (1 + significand % 2)
    assert unit.sumsq(np.array([*power, 1])) == 2.0 ** significand
    assert unit.sumsq(np.array([*power, 1, 1, 1])) == 2.0 ** significand + 4
    # A little more than half-way, by less than float64 sees.
    assert unit.sumsq(np.array([*power, 1, 2.0 ** -40])) == 2.0 ** significand + 2


def test_sum_of_squares_of_the_longest_vector():
    """All mantissa bits set, 65535 times: the widest bucket."""
    fmt = formats.Float(24, 8)
    x = np.full(formats.MAX_LENGTH, 2 - 2.0 ** -23)
    exact = formats.MAX_LENGTH * Fraction(x[0]) ** 2
    assert Fraction(float(VectorUnit(fmt).sumsq(x))) == rounded(fmt, exact)


@pytest.mark.parametrize("more, saturates", [([], False), ([2.0 ** 9], False), ([2.0 ** 10], True)])
def test_sum_of_squares_at_the_largest_value(more, saturates):
    """The largest value, plus a quarter of a unit, plus half a unit: a tie, which goes up."""
    unit = VectorUnit(formats.Float(12, 6))
    powers = [2.0 ** (e // 2) for e in range(21, 33) for _ in range(1 + e % 2)]
    assert unit.sumsq(np.array([*powers, *more])) == unit.fmt.max
    assert unit.saturated == saturates


@over_configs
def test_scalar_results(config):
    fmt = config.float
    word = int(fmt.encode(-1.5))
    program = [isa.encode("const", dst=s(5), value=word),
               isa.encode("mul", dst=s(6), a=s(1), b=s(2), n=1),
               isa.encode("div", dst=s(7), a=s(1), b=s(2)),
               isa.encode("div", dst=s(8), a=s(1), b=s(3)),
               isa.encode("sqrt", dst=s(9), a=s(4)),
               isa.encode("sqrt", dst=s(10), a=s(1))]
    for seed in range(30):
        machine = stream_machine(config, program, [1])
        fill(machine, seed)
        machine.s[3] = 0
        machine.s[1] = -abs(machine.s[1])
        machine.s[4] = abs(machine.s[4])
        a, b, positive = (Fraction(machine.s[i, 1]) for i in (1, 2, 4))
        before = machine.s.copy()
        machine.run()
        assert (machine.s[5] == -1.5).all()
        assert Fraction(machine.s[6, 1]) == rounded(fmt, a * b)
        assert Fraction(machine.s[7, 1]) == (rounded(fmt, a / b) if b else 0)
        assert machine.s[8, 1] == 0 and machine.s[10, 1] == 0
        root = Fraction(machine.s[9, 1])
        if positive:    # within half a unit of the real root, on both sides
            unit = Fraction(np.spacing(float(root))) * 2 ** (53 - fmt.significand)
            assert (root - unit / 2) ** 2 <= positive <= (root + unit / 2) ** 2
        else:
            assert root == 0
        assert (machine.s[6:, 0] == before[6:, 0]).all()


@over_configs
def test_quant_rounds_the_exact_product_and_clamps(config):
    n = config.register_elements + 3
    machine = stream_machine(config, [isa.encode("quant", q=2, a=v(0), b=s(1), n=n)], [1])
    fill(machine, seed=5)
    machine.s[1, 1] = 1.5
    machine.v[0, 1, :6] = [1 / 3, 1, 5 / 3, 100, -100, 7]
    machine.v[0, 1] = config.float.round(machine.v[0, 1])
    before = machine.q.copy()
    expected = [max(-128, min(127, round(x * Fraction(3, 2))))
                for x in elements(machine, v(0), n, 1)]
    machine.step()
    got = [machine.q[2 + e // config.register_elements, 1, e % config.register_elements]
           for e in range(n)]
    assert got == expected
    assert (machine.q != before).sum() <= n and (machine.q[:, 0] == before[:, 0]).all()


@over_configs
@pytest.mark.parametrize("fresh", [PROMPT_FRESH, 0], ids=["fresh", "continued"])
def test_scan_chains_through_a_prompt_and_carry_keeps_its_end(config, fresh):
    n, fmt, slot = config.register_elements + 1, config.float, 1
    count = max(1, config.positions - 1)
    program = [isa.encode("scan", dst=v(8), a=v(0), b=v(2), c=v(4), n=n),
               isa.encode("carry", dst=v(6), a=v(8), n=n)]
    machine = prompt_machine(config, program, count, slot, fresh)
    fill(machine, seed=1)
    h = [Fraction(0)] * n if fresh else elements(machine, v(2), n, slot)
    inputs = [(elements(machine, v(0), n, p), elements(machine, v(4), n, p))
              for p in range(count)]
    before = machine.v.copy()
    machine.step()
    for p, (a, c) in enumerate(inputs):
        h = [rounded(fmt, rounded(fmt, x * y) + z) for x, y, z in zip(a, h, c)]
        assert elements(machine, v(8), n, p) == h
    assert changes_only(machine, before, 8, range(count), n)
    before = machine.v.copy()
    machine.step()
    assert elements(machine, v(6), n, slot) == h
    assert changes_only(machine, before, 6, [slot], n)


@over_configs
def test_scan_of_streams_uses_each_slots_state(config):
    n, fmt = 5, config.float
    slots = sorted({1, config.positions - 1})
    program = [isa.encode("scan", dst=v(8), a=v(0), b=v(2), c=s(4), n=n),
               isa.encode("carry", dst=v(6), a=v(8), n=n)]
    machine = stream_machine(config, program, slots)
    fill(machine, seed=2)
    before = machine.v.copy()
    assert machine.run() == "halted"
    for p in slots:
        expected = [rounded(fmt, rounded(fmt, x * y) + Fraction(machine.s[4, p]))
                    for x, y in zip(elements(machine, v(0), n, p), elements(machine, v(2), n, p))]
        assert elements(machine, v(6), n, p) == expected
    idle = [p for p in range(config.positions) if p not in slots]
    assert (machine.v[:, idle] == before[:, idle]).all()
