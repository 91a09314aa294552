"""The compiler's estimate against the RTL: three per cent, from one stream to all positions."""

import numpy as np
import pytest

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.compiler.costs import vector_cycles
from tern_fpga.assembler.compiler.estimate import Memory, estimate, memory_of
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.files.image import Image, Section
from tern_fpga.sim import host
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.compiled import CONFIGS, TINY_A, compiled


WARM_UP, TOKENS = 2, 4


def measured(image, live, **options):
    """Mean cycles of a step of ``live`` streams in steady state."""
    machine = RtlMachine(image, **options)
    for slot in range(live):
        machine.send(host.conversation(image.config, [1 + slot], WARM_UP + TOKENS, slot=slot))
    machine.run(tokens=WARM_UP * live)
    start = machine.total_cycles
    machine.run(tokens=(WARM_UP + TOKENS) * live)
    return (machine.total_cycles - start) / TOKENS


@pytest.mark.parametrize("live", ["one stream", "all positions"])
@pytest.mark.parametrize("name", CONFIGS)
def test_estimate_is_within_three_per_cent_of_the_rtl(name, live):
    image = compiled(TINY_A, CONFIGS[name])
    streams = 1 if live == "one stream" else image.config.positions
    assert estimate(image, live=streams)[0] == pytest.approx(measured(image, streams), rel=0.03)


def run_cycles(config, body, count, live):
    """Cycles of a program with ``body`` as often, in a prompt step."""
    source = f"const s1, 1.0\nconst s2, 2.0\nnext\n{body * count}halt\n"
    words = text.assemble(source, config, "test").words
    data = np.frombuffer(b"".join(word.to_bytes(16, "little") for word in words), np.uint8)
    machine = RtlMachine(Image(config, [Section("program", 0, len(data), data)], 0, len(words)))
    machine.send(host.prompt(config, [1] * live))
    assert machine.run() == "halted"
    return machine.cycles


@pytest.mark.parametrize("name, live", [("narrow", 1), ("many", 8)])
def test_vector_instructions_take_what_the_estimate_says(name, live):
    """Two and three operands from vector registers take a row a cycle, as one does."""
    config = CONFIGS[name]
    for body in ("mul v4, v8, s1, n=96", "mul v4, v8, v12, n=96, absmax=s3", "div s3, s1, s2",
                 "fma v4, v8, v12, v16, n=96", "silu v4, v8, n=96", "quant q4, v8, s1, n=96",
                 "scan v4, v8, v12, v16, n=96", "mul s3, s1, s2, n=1", "const s3, 1.0"):
        many, few = (run_cycles(config, body + "\n", count, live) for count in (10, 4))
        program = isa.WORD_BITS / config.memory_bits        # cycles to fetch an instruction
        word, = text.assemble(body, config, "test").words
        cycles = vector_cycles(*isa.decode(word), config, live, chain=True)
        assert (many - few) / 6 - program == pytest.approx(cycles, abs=2), body


def test_refreshes_take_their_share():
    # 8 refreshes in 8 of 781 cycles: tRP, 8 tRFC, tRCD and 5 more.
    assert memory_of("ulx3s-85f").share == pytest.approx(1 - (3 + 8 * 7 + 3 + 5) / (8 * 781))
    assert memory_of("orangecrab-85f") == Memory(share=1)


def test_slower_memory_means_more_cycles():
    image = compiled(TINY_A, CONFIGS["narrow"])
    whole, words = estimate(image)
    half, same = estimate(image, memory=Memory(share=0.5))
    assert same == words
    assert half > 1.7 * whole > 1.7 * words
