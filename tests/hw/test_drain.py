from dataclasses import asdict

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.array.drain import SumDrain
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("shape, seed", [
    ({"positions": 1, "vector_lanes": 1, "significand": 8, "exponent": 5}, 1),
    ({"positions": 8, "vector_lanes": 4}, 2),
    ({"positions": 2, "vector_lanes": 2, "significand": 24, "exponent": 8}, 3),
])
def test_rtl_equals_golden(simulator, shape, seed):
    config = Config(register_elements=16, **shape)
    drain = SumDrain(config=config)
    run_bench(drain, "cocotb_drain", simulator, config=asdict(config), seed=seed,
              latency=drain.latency)
