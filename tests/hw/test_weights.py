"""WeightStream: ``rtl == golden`` on its Verilog."""


from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.memory.weights import WeightStream
from tests.firmware.board import run_on_board
from tests.verilog import simulated


@simulated("memory_bits, lanes, prefetch_words", [
    (16, 10, 64), (16, 20, 64), (16, 40, 256), (64, 80, 1024), (128, 80, 256),
], icarus_too=[1])
def test_weights(memory_bits, lanes, prefetch_words, simulator):
    config = Config(memory_bits=memory_bits, lanes=lanes, prefetch_words=prefetch_words)
    run_on_board(WeightStream(config=config), config, "cocotb_weights", simulator, port="port",
                 depth=2048)
