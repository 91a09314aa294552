"""Inputs of strangers through the command lines, and the checker that watches them."""

import os
import re
import subprocess
import sys
import time

from hypothesis import given, settings, strategies
import numpy as np
import pytest

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware.board import Board
from tern_fpga.sim.golden.link import HostLink
from tests.campaigns.hostile import sandbox
from tests.campaigns.hostile.sandbox import Case, Fifo, Link, Sandbox
from tests.firmware.golden_board import GoldenPort
from tests.verilog import ROOT


CONFIG = Config(memory_bytes=1 << 12, lanes=10, vector_lanes=1)


@pytest.mark.parametrize("seed", [6])
def test_hostile_inputs_behave(seed):
    """300 inputs; some of them in new interpreters too. In a process of its own, for it forks."""
    print(f"seed {seed}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.hostile", "--inputs", "300", "--every", "40",
         "--seed",
         str(seed)], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^300 inputs of seed \d+, 0 misbehaved, \d+ also as processes", done.stdout,
                     re.MULTILINE)


# The checker: what it must find.

@pytest.fixture(scope="module")
def box():
    box = Sandbox({"secret": b"secret"})
    yield box
    box.close()


def _as_main(function):
    """What :class:`Case` calls in the child: the command line becomes ``function``."""
    def prepare():
        sys.modules["tern_fpga.sim.cli"].main = lambda argv: function()
    return prepare


def _raises(error):
    def function():
        raise error
    return function


def _write(path, data=b"x"):
    with open(path, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("function, fault", [
    (_raises(ValueError("what")), "status 1"), (_raises(KeyError("what")), "traceback"),
    (_raises(TernError("of nothing")), "names none of x.json"),
    (lambda: 1, "status 1"), (lambda: 0, "was accepted"),
    (lambda: print("error: x.json\nmore", file=sys.stderr) or 2, "2 lines of errors"),
    (lambda: print("x.json", file=sys.stderr) or 2, "no message"),
    (lambda: print("error: x.json \x1b[2J", file=sys.stderr) or 2, "odd characters"),
    (lambda: _write("stray"), "left box/stray"),
    (lambda: _write("x.json"), "changed box/x.json"),
    (lambda: os.remove("x.json"), "changed box/x.json"),
    (lambda: _write("link"), "changed beside/secret"),
    (lambda: open("link", "rb").close(), "reads .*beside/secret"),
    (lambda: _write("/tmp/hostile-stray", b"") or os.remove("/tmp/hostile-stray"),
     "writes /tmp/hostile-stray"),
    (lambda: os.kill(os.getpid(), 9), "killed by SIGKILL"),
])
def test_checker_finds(box, function, fault):
    outcome = box.run(Case("test", fault, ("sim",), files={"x.json": b"", "link": Link(
        "../beside/secret")}, named=("x.json",), refused=True, prepare=_as_main(function)))
    assert any(re.search(fault, found) for found in outcome.faults), outcome
    box._put(box.root / "beside" / "secret", b"secret")


def test_checker_finds_time_and_memory(box, monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 0)
    monkeypatch.setattr(sandbox, "MEMORY", 100 << 20)

    def spin():
        while True:
            pass

    monkeypatch.setattr(sandbox, "_WAITS", 1)
    for function, fault in (
            (spin, "SIGXCPU"), (lambda: time.sleep(600), "SIGKILL"),
            (lambda: open("pipe", "rb").close(), "SIGKILL"),
            (lambda: np.ones(1 << 28, np.uint8).sum() and 2, "MB")):
        outcome = box.run(Case("test", fault, ("sim",), files={"pipe": Fifo},
                               prepare=_as_main(function)))
        assert any(fault in found for found in outcome.faults), outcome


def test_checker_is_content_with_one_line(box):
    outcome = box.run(Case("test", "", ("sim", "generate", "x", "--ids", "1"), named=("x",)))
    assert outcome.status == 2 and not outcome.faults
    outcome = box.run(Case("test", "", ("sim", "generate", "x", "--ids", "1"), named=("x",)), True)
    assert outcome.status == 2 and not outcome.faults


# What needs no command line.

TOKENS = strategies.sampled_from(
    ["halt", "mul", "set", "const", "jump", "matmul", ".alias", ".word", "v1", "u3+x", "s9", "q1",
     "r1", "n=4", "rows=1", "blocks=1", "a", "b", "a:", "_", ",", "=", "+", "1", "-1", "0x", "1e9",
     "nan", "٣", "\n", "\n", " ", " ", ";", "absmax=s1"])


@settings(max_examples=300, deadline=None)
@given(strategies.one_of(strategies.text(), strategies.lists(TOKENS).map("".join)),
       strategies.sampled_from([None, CONFIG]))
def test_any_text_assembles_or_is_refused_with_its_line(source, config):
    try:
        words = text.assemble(source, config, "x.tasm").words
    except TernError as error:
        assert re.match(r"x\.tasm(:\d+)?: ", str(error))
    else:
        assert text.assemble(text.disassemble(words, config), config).words == words


class _Core:
    def __init__(self):
        self.memory = np.arange(CONFIG.memory_bytes).astype(np.uint8)
        self.messages, self.tokens, self.written = [], [1, 2, 3], []

    def read(self, address):
        return address

    def write(self, address, value):
        self.written.append((address, value))


def _board():
    return HostLink(config=CONFIG, clock_hz=1, name="test", core=_Core())


@settings(max_examples=200, deadline=None)
@given(strategies.lists(strategies.binary(max_size=600), max_size=8))
def test_no_bytes_without_a_checksum_do_anything(chunks):
    board = _board()
    for chunk in chunks:
        for answer in board.receive(chunk).split(link.DELIMITER):
            assert not answer or link.decode(answer)[1] == link.Status.DAMAGED
    assert (board.core.memory == _Core().memory).all() and not board.core.written
    assert len(board._line) <= 2 * link.FRAME_BYTES


REQUESTS = strategies.builds(
    link.request, strategies.integers(0, 7), strategies.integers(0, 255),
    strategies.sampled_from([0, 1, 2, 2047, 2048, 255, 256, 0xffffffff]),
    strategies.sampled_from([0, 1, 2, 3, 60, 2047, 2048, 0x80000000, 0xffffffff]),
    strategies.binary(max_size=link.DATA_BYTES))


@settings(max_examples=200, deadline=None)
@given(strategies.lists(REQUESTS, max_size=12))
def test_any_requests_are_answered(requests):
    board = _board()
    board.receive(link.encode(link.request(255, link.Code.SYNC)) + link.TAIL)
    for request in requests:
        frames = board.receive(link.encode(request) + link.TAIL).strip(link.DELIMITER)
        number, status, _ = link.ANSWER.unpack_from(link.decode(frames))
        assert status in list(link.Status) and number in (request[0], 0)
    assert len(board.core.memory) == CONFIG.memory_bytes


class _Liar(GoldenPort):
    """Answers that hypothesis chooses, until it has none left; a line that is never silent."""
    def __init__(self, answers):
        super().__init__(CONFIG)
        self.answers = list(answers)

    def read(self, seconds):
        self._pass(0.01)
        return self.answers.pop() if self.answers else super().read(seconds)


@settings(max_examples=60, deadline=None)
@given(strategies.lists(strategies.one_of(
    strategies.binary(max_size=400),
    strategies.binary(max_size=40).map(lambda data: link.encode(data) + link.TAIL)), max_size=30))
def test_whatever_a_board_says_the_host_ends(answers):
    try:
        board = Board(_Liar(answers))
        board.read_memory(0, 8)
        board.tokens()
    except TernError as error:
        assert str(error).startswith("golden: ")
