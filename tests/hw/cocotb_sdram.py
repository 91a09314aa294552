"""cocotb test of the SDRAM controller in sim/rtl/sdram_bench.v; see test_sdram.py."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from tests.verilog import parameters


P = parameters()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def traffic(dut):
    dut.mode.value, dut.amount.value, dut.seed.value = P["random"], P["words"], P["seed"]
    dut.rst.value = 1
    Clock(dut.clk, 10, unit="ns").start()
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.finished)
    assert int(dut.errors.value) == 0
    assert int(dut.words_read.value) + int(dut.words_written.value) >= P["words"]
