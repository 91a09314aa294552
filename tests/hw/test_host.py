from dataclasses import asdict

from tern_fpga.assembler.contract.config import preset
from tern_fpga.hw.control.host import HostRegisters
from tests.verilog import over_simulators, run_bench


@over_simulators
def test_registers_do_as_their_table_says(simulator):
    config = preset("ulx3s-85f")
    run_bench(HostRegisters(config=config), "cocotb_host", simulator, config=asdict(config))
