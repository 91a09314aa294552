import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.vector.vector import VectorUnit
from tests.verilog import over_simulators, run_bench


# Registers of few elements, so that vectors of all lengths cross them.
SMALL = dict(memory_bytes=1 << 12, registers=32, register_elements=16, code_registers=8)


@over_simulators
@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("config", [
    dict(vector_lanes=2, positions=1, significand=12, exponent=6),
    dict(vector_lanes=1, positions=4, significand=8, exponent=5),
    dict(vector_lanes=4, positions=8, significand=17, exponent=7),
    dict(vector_lanes=2, positions=2, significand=24, exponent=8),
], ids=lambda config: "-".join(map(str, config.values())))
def test_rtl_equals_golden(simulator, config, seed):
    config = {**SMALL, **config}
    run_bench(VectorUnit(config=Config(**config)), "cocotb_vector", simulator, config=config,
              seed=seed, steps=3)
