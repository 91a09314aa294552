"""Whole tokens: the RTL equals the golden machine after every instruction."""


import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.sim import host
from tern_fpga.sim.commands.lockstep import Lockstep
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.compiled import CONFIGS, TINY_A, compiled, random_image


over_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)

# No width is a multiple of 5, of the lanes, of a row or of a memory word.
ODD = Config(memory_bits=32, memory_bytes=1 << 18, lanes=20, positions=2, vector_lanes=4,
             significand=11, exponent=6, registers=64, register_elements=16, code_registers=32,
             accumulator_rows=16, prefetch_words=64, program_words=256)
ODD_SHAPES = [{"hidden": 37, "inner": 53, "layers": 2, "vocab": 101},
              {"hidden": 43, "inner": 29, "layers": 3, "vocab": 67, "lower_bounds": False}]


def equal(image, words, **options):
    pair = Lockstep(image, **options)
    pair.send(words)
    difference = pair.run()
    assert difference is None, str(difference)
    return pair.golden.tokens


@over_configs
def test_all_registers_after_every_instruction(config):
    image = compiled(TINY_A, config)
    ids = [(7 * n + 1) % 256 for n in range(config.positions + 3)]     # a whole and a part chunk
    assert len(equal(image, host.conversation(config, ids, 4))) == 4


@pytest.mark.parametrize("shape", ODD_SHAPES, ids=["bounded", "unbounded"])
def test_odd_shapes(shape, tmp_path):
    image = random_image(tmp_path, ODD, **shape)
    equal(image, host.conversation(ODD, [1, 66, 5], 4), seed=3, latency=23, gap=60, busy=40)


@over_configs
def test_sixteen_generated_ids(config):
    """At full speed, units overlapping: tokens, and what all registers hold at the end."""
    image = compiled(TINY_A, config)
    words = host.conversation(config, [1, 2, 3], 16)
    golden, rtl = Machine(image), RtlMachine(image, seed=5, gap=20, busy=20)
    for machine in (golden, rtl):
        machine.send(words)
        assert machine.run() == "waiting"
    assert rtl.tokens == golden.tokens and len(rtl.tokens) == 16
    for name in "vqs":
        assert (getattr(rtl, name) == getattr(golden, name)).all(), name
    assert rtl.r == golden.r and rtl.array_beats == golden.array_beats


@pytest.mark.parametrize("seed", [1, 2])
def test_streams_join_and_leave(seed):
    config = CONFIGS["many"]          # of eight positions
    image = compiled(TINY_A, config)
    golden, rtl = Machine(image), RtlMachine(image, seed=seed, latency=30, gap=80, busy=80)
    rounds = [
        host.conversation(config, [5], 3, slot=4) + host.conversation(config, [9, 8], 5, slot=2),
        host.conversation(config, list(range(1, 11)), 2, slot=5)
        + [message(MessageKind.STOP_TOKEN, 0, golden_stop_token(image))],
        host.conversation(config, [200, 100], 4, slot=6)
        + host.conversation(config, [3], 4, slot=7),
    ]
    for words in rounds:
        for machine in (golden, rtl):
            machine.send(words)
            assert machine.run() == "waiting"
        assert rtl.tokens == golden.tokens


def golden_stop_token(image):
    """A token that the first stream of the last round would sample second."""
    machine = Machine(image)
    machine.send(host.conversation(image.config, [200, 100], 2, slot=0))
    machine.run()
    return machine.tokens[-1] & 0xffffff


def test_logits_are_the_golden_machines():
    config = CONFIGS["wide"]
    image = compiled(TINY_A, config)
    words = host.prompt(config, [1, 2, 3, 4, 5, 6], every=True)
    golden, rtl = Machine(image, logits=True), RtlMachine(image, logits=True)
    for machine in (golden, rtl):
        machine.send(words)
        machine.run()
    assert [a.tolist() for a in rtl.logits] == [a.tolist() for a in golden.logits]


def test_the_first_difference_is_found():
    image = compiled(TINY_A, CONFIGS["narrow"])
    pair = Lockstep(image)
    pair.golden.memory = pair.golden.memory.copy()
    section = image.section("parameters")
    pair.golden.memory[section.address * image.config.word_bytes + 1] ^= 1
    pair.send(host.conversation(image.config, [1], 1))
    difference = pair.run()
    assert difference is not None
    assert difference.text.split()[0] == "load"
    assert difference.where.startswith("v") and "element" in difference.where
    assert difference.line is not None


def test_an_image_for_another_machine_is_refused():
    machine = RtlMachine(compiled(TINY_A, CONFIGS["wide"]))
    with pytest.raises(RuntimeError, match="config"):
        machine._identify(CONFIGS["narrow"])
