"""Blocks that rest: the same in every cycle, with and without the edges that they leave out."""

import numpy as np
import pytest

from tern_fpga.sim.host import conversation
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.campaigns.programs import machines
from tests.campaigns.programs.generate import draw
from tests.compiled import random_image
from tests.sim.test_sampling import CHOICES, EIGHT, PROMPTS


QUEUES = ("memory", "vector", "array", "drain")


def history(image, talk, **options):
    """All that can be seen of a core while ``talk(machine)`` uses it."""
    machine = RtlMachine(image, **options)
    try:
        for path in (*sorted(machine.state_machines), ("sequencer", "pc"), ("sequencer", "done"),
                     *(("sequencer", f"{queue}__{part}") for queue in QUEUES
                       for part in ("valid", "ready"))):
            machine.watch(*path)
        talk(machine)
        machine.settle()
        seen = {name: getattr(machine, name) for name in (
            "total_cycles", "words_read", "words_written", "tokens", "logits", "counters", "sums",
            "saturated", "v", "q", "s", "r", "pc", "changes")}
        return seen | {"memory": machine.memory.copy()}
    finally:
        machine.close()


def assert_alike(image, talk, **options):
    rests, never = (history(image, talk, gated=gated, **options) for gated in (True, False))
    assert len(never["changes"]) > 100
    for name, expected in never.items():
        np.testing.assert_equal(rests[name], expected, err_msg=name)


@pytest.mark.parametrize("name", machines.SHIPPED)
@pytest.mark.parametrize("number", range(4))
def test_random_programs(name, number):
    program, _, _ = draw(machines.CONFIGS[name], seed=f"rest {name} {number}")
    pace = program.pace

    def talk(machine):
        for words in program.send or ((),):
            machine.send(words)
            machine.run()
            machine.clock(1000)         # all of it rests before more comes

    assert_alike(program.image(), talk, seed=pace.seed, latency=pace.latency, gap=pace.gap,
                 busy=pace.busy)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return random_image(tmp_path_factory.mktemp("rest") / "model", EIGHT, hidden=40, inner=72,
                        layers=2, vocab=200)


def start_streams(machine, config):
    for slot, (prompt, choice) in enumerate(zip(PROMPTS, CHOICES)):
        machine.send(conversation(config, prompt, 4 + 2 * slot, slot=slot, sampling=choice))


# With the largest gap, sums are longer apart than a block goes on by itself.
@pytest.mark.parametrize("logits, gap", [(False, 30), (True, 30), (False, 250)])
def test_streams_that_join_and_leave(image, logits, gap):
    def talk(machine):
        start_streams(machine, image.config)
        machine.run(tokens=9)
        machine.clock(12345)
        machine.send(conversation(image.config, PROMPTS[3], 3, slot=0, sampling=CHOICES[2]))
        machine.run()

    assert_alike(image, talk, logits=logits, seed=3, gap=gap, busy=20)


@pytest.mark.parametrize("cycles", [5, 700, 2600, 7001])
def test_a_stop_at_any_moment(image, cycles):
    def talk(machine):
        start_streams(machine, image.config)
        machine.clock(cycles)
        machine.stop()
        machine.clock(300)
        machine.start()
        machine.send(conversation(image.config, PROMPTS[1], 3, sampling=CHOICES[0]))
        machine.run()

    assert_alike(image, talk)


def test_single_steps(image):
    def talk(machine):
        machine.send(conversation(image.config, PROMPTS[0], 2))
        while machine.step() == "running":
            machine.clock(200)

    assert_alike(image, talk, single_step=True)
