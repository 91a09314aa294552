"""The simulated board itself: builds, state access, errors."""

from multiprocessing import get_context
import time

import numpy as np
import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.files.image import Image, Section
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl import machine as rtl, verilate
from tern_fpga.sim.rtl.machine import Hang, RtlMachine
from tests.campaigns.test_random_programs import CONFIGS
from tests.compiled import random_image


# The same machine as in tests/campaigns/test_random_programs.py: one build for both.
TINY = CONFIGS["narrow"]


def image_of(config, words):
    """An image with nothing but this program at address 0."""
    data = b"".join(word.to_bytes(isa.WORD_BITS // 8, "little") for word in words)
    section = Section("program", 0, len(data), np.frombuffer(data, np.uint8))
    return Image(config, [section], 0, len(words))


@pytest.mark.parametrize("width, count", [(8, 1), (18, 1), (18, 4), (32, 8), (17, 8), (13, 4)])
def test_fields_are_cut_at_any_width(width, count):
    rng = np.random.default_rng(0)
    expected = rng.integers(0, 1 << width, (5, count))
    rows = [sum(int(value) << n * width for n, value in enumerate(row)) for row in expected]
    if width * count <= 64:
        packed = np.array(rows, np.uint64)[:, None]
    else:
        packed = np.array([[row >> 32 * k & 0xffffffff for k in range(-(-width * count // 32))]
                           for row in rows], np.uint32)
    assert (rtl._fields(packed, width, count) == expected).all()


def _build(folder, counter):
    def build(aside):
        with counter.get_lock():
            counter.value += 1
        (aside / "whole").write_text("yes", encoding="utf-8")
    assert (verilate.once(folder, build) / "whole").read_text(encoding="utf-8") == "yes"


def test_two_at_a_time_build_once(tmp_path):
    context = get_context("spawn")
    counter = context.Value("i", 0)
    processes = [context.Process(target=_build, args=(tmp_path / "key", counter))
                 for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert counter.value == 1


def _build_badly(folder, marker, failures):
    """Build until it works; each build is alone, and the first few fail."""
    def build(aside):
        marker.touch(exist_ok=False)
        time.sleep(0.02)
        marker.unlink()
        with failures.get_lock():
            failures.value -= 1
            if failures.value >= 0:
                raise RuntimeError("compiler error")

    while True:
        try:
            verilate.once(folder, build)
            return
        except RuntimeError:
            pass


def test_builds_that_fail_are_one_at_a_time_too(tmp_path):
    context = get_context("spawn")
    failures = context.Value("i", 40)
    processes = [context.Process(target=_build_badly,
                                 args=(tmp_path / "key", tmp_path / "marker", failures))
                 for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert failures.value == -1 and [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_failed_build_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "half").write_text("", encoding="utf-8")
        raise RuntimeError("compiler error")

    with pytest.raises(RuntimeError, match="compiler error"):
        verilate.once(tmp_path / "key", build)
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_halts_halts():
    machine = RtlMachine(image_of(TINY, [isa.encode("set", r=3, imm=77), isa.encode("halt")]))
    assert machine.run() == "halted"
    assert machine.r[3] == 77


_EMPTY_LOAD = isa.encode("load", dst=isa.Operand(isa.Space.V, 0), n=1, r=0, address=0,
                         pitch=0) - (1 << isa.N.lo)
_NO_BLOCKS = isa.encode("matmul", dst=isa.Operand(isa.Space.V, 0), q=0,
                        a=isa.Operand(isa.Space.S, 0), rows=1, blocks=1) - (1 << isa.BLOCKS.lo)


@pytest.mark.parametrize("word", [0x3f << isa.OPCODE.lo, _EMPTY_LOAD, _NO_BLOCKS])
def test_what_does_not_exist_is_a_fault(word):
    machine = RtlMachine(image_of(TINY, [isa.encode("set", r=1, imm=3), word]))
    assert machine.run() == "fault"
    assert machine.pc == 1


def test_a_hang_names_the_instruction():
    word = isa.encode("matmul", dst=isa.Operand(isa.Space.V, 1), q=0,
                      a=isa.Operand(isa.Space.S, 1), rows=4, blocks=1)
    machine = RtlMachine(image_of(TINY, [word, isa.encode("halt")]))
    with pytest.raises(Hang, match="instruction 1"):      # `halt` waits for the matmul
        machine.run(idle=20_000)


def test_a_burst_outside_the_memory_is_an_error(capfd):
    word = isa.encode("load", dst=isa.Operand(isa.Space.U, 1), n=16, r=0,
                      address=TINY.memory_words - 8, pitch=0)
    machine = RtlMachine(image_of(TINY, [word, isa.encode("halt")]))
    with pytest.raises(RuntimeError, match="check in the simulated Verilog"):
        machine.run()
    assert "memory: a burst" in capfd.readouterr().out


@pytest.fixture(scope="module")
def talker(tmp_path_factory):
    """An image whose layers store their states, a conversation, and its tokens."""
    image = random_image(tmp_path_factory.mktemp("talker"), TINY, hidden=30, inner=25, layers=12,
                         vocab=30)
    assert "store" in {isa.decode(word)[0] for word in image.instructions()}
    words = host.conversation(TINY, [1, 5, 7], 3)
    golden = Machine(image)
    golden.send(words)
    assert golden.run() == "waiting"
    return image, words, golden.tokens


def talk(machine, words):
    """Tokens of a conversation, to its end."""
    before = len(machine.tokens)
    machine.send(words)
    assert machine.run() == "waiting"
    return machine.tokens[before:]


def at_any_time(machine, words, rng):
    machine.send(words)
    machine.clock(int(rng.integers(0, 60_000)))


def at_the_start(machine, words, rng):
    machine.clock(int(rng.integers(0, 300)))        # the program is on its way


def in_a_store(machine, words, rng):
    machine.send(words)
    wanted = machine.words_written + int(rng.integers(1, 200))
    while machine.words_written < wanted:
        machine.clock(1)


def in_the_weights(machine, words, rng):
    machine.send(words)
    beats = machine.array_beats + int(rng.integers(1, 4000))
    while machine.array_beats < beats:
        machine.clock(3)


def at_rest(machine, words, rng):
    talk(machine, words)


def in_a_message(machine, words, rng):
    machine.send(words[:2])
    machine.run()


@pytest.mark.parametrize("pace", [{}, {"latency": 30, "gap": 100, "busy": 100}],
                         ids=["fast", "slow"])
def test_a_stopped_core_starts_as_a_fresh_one(talker, pace):
    image, words, tokens = talker
    rng = np.random.default_rng(len(pace))
    machine = RtlMachine(image, seed=1, **pace)
    for moment in (at_any_time, at_the_start, in_a_store, in_the_weights, at_rest,
                   in_a_message) * 2:
        moment(machine, words, rng)
        machine.stop()
        if rng.random() < 0.5:
            machine.clock(int(rng.integers(0, 200)))
            assert not machine._get("status")
        machine.start()
        assert talk(machine, words) == tokens, moment.__name__
