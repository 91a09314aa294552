"""cocotb bench of the Gumbel variates; see test_gumbel.py."""

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.hw.sample.gumbel import Gumbel, draw_key_layout
from tern_fpga.sim.golden.gumbel import gumbel, random_bits
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def variates_equal_golden(dut):
    rng  = np.random.default_rng(parameters()["seed"])
    keys = rng.integers(0, 1 << 24, (3, 4000))
    keys[:, :2000] >>= rng.integers(0, 24, (3, 2000))       # small ones, as they come
    keys[:, :2], keys[2, 2:500] = [[0, (1 << 24) - 1]], np.arange(498)
    expected = gumbel(random_bits(*keys)).tolist()
    dut.i.value = 0
    await streams.start(dut)
    got = []
    for cycle in range(len(expected) + Gumbel.latency):
        seed, count, row = (int(x) for x in keys[:, min(cycle, len(expected) - 1)])
        dut.i.value = draw_key_layout.const(
            {"seed": seed, "count": count, "row": row}).as_value().value
        await FallingEdge(dut.clk)
        if cycle >= Gumbel.latency - 1:
            got.append(dut.o.value.to_signed())
    assert got[:len(expected)] == expected
    assert min(expected) < -1.8 * 4096 and max(expected) > 7 * 4096
