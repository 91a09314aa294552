from dataclasses import asdict

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.sample.draw import Draw
from tests.verilog import run_bench, simulated


@simulated("shape, seeds, turns", [
    ({"positions": 1, "significand": 24, "exponent": 8}, [1], 6),
    ({"positions": 8}, [2], 8),
    ({"positions": 2}, [3], 4),
], icarus_too=[2])
def test_rtl_equals_golden(simulator, shape, seeds, turns):
    config = Config(**shape)
    tokens = 128        # fewer than there are rows, and quickly forgotten
    run_bench(Draw(config=config, seen_tokens=tokens), "cocotb_draw", simulator,
              config=asdict(config), seeds=seeds, turns=turns, latency=Draw.latency,
              seen_tokens=tokens)
