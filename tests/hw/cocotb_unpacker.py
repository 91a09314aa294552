"""cocotb bench of the trit unpacker; see test_unpacker.py."""

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.files import packing
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def all_bytes_equal_golden(dut):
    given = parameters()
    rng   = np.random.default_rng(given["seed"])
    count = given["lanes"] // formats.TRITS_PER_BYTE
    beats = np.stack([rng.permutation(256) for _ in range(count)], 1).astype(np.uint8)
    got   = []
    dut.i.value = 0
    await streams.start(dut)
    for cycle in range(256 + given["latency"]):
        dut.i.value = int.from_bytes(bytes(beats[min(cycle, 255)]), "little")
        await FallingEdge(dut.clk)
        word = int(dut.o.value)
        got.append([(word >> 2 * lane & 3) - 1 for lane in range(given["lanes"])])
    expected = packing.unpack(beats.reshape(-1)).reshape(256, given["lanes"])
    assert got[given["latency"] - 1:-1] == expected.tolist()
