"""The simulated board itself: builds, state access, errors."""

from multiprocessing import get_context

import numpy as np
import pytest

from assembler import isa
from assembler.image import Image, Section
from sim import rtl, verilate
from sim.rtl import Hang, RtlMachine
from tests.test_random_programs import CONFIGS


# The same machine as in tests/test_random_programs.py: one build for both.
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
        (aside / "whole").write_text("yes")
    assert (verilate.once(folder, build) / "whole").read_text() == "yes"


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


def test_a_failed_build_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "half").write_text("")
        raise RuntimeError("compiler error")

    with pytest.raises(RuntimeError, match="compiler error"):
        verilate.once(tmp_path / "key", build)
    assert [path.name for path in tmp_path.iterdir()] == [".key.lock"]


def test_a_program_that_halts_halts():
    machine = RtlMachine(image_of(TINY, [isa.encode("set", r=3, imm=77), isa.encode("halt")]))
    assert machine.run() == "halted"
    assert machine.r[3] == 77


def test_an_unknown_instruction_is_a_fault():
    machine = RtlMachine(image_of(TINY, [0x3f << 122]))
    assert machine.run() == "fault"


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
