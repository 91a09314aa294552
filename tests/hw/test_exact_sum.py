import pytest

from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.common.exact_sum import Absmax, ExactSum
from tests.verilog import over_simulators, run_bench


def run(block, statistic, simulator, significand, exponent, lanes, latency, bound=False):
    run_bench(block, "cocotb_exact_sum", simulator, statistic=statistic, significand=significand,
              exponent=exponent, lanes=lanes, seed=1, latency=latency, bound=bound)


@over_simulators
@pytest.mark.parametrize("significand, exponent, lanes, bound", [
    (12, 6, 1, False), (8, 5, 2, False), (17, 7, 4, False), (24, 8, 8, True), (12, 6, 8, True),
])
def test_sum_of_squares_equals_golden(simulator, significand, exponent, lanes, bound):
    block = ExactSum(fmt=Float(significand, exponent), lanes=lanes)
    run(block, "sumsq", simulator, significand, exponent, lanes, block.latency, bound)


@over_simulators
@pytest.mark.parametrize("significand, exponent, lanes", [(12, 6, 4), (8, 5, 1)])
def test_largest_magnitude_equals_golden(simulator, significand, exponent, lanes):
    block = Absmax(fmt=Float(significand, exponent), lanes=lanes)
    run(block, "absmax", simulator, significand, exponent, lanes, block.latency)
