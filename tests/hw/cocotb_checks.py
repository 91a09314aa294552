"""Benches that must fail, and one that must not; see test_checks.py."""

import cocotb
from cocotb.triggers import FallingEdge

from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


@cocotb.test()
async def it_runs(dut):
    pass


@cocotb.test(skip=True)
async def it_does_not(dut):
    raise AssertionError


@cocotb.test()
async def offers_are_held(dut):
    """Nothing but the check in the background looks at them."""
    dut.o__ready.value, dut.kind.value = 0, parameters()["kind"]
    await streams.start(dut)
    cocotb.start_soon(streams.watch(dut, "o"))
    for _ in range(20):
        await FallingEdge(dut.clk)
    dut.o__ready.value = 1
    for _ in range(20):
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="us")
async def an_offer_comes(dut):
    dut.o__ready.value, dut.kind.value = 0, parameters()["kind"]
    await streams.start(dut)
    await streams.get(dut, "o", 100)
