"""cocotb bench of the ternary accumulator; see test_accumulate.py."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.files import packing
from tern_fpga.hw.array.accumulate import GROUP, sums_layout
from tern_fpga.hw.array.codes import block_layout, columns_layout
from tern_fpga.sim.golden import ternary
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


GIVEN  = parameters()
CONFIG = Config(**GIVEN["config"])


async def blocks(dut, matrices, codes, gap):
    """Offer every column block of every tile when its codes stand in ``columns``."""
    payload, valid, ready = streams.ports(dut, "block")
    for weights, q in zip(matrices, codes, strict=True):
        count = packing.blocks(weights.shape[1], CONFIG)
        padded = np.zeros((CONFIG.positions, count * CONFIG.lanes), int)
        padded[:, :q.shape[1]] = q
        for start in range(0, len(weights), CONFIG.accumulator_rows):
            for k, part in enumerate(np.split(padded, count, 1)):
                dut.columns.value = columns_layout(CONFIG).const(
                    part.tolist()).as_value().value
                payload.value = block_layout(CONFIG).const({
                    "rows": min(CONFIG.accumulator_rows, len(weights) - start),
                    "first": k == 0, "last": k == count - 1}).as_value().value
                valid.value = 1
                offered, copied, cycles = True, 0, 0
                # The codes may change when all are copied, and the next block be there.
                while offered or copied <= (CONFIG.positions - 1) // GROUP or cycles < gap:
                    await ReadOnly()
                    copied += copied > 0 or int(dut.taken.value)
                    if offered and int(ready.value):
                        offered = False
                    cycles += 1
                    await FallingEdge(dut.clk)
                    valid.value = offered


async def sums(dut, matrices, codes, *, live=None, duty=1.0, back=1.0, gap=5):
    """Run the matrices through, and compare all sums of the positions that are ``live``."""
    live = np.ones(CONFIG.positions, bool) if live is None else live
    dut.live.value = sum(1 << int(p) for p in np.flatnonzero(live))
    for name in ("weights", "block"):
        payload, valid, _ = streams.ports(dut, name)
        payload.value = 0
        valid.value = 0
    dut.columns.value = dut.o__ready.value = 0
    await streams.start(dut)
    cocotb.start_soon(streams.watch(dut, "o"))
    beats = [int.from_bytes(bytes(beat), "little") for weights in matrices
             for beat in packing.tile(weights, CONFIG).reshape(-1, CONFIG.lanes // 5)]
    cocotb.start_soon(blocks(dut, matrices, codes, gap))
    cocotb.start_soon(streams.put(dut, "weights", beats, duty=duty, seed=1))
    expected = np.concatenate([ternary.matmul(*pair) for pair in zip(matrices, codes)], 1).T
    # A tree that stands still gives a row the same sum as the next: so many times what is in it.
    starts = np.cumsum([len(weights) for weights in matrices])[:-1]
    got = await streams.get(dut, "o", len(expected), duty=back, seed=2)
    layout = sums_layout(CONFIG)
    got = np.array([list(layout.from_bits(word)) for word in got])
    assert got[:, live].tolist() == expected[:, live].tolist()
    for rows in np.split(got[:, ~live], starts):
        assert (rows == rows[0]).all()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.5], back=[1.0, 0.3], idle=[0, 1])
async def sums_equal_golden(dut, duty, back, idle):
    rng = np.random.default_rng(GIVEN["seed"])
    live = np.ones(CONFIG.positions, bool)
    live[rng.permutation(CONFIG.positions)[:idle * (CONFIG.positions - 1)]] = False
    depth = CONFIG.accumulator_rows
    matrices = [rng.integers(-1, 2, (rows, int(rng.integers(1, 3 * CONFIG.lanes))), np.int8)
                for rows in (1, 2, 3, 4, depth + 1, 2 * depth)]
    # One block: a row of sums every cycle, more than are taken and than the FIFO holds.
    matrices.append(rng.integers(-1, 2, (4 * depth, CONFIG.lanes), np.int8))
    codes = [rng.integers(-128, 128, (CONFIG.positions, weights.shape[1]), np.int8)
             for weights in matrices]
    await sums(dut, matrices, codes, live=live, duty=duty, back=back)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def longest_rows_reach_the_bound(dut):
    for code, trit in [(-128, 1), (-128, -1)]:
        weights = np.full((1, formats.MAX_LENGTH), trit, np.int8)
        codes = np.full((CONFIG.positions, formats.MAX_LENGTH), code, np.int8)
        assert abs(ternary.matmul(weights, codes)).max() == formats.MAX_LENGTH * 128
        await sums(dut, [weights], [codes])
