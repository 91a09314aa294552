"""cocotb bench of the float pipelines; see test_float.py."""

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.assembler.contract.formats import Float
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


COUNT = 6000


def words(rng, fmt, count):
    """Random words: any, near one another's exponent, and the format's corners."""
    top      = (1 << fmt.mantissa) - 1
    sign     = rng.integers(0, 2, count) << fmt.width - 1
    mantissa = np.where(rng.random(count) < 0.4, rng.choice([0, 1, 2, top - 1, top,
                        1 << fmt.mantissa - 1], count), rng.integers(0, top + 1, count))
    near     = fmt.bias + rng.integers(-3, 4, count)
    corner   = rng.choice([0, 1, 2, (1 << fmt.exponent) - 1], count)
    exponent = np.choose(rng.choice(3, count, p=[0.4, 0.45, 0.15]), [
        rng.integers(0, 1 << fmt.exponent, count), near, corner])
    return np.where(exponent == 0, 0, sign | exponent << fmt.mantissa | mantissa)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def results_equal_golden(dut):
    given = parameters()
    fmt   = Float(given["significand"], given["exponent"])
    width = given["width"]
    rng   = np.random.default_rng(given["seed"])
    a, b  = words(rng, fmt, COUNT), words(rng, fmt, COUNT)
    b     = np.where(rng.random(COUNT) < 0.2, a ^ rng.integers(0, 4, COUNT), b)   # cancellation
    b     = np.where(fmt.decode(b) == 0, 0, b)
    low, high = -(1 << width - 1), (1 << width - 1) - 1
    i     = rng.integers(low, high + 1, COUNT) >> rng.integers(0, width, COUNT)
    i     = np.where(rng.random(COUNT) < 0.02, rng.choice([low, low + 1, -1, 0, 1, high], COUNT), i)

    with np.errstate(under="ignore"):
        exact = {"multiply": fmt.decode(a) * fmt.decode(b), "add": fmt.decode(a) + fmt.decode(b),
                 "from_int": i.astype(np.float64)}
    got = {name: [] for name in exact}

    dut.a.value = dut.b.value = dut.i.value = 0
    await streams.start(dut)
    for cycle in range(COUNT + given["latency"]["add"]):
        k = min(cycle, COUNT - 1)
        dut.a.value, dut.b.value, dut.i.value = int(a[k]), int(b[k]), int(i[k])
        await FallingEdge(dut.clk)
        for name, latency in given["latency"].items():
            if latency - 1 <= cycle < COUNT + latency - 1:
                got[name].append((int(getattr(dut, f"{name}_o").value),
                                  bool(int(getattr(dut, f"{name}_saturated").value))))

    for name, x in exact.items():
        expected = list(zip(map(int, fmt.encode(fmt.round(x))),
                            (fmt.saturates(v) for v in x), strict=True))
        wrong = [k for k in range(COUNT) if expected[k] != got[name][k]]
        assert not wrong, [(name, hex(a[k]), hex(b[k]), i[k], expected[k], got[name][k])
                           for k in wrong[:5]]
