# amaranth: UnusedElaboratable=no
"""The memory port between two clocks: every word arrives, once, in order, at full rate."""

from dataclasses import asdict

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.memory.crossing import MemoryCrossing
from tests.verilog import run_bench, simulated


@simulated("core_bits, memory_bits, periods", [
    (32, 16, [7500, 5002, 11_000, 23_456]), (16, 16, [10_000, 13_002]), (64, 16, [3002])],
    icarus_too=[1])
def test_crossing(simulator, core_bits, memory_bits, periods):
    """Periods of the memory in ps; the core's is 10 ns."""
    config = Config(memory_bits=core_bits, lanes=core_bits // 8 * 5, memory_bytes=1 << 16,
                    vector_lanes=1)
    run_bench(MemoryCrossing(config=config, memory_bits=memory_bits), "cocotb_crossing", simulator,
              config=asdict(config), memory_bits=memory_bits, periods=periods)


def test_words_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="cannot be cut"):
        MemoryCrossing(config=Config(memory_bits=16), memory_bits=32)
