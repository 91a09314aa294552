"""Random programs at full speed, and step by step: RTL equals golden."""

import pytest

from assembler.config import Config
from sim.golden.machine import Machine
from sim.lockstep import Lockstep
from sim.rtl import RtlMachine
from tests import random_program


CONFIGS = {
    "narrow": Config(memory_bytes=1 << 15, lanes=10, positions=1, vector_lanes=1, registers=32,
                     register_elements=16, code_registers=16, accumulator_rows=16,
                     prefetch_words=64, program_words=256),
    "wide":   Config(memory_bits=64, memory_bytes=1 << 16, lanes=40, positions=4, vector_lanes=8,
                     significand=16, exponent=8, registers=32, register_elements=32,
                     code_registers=16, accumulator_rows=32, prefetch_words=64,
                     program_words=256),
}
over_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def run_both(config, length, program, **options):
    image, words = random_program.make(config, length=length, seed=program)
    golden, rtl = Machine(image), RtlMachine(image, **options)
    for machine in (golden, rtl):
        machine.send(words)
        assert machine.run() == "waiting"
    assert rtl.tokens == golden.tokens
    for name in "vqs":
        assert (getattr(rtl, name) == getattr(golden, name)).all(), name
    assert rtl.r == golden.r and rtl.saturated == golden.saturated
    assert (rtl.memory[:len(golden.memory)] == golden.memory).all()
    assert rtl.sums in golden.weights.sums_ahead()


@over_configs
@pytest.mark.parametrize("seed", range(6))
def test_at_full_speed(config, seed):
    run_both(config, 200, seed, seed=seed, latency=2 + 9 * (seed % 4), gap=50 * (seed % 3),
             busy=40 * (seed % 3))


@over_configs
@pytest.mark.parametrize("seed", [100])
def test_step_by_step(config, seed):
    image, words = random_program.make(config, length=120, seed=seed)
    pair = Lockstep(image)
    pair.send(words)
    difference = pair.run()
    assert difference is None, str(difference)
