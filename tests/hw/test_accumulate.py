from dataclasses import asdict

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.array.accumulate import TernaryAccumulate
from tests.verilog import over_simulators, run_bench


def run(simulator, config, **given):
    run_bench(TernaryAccumulate(config=config), "cocotb_accumulate", simulator,
              config=asdict(config), **given)


@over_simulators
@pytest.mark.parametrize("lanes, positions, seed", [(10, 8, 1), (20, 1, 2)])
def test_rtl_equals_golden(simulator, lanes, positions, seed):
    run(simulator, Config(lanes=lanes, positions=positions, accumulator_rows=16), seed=seed,
        only="sums_equal_golden")


@over_simulators
def test_longest_rows_do_not_overflow(simulator):
    run(simulator, Config(lanes=40, accumulator_rows=16),
        only="longest_rows_reach_the_bound")
