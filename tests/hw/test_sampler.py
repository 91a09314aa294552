from dataclasses import asdict

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.sample.sampler import Sampler
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("positions, seed", [(1, 1), (8, 2)])
def test_rtl_equals_golden(simulator, positions, seed):
    config = Config(positions=positions)
    run_bench(Sampler(config=config), "cocotb_sampler", simulator, config=asdict(config),
              seed=seed)
