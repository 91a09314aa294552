"""Soc: its lights; all else of it is test_board.py's."""

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.soc import Soc
from tests.verilog import run_bench


CONFIG = Config(memory_bytes=1 << 12, lanes=10, registers=16, register_elements=16,
                code_registers=4, accumulator_rows=16, prefetch_words=64, program_words=16)


def test_a_request_lights_active_for_a_while():
    soc = Soc(config=CONFIG, clock_hz=100_000_000, baud=25_000_000, name="bench")
    run_bench(soc, "cocotb_soc", "verilator")
