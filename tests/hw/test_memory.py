# amaranth: UnusedElaboratable=no
"""MemoryArbiter and the memory model: ``rtl == golden`` on their Verilog."""

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.common.ram import Queue
from tern_fpga.hw.memory.memory import Bursts, MemoryArbiter
from tests.firmware.board import run_on_board
from tests.verilog import over_simulators


@over_simulators
@pytest.mark.parametrize("clients, memory_bits", [(("transfer", "fetch", "weights"), 16),
                                                  (("host", "weights"), 128)])
def test_arbiter(clients, memory_bits, simulator):
    config = Config(memory_bits=memory_bits, lanes=10 * memory_bits // 16)
    run_on_board(MemoryArbiter(config=config, clients=clients), config, "cocotb_memory", simulator,
                 port="memory", depth=2048, clients=list(clients))


@pytest.mark.parametrize("longest", [0, 3, 128])
def test_bad_burst_is_refused(longest):
    with pytest.raises(ValueError, match="power of two from 1 to 64"):
        Bursts(config=Config(), words_bits=16, longest=longest)


def test_room_for_less_than_a_burst_is_refused():
    with pytest.raises(ValueError, match="room must be at least a burst of 64, not 63"):
        Bursts(config=Config(), words_bits=16, room=63)


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_bad_queue_depth_is_refused(depth):
    with pytest.raises(ValueError, match="power of two from 2 on"):
        Queue(shape=8, depth=depth)
