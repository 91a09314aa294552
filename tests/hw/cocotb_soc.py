"""cocotb bench of the whole system's lights; see test_soc.py."""

import cocotb
from cocotb.triggers import FallingEdge, Timer

from tern_fpga.assembler.contract import link
from tern_fpga.sim.rtl import streams


BIT = 4                     # cycles
CYCLE_NS = 10


async def cycles(dut, number):
    await Timer(number * CYCLE_NS - CYCLE_NS // 2, "ns")
    await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def active_follows_a_request(dut):
    dut.rx.value = 1
    for name in ("command__ready", "write__ready", "read__valid", "read__payload"):
        getattr(dut, f"memory__{name}").value = 0
    await streams.start(dut)
    await cycles(dut, 100)
    assert not int(dut.active.value)
    for byte in link.DELIMITER + link.encode(link.request(0, link.Code.SYNC)) + link.TAIL:
        for bit in (0, *(byte >> n & 1 for n in range(8)), 1):
            dut.rx.value = bit
            await cycles(dut, BIT)
    await cycles(dut, 200)
    assert int(dut.active.value)
    dut.light.value = 3                 # most of its 2**20 cycles later
    await cycles(dut, 2)
    assert int(dut.active.value)
    await cycles(dut, 2)
    assert not int(dut.active.value)
