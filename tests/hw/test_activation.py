import pytest

from tern_fpga.assembler.contract.formats import Float
from tern_fpga.hw.vector.activation import Activation
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("significand, exponent", [(12, 6), (8, 5), (15, 6), (18, 6), (24, 8)])
def test_rtl_equals_golden(simulator, significand, exponent):
    run_bench(Activation(fmt=Float(significand, exponent)), "cocotb_activation", simulator,
              significand=significand, exponent=exponent, seed=1)
