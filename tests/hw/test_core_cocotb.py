"""The whole core with the memory model, at its ports."""

import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl.machine import top_sources
from tests.compiled import random_image
from tests.verilog import run_verilog, simulated


CONFIG = Config(memory_bytes=1 << 16, lanes=20, positions=2, vector_lanes=2, registers=64,
                register_elements=16, code_registers=16, accumulator_rows=32,
                prefetch_words=64, program_words=256)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("core")
    image = random_image(folder, CONFIG, hidden=41, inner=33, layers=2, vocab=53)
    image.save(folder / "image")
    return folder / "image", image


@simulated("seed, latency, gap, busy, duty", [(1, 2, 0, 0, 1.0), (2, 40, 100, 100, 0.4)],
           icarus_too=[1])
def test_tokens_over_the_ports(image, simulator, seed, latency, gap, busy, duty):
    folder, image = image
    messages = [*host.conversation(CONFIG, [1, 52, 7], 3, slot=1),
                *host.conversation(CONFIG, [9], 2, slot=0)]
    golden = Machine(image)
    golden.send(messages)
    golden.run()
    run_verilog(top_sources(CONFIG, image.words), "top", "cocotb_core", simulator,
                image=str(folder), messages=messages, tokens=golden.tokens, seed=seed,
                latency=latency, gap=gap, busy=busy, duty=duty)
