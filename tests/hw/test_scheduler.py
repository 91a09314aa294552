from dataclasses import asdict

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.control.scheduler import Scheduler
from tests.verilog import run_bench, simulated


@simulated("positions", [1, 2, 4, 8], icarus_too=[1])
def test_rtl_equals_golden(simulator, positions):
    config = Config(positions=positions)
    run_bench(Scheduler(config=config), "cocotb_scheduler", simulator, config=asdict(config),
              seeds=[positions, 10 + positions])
