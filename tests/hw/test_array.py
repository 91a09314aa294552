# amaranth: UnusedElaboratable=no

from dataclasses import asdict

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.array.array import ArrayUnit
from tern_fpga.hw.array.codes import ColumnLoader
from tests.verilog import run_bench, simulated


SMALL = {"memory_bytes": 1 << 16, "registers": 32, "register_elements": 16, "code_registers": 32,
         "accumulator_rows": 32}


@simulated("shape, seeds", [
    ({"lanes": 10, "positions": 1, "vector_lanes": 1}, [1, 2]),
    ({"lanes": 20, "positions": 2, "vector_lanes": 4, "significand": 8, "exponent": 5}, [3]),
    ({"lanes": 40, "positions": 4, "vector_lanes": 2, "significand": 24, "exponent": 8}, [5]),
    ({"lanes": 20, "positions": 8, "vector_lanes": 4}, [6]),
], icarus_too=[1])
def test_rtl_equals_golden(simulator, shape, seeds):
    config = Config(**SMALL, **shape)
    unit = ArrayUnit(config=config)
    run_bench(unit, "cocotb_array", simulator, config=asdict(config), seeds=seeds,
              latency=unit.latency, period=ColumnLoader.period(config, 1))
