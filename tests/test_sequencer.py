from dataclasses import asdict

import pytest

from assembler.config import Config
from hw.sequencer import Sequencer
from tests.verilog import over_simulators, run_bench


# Small register files make conflicts, large ones make room to run ahead.
@over_simulators
@pytest.mark.parametrize("shape, seeds", [
    ({"registers": 16, "register_elements": 16, "code_registers": 8}, [1]),
    ({"registers": 128, "register_elements": 16, "code_registers": 256, "positions": 8,
      "memory_bits": 128, "lanes": 80}, [4]),
    ({"registers": 32, "register_elements": 16, "code_registers": 32, "positions": 2,
      "memory_bits": 64, "lanes": 160}, [5]),
])
def test_program_runs_in_dependence_order(simulator, shape, seeds):
    config = Config(memory_bytes=1 << 20, program_words=512, **shape)
    run_bench(Sequencer(config=config), "cocotb_sequencer", simulator, config=asdict(config),
              seeds=seeds)
