"""cocotb bench of the statistics ExactSum and Absmax; see test_exact_sum.py."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.common.exact_sum import elements_layout
from tern_fpga.sim.golden.vector import VectorUnit
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


def draw_vectors(rng, fmt):
    """Vectors of any length and range: many exponents, few significant bits (ties), extremes."""
    tiny, large = fmt.tiny, fmt.max
    yield from (np.zeros(5), np.array([tiny]), np.full(3, large), np.array([large, 0, tiny]))
    # Squares whose sum is halfway between two floats: 2**p + 1 goes down, and 2**p + 3 up.
    p = fmt.significand
    for ones in (1, 3):
        yield np.array([2.0 ** (p // 2)] * (1 + p % 2) + [1.0] * ones)
    for _ in range(40):
        n = rng.integers(1, 60)
        spread = rng.choice([0, 1, 4, fmt.bias // 2 - 2])
        mantissa = rng.choice([rng.normal(0, 1, n), rng.integers(-3, 4, n).astype(float),
                               rng.integers(-65, 66, n) / 64])
        with np.errstate(under="ignore"):
            yield fmt.round(mantissa * 2.0 ** rng.integers(-spread, spread + 1, n))


def longest(fmt):
    """As many elements as an instruction takes, of the largest shifted square of a bucket."""
    low = fmt.exponent - 4
    exponent = ((fmt.bias >> low) - 1 << low) + (1 << low) - 1
    return np.full(formats.MAX_LENGTH, fmt.decode((exponent + 1 << fmt.mantissa) - 1))


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(duty=[(1.0, 1.0), (0.5, 0.3)])
async def results_equal_golden(dut, duty):
    given = parameters()
    fmt, lanes = Float(given["significand"], given["exponent"]), given["lanes"]
    rng = np.random.default_rng(given["seed"])
    layout = elements_layout(fmt, lanes)
    vectors = list(draw_vectors(rng, fmt)) + [longest(fmt)] * (given["bound"] and duty[0] == 1)
    golden = getattr(VectorUnit(fmt), given["statistic"])
    expected = [int(fmt.encode(golden(x))) for x in vectors]

    rows = []
    for x in vectors:
        # What does not count, the largest values, lies between what does.
        gaps  = rng.integers(1, 3, len(x)) if len(x) < formats.MAX_LENGTH else np.ones_like(x, int)
        place = np.cumsum(gaps) - 1
        size  = -(-(int(place[-1]) + 1) // lanes) * lanes
        words, mask = np.full(size, int(fmt.encode(fmt.max))), np.zeros(size, bool)
        words[place], mask[place] = fmt.encode(x), True
        for row in range(0, size, lanes):
            rows.append(
                sum(int(w) << fmt.width * k for k, w in enumerate(words[row:row + lanes]))
                | sum(int(e) << k for k, e in enumerate(mask[row:row + lanes])) << lanes * fmt.width
                | (row + lanes == size) << layout.size - 1)

    dut.i__payload.value = dut.i__valid.value = dut.o__ready.value = 0
    await streams.start(dut)
    cocotb.start_soon(streams.watch(dut, "i"))
    cocotb.start_soon(streams.watch(dut, "o"))
    cocotb.start_soon(streams.put(dut, "i", rows, duty=duty[0], seed=given["seed"]))
    saturated = []

    async def count_saturated():
        while True:
            await ReadOnly()
            saturated.append(int(dut.saturated.value))
            await FallingEdge(dut.clk)

    if given["statistic"] == "sumsq":
        cocotb.start_soon(count_saturated())
    got = await streams.get(dut, "o", len(vectors), duty=duty[1], seed=given["seed"])
    assert got == expected, [(k, hex(a), hex(b)) for k, (a, b) in enumerate(zip(got, expected))
                             if a != b]
    if given["statistic"] == "sumsq":
        squares = [np.square(x).sum() for x in vectors]
        assert sum(saturated) == sum(fmt.saturates(s) for s in squares)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency_is_as_documented(dut):
    given = parameters()
    fmt, lanes = Float(given["significand"], given["exponent"]), given["lanes"]
    dut.i__valid.value, dut.o__ready.value = 0, 1
    # The smallest square of the highest bucket has the longest way up.
    one = (15 << fmt.exponent - 4 + fmt.mantissa | 1 << lanes * fmt.width
           | 1 << lanes * (fmt.width + 1))
    await streams.start(dut)
    await streams.put(dut, "i", [one])
    cycles = 1
    while not int(dut.o__valid.value):
        await FallingEdge(dut.clk)
        cycles += 1
    assert cycles == given["latency"]
