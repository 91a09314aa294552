# amaranth: UnusedElaboratable=no

import pytest

from tern_fpga.hw.array.unpacker import TritUnpacker
from tests.verilog import over_simulators, run_bench


@over_simulators
@pytest.mark.parametrize("lanes, seed", [(5, 1), (40, 2)])
def test_rtl_equals_golden(simulator, lanes, seed):
    run_bench(TritUnpacker(lanes=lanes), "cocotb_unpacker", simulator, lanes=lanes, seed=seed,
              latency=TritUnpacker.LATENCY)


def test_latency_is_as_documented():
    assert TritUnpacker.LATENCY == 5


@pytest.mark.parametrize("lanes", [0, -5, 12, "10"])
def test_bad_lanes_are_refused(lanes):
    with pytest.raises(ValueError, match="lanes must be a positive multiple of 5"):
        TritUnpacker(lanes=lanes)
