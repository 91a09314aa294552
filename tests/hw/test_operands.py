"""Operands: what a word touches, against the golden machine's view of it."""

from dataclasses import asdict

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.control.operands import Operands
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("shape", [
    {"lanes": 20, "positions": 8, "registers": 64, "register_elements": 16, "code_registers": 16},
    {"lanes": 10, "positions": 1, "registers": 16, "register_elements": 64, "code_registers": 64},
])
def test_slots_are_the_registers_of_the_instruction(shape, simulator):
    config = Config(accumulator_rows=16, **shape)
    run_bench(Operands(config=config), "cocotb_operands", simulator, config=asdict(config))
