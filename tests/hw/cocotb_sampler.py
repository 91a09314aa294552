"""cocotb bench of the sampler; see test_sampler.py."""

import cocotb
from cocotb.triggers import FallingEdge
import numpy as np

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.array.accumulate import sums_layout
from tern_fpga.hw.common.signatures import tokens_layout
from tern_fpga.sim.golden.sampler import Sampler
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


@cocotb.test(timeout_time=200, timeout_unit="us")
async def tokens_equal_golden(dut):
    given  = parameters()
    config = Config(**given["config"])
    rng    = np.random.default_rng(given["seed"])
    golden = Sampler(config.positions)
    for name in ("i__payload", "i__valid", "mask", "emit", "found", "found_row",
                 "tokens__ready"):
        getattr(dut, name).value = 0
    await streams.start(dut)
    cocotb.start_soon(streams.watch(dut, "tokens"))
    for turn, duty in enumerate([1.0, 0.4, 1.0, 1.0, 0.7, 1.0]):
        mask   = int(rng.integers(1, 1 << config.positions))
        chosen = [p for p in range(config.positions) if mask >> p & 1]
        # Few different values: ties. Extremes: the comparison is signed and as wide as the sums.
        low, high = [(-2, 3), (formats.ACC.min, formats.ACC.max + 1), (-1, 0)][turn % 3]
        sums = rng.integers(low, high, (config.positions, int(rng.choice([1, 2, 30]))))
        sums[rng.random(sums.shape) < 0.2] = [formats.ACC.min, formats.ACC.max, -3][turn % 3]
        dut.mask.value = mask
        rows = [sums_layout(config).const([int(x) for x in row]).as_value().value
                for row in sums.T]
        await streams.put(dut, "i", rows, duty=duty, seed=turn)
        golden.take(sums[chosen], chosen)
        dut.emit.value = 1
        (word,) = await streams.get(dut, "tokens", 1, duty=0.5, seed=turn)
        dut.emit.value = 0
        tokens = tokens_layout(config).from_bits(word)
        assert tokens.mask == mask
        assert list(tokens.ids) == golden.ids.tolist()
        golden.clear()
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=200, timeout_unit="us")
async def rows_that_were_found_are_tokens(dut):
    """As Draw finds them: no sums come, the last row of a position counts."""
    given  = parameters()
    config = Config(**given["config"])
    rng    = np.random.default_rng(given["seed"])
    for name in ("i__payload", "i__valid", "mask", "emit", "found", "found_row",
                 "tokens__ready"):
        getattr(dut, name).value = 0
    await streams.start(dut)
    for turn in range(3 * config.positions):
        mask = 1 << turn % config.positions | int(rng.integers(1 << config.positions))
        ids  = [0] * config.positions
        dut.mask.value = mask
        for p in [*range(config.positions), *rng.integers(config.positions, size=12).tolist()]:
            found = (1 << p | int(rng.integers(1 << config.positions))) & mask
            row   = int(rng.integers(1 << 24))
            ids   = [row if found >> at & 1 else id for at, id in enumerate(ids)]
            dut.found.value, dut.found_row.value = found, row
            await FallingEdge(dut.clk)
        dut.found.value = 0
        for _ in range(2):              # as hw.sample.draw's `busy` has it
            await FallingEdge(dut.clk)
        dut.emit.value = 1
        (word,) = await streams.get(dut, "tokens", 1, duty=0.5, seed=turn)
        dut.emit.value = 0
        tokens = tokens_layout(config).from_bits(word)
        assert (tokens.mask, list(tokens.ids)) == (mask, ids)
        await FallingEdge(dut.clk)
