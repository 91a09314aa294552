from dataclasses import asdict

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.control.sequencer import Sequencer
from tests.verilog import run_bench, simulated


# Small register files make conflicts, large ones make room to run ahead.
@simulated("shape, seeds", [
    ({"registers": 16, "register_elements": 16, "code_registers": 8}, [1]),
    ({"registers": 128, "register_elements": 16, "code_registers": 256, "positions": 8,
      "memory_bits": 128, "lanes": 80}, [4]),
    ({"registers": 32, "register_elements": 16, "code_registers": 32, "positions": 2,
      "memory_bits": 64, "lanes": 160}, [5]),
], icarus_too=[2])
def test_program_runs_in_dependence_order(simulator, shape, seeds):
    config = Config(memory_bytes=1 << 20, program_words=512, **shape)
    run_bench(Sequencer(config=config), "cocotb_sequencer", simulator, config=asdict(config),
              seeds=seeds)
