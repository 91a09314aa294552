"""VectorMemory: ``rtl == golden`` on its Verilog."""

from dataclasses import asdict

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.vector.memory import VectorMemory
from tests.verilog import over_simulators, run_bench


CASES = {
    "small":  (Config(vector_lanes=1, registers=16, register_elements=16), "abc", ("w",)),
    "wide":   (Config(vector_lanes=4, positions=2, registers=32, register_elements=16,
                      significand=24, exponent=8), ("a", "b", "c", "store"),
               ("result", "drain", "load")),
    "sliced": (Config(vector_lanes=2, positions=8, registers=64, register_elements=64), "abc",
               ("result", "drain")),
}


@over_simulators
@pytest.mark.parametrize("case", CASES)
def test_vector_memory(case, simulator):
    config, readers, writers = CASES[case]
    run_bench(VectorMemory(config=config, readers=readers, writers=writers),
              "cocotb_vector_memory", simulator, config=asdict(config), readers=list(readers),
              writers=list(writers), latency=7)
