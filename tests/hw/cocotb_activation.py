"""cocotb bench of Activation; see test_activation.py."""

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.assembler.contract import tables
from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.vector.activation import Activation
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def lines_equal_golden(dut):
    given = parameters()
    fmt   = Float(given["significand"], given["exponent"])
    rng   = np.random.default_rng(given["seed"])
    near  = np.arange(-300, 300) / tables.lines_per_unit(fmt)  # borders, and just inside of them
    x     = np.concatenate([near, near * (1 - 2.0 ** -fmt.mantissa), rng.normal(0, 6, 2000),
                            np.arange(-18, 18, 1 / 64),
                            rng.normal(0, 1, 500) * 2.0 ** rng.integers(-9, 9, 500),
                            [0, fmt.tiny, -fmt.tiny, fmt.max, -fmt.max]])
    words = fmt.encode(fmt.round(x))
    line  = tables.sigmoid_index(fmt, fmt.decode(words))
    slope, intercept = (fmt.encode(values)[line] for values in tables.sigmoid(fmt))

    dut.i.value = 0
    await streams.start(dut)
    got = []
    for cycle in range(len(words) + Activation.latency):
        dut.i.value = int(words[min(cycle, len(words) - 1)])
        await FallingEdge(dut.clk)
        if cycle >= Activation.latency - 1:
            got.append((int(dut.slope.value), int(dut.intercept.value)))
    expected = list(zip(map(int, slope), map(int, intercept)))
    assert got[:len(words)] == expected
