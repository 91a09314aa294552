import pytest

from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.common.divide import Divide
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("significand, exponent", [(12, 6), (8, 5), (17, 7), (24, 8)])
def test_rtl_equals_golden(simulator, significand, exponent):
    run_bench(Divide(fmt=Float(significand, exponent)), "cocotb_divide", simulator,
              significand=significand, exponent=exponent, seed=1)
