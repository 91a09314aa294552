"""TransferUnit with a vector memory and a memory: ``rtl == golden`` on their Verilog."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.common.signatures import MemoryPort, VectorRead, VectorWrite, connect, step_layout
from tern_fpga.hw.memory.transfer import TransferUnit
from tern_fpga.hw.vector.memory import VectorMemory
from tests.firmware.board import run_on_board
from tests.verilog import simulated


class Bench(wiring.Component):
    """The unit, its vector memory, and a reader and a writer for the bench."""
    def __init__(self, config):
        self.config = config
        super().__init__({
            "i":     In(stream.Signature(isa.WORD_BITS)),
            "step":  In(step_layout(config)),
            "port":  Out(MemoryPort(config)),
            "probe": In(VectorRead(config)),
            "fill":  In(VectorWrite(config)),
            "done":  Out(1),
            "row_taken":  Out(1),
            "word_taken": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.unit = unit = TransferUnit(config=self.config)
        m.submodules.rows = rows = VectorMemory(config=self.config, readers=("probe", "store"),
                                                writers=("fill", "load"))
        connect(m, wiring.flipped(self.i), unit.i)
        connect(m, unit.port, wiring.flipped(self.port))
        connect(m, unit.read, rows.store)
        connect(m, unit.write, rows.load)
        connect(m, wiring.flipped(self.probe), rows.probe)
        connect(m, wiring.flipped(self.fill), rows.fill)
        m.d.comb += [
            unit.step.eq(self.step),
            self.done.eq(unit.done),
            self.row_taken.eq(unit.write.request.valid & unit.write.request.ready),
            self.word_taken.eq(unit.port.write.valid & unit.port.write.ready),
        ]
        return m


CASES = {
    "narrow": Config(memory_bytes=1 << 13, lanes=10, positions=4, vector_lanes=1, significand=9,
                     exponent=5, registers=16, register_elements=16),
    "one":    Config(memory_bytes=1 << 13, vector_lanes=2, registers=16, register_elements=32),
    "usual":  Config(memory_bytes=1 << 13, positions=8, vector_lanes=4, registers=16,
                     register_elements=16),
    "words":  Config(memory_bits=64, memory_bytes=1 << 14, lanes=80, positions=2, vector_lanes=4,
                     registers=16, register_elements=32),
    "broad":  Config(memory_bits=128, memory_bytes=1 << 14, lanes=80, positions=2,
                     vector_lanes=8, significand=24, exponent=8, registers=16,
                     register_elements=32),
}


@simulated("case", CASES, icarus_too=[0, 4])
def test_transfer(case, simulator):
    config = CASES[case]
    run_on_board(Bench(config), config, "cocotb_transfer", simulator, port="port",
                 depth=config.memory_words, seeds=4)
