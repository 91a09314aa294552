from dataclasses import asdict

import pytest

from assembler.config import Config
from hw.scheduler import Scheduler
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("positions", [1, 2, 4, 8])
def test_rtl_equals_golden(simulator, positions):
    config = Config(positions=positions)
    run_bench(Scheduler(config=config), "cocotb_scheduler", simulator, config=asdict(config),
              seeds=[positions, 10 + positions])
