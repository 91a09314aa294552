"""cocotb bench of Divide; see test_divide.py."""

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.common.divide import Divide
from tern_fpga.sim.golden.vector import VectorUnit
from tern_fpga.sim.rtl import streams
from tests.hw.cocotb_float import words
from tests.verilog import parameters


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(duty=[(1.0, 1.0), (0.5, 0.3)])
async def results_equal_golden(dut, duty):
    given = parameters()
    fmt   = Float(given["significand"], given["exponent"])
    rng   = np.random.default_rng(given["seed"])
    count = 250
    a, b  = words(rng, fmt, count), words(rng, fmt, count)
    root  = rng.random(count) < 0.5
    squares = fmt.encode(fmt.round(np.square(rng.integers(1, 1 << fmt.significand // 2, count))))
    a     = np.where(rng.random(count) < 0.2, squares, a)
    layout = Divide.operands(fmt)
    operands = [layout.const({"a": int(x), "b": int(y), "root": int(r)}).as_value().value
                for x, y, r in zip(a, b, root)]

    expected, saturated = [], 0
    for x, y, r in zip(fmt.decode(a), fmt.decode(b), root):
        golden = VectorUnit(fmt)
        expected.append(int(fmt.encode(golden.sqrt(x) if r else golden.div(x, y))))
        saturated += golden.saturated

    dut.i__payload.value = dut.i__valid.value = dut.o__ready.value = 0
    await streams.start(dut)
    cocotb.start_soon(streams.watch(dut, "i"))
    cocotb.start_soon(streams.watch(dut, "o"))
    cocotb.start_soon(streams.put(dut, "i", operands, duty=duty[0], seed=given["seed"]))
    strobes = []

    async def count_saturated():
        while True:
            await FallingEdge(dut.clk)
            strobes.append(int(dut.saturated.value))

    cocotb.start_soon(count_saturated())
    got = await streams.get(dut, "o", count, duty=duty[1], seed=given["seed"])
    assert got == expected, [(hex(a[k]), hex(b[k]), root[k], hex(got[k]), hex(expected[k]))
                             for k in range(count) if got[k] != expected[k]][:5]
    assert sum(strobes) == saturated


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency_is_as_documented(dut):
    dut.i__payload.value = dut.i__valid.value = dut.o__ready.value = 0
    await streams.start(dut)
    await streams.put(dut, "i", [0])
    cycles = 1
    while not int(dut.o__valid.value):
        await FallingEdge(dut.clk)
        cycles += 1
    assert cycles == parameters()["significand"] + 7
