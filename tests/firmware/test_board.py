"""The whole SoC with an SDRAM in Verilator, and the host's own code, bytes on the pins."""

import fcntl
import os
from pathlib import Path
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import numpy as np
import pytest

from tern_fpga.assembler.contract import link, registers
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware import programs
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.link import LinkError
from tern_fpga.firmware.port import BAUD, SimPort
from tern_fpga.firmware.upload import upload
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tests.campaigns.noise import BoardPort, expected, larger, one_run
from tests.compiled import CONFIGS, TINY_A, compiled
from tests.verilog import ROOT


CONFIG = CONFIGS["narrow"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "image"
    image = compiled(TINY_A, CONFIG)
    image.save(folder)
    return folder, image


def test_chat_says_what_the_golden_machine_says(tiny):
    """Upload, checksums, prompt and tokens of a trained checkpoint through `--port sim`."""
    folder, image = tiny
    golden = Machine(image)
    answers = []
    for ids in ([1, 77, 42], [9]):
        golden.send(host.conversation(CONFIG, ids, 4))
        golden.run()
        answers.append([parse_token(word)[2] for word in golden.tokens])
        golden.tokens.clear()
    done = subprocess.run(
        [sys.executable, "-m", "firmware", "chat", folder, "--port", "sim", "--tokens", "4",
         "--ignore-eos", "--ids", "--prompt", "1,77,42", "--prompt", "9"],
        cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"[{number}] {','.join(map(str, [*prompt, *answer]))}"
        for number, (prompt, answer) in enumerate(zip(([1, 77, 42], [9]), answers))]
    assert "checksums right" in done.stderr


def test_a_conversation_goes_on_while_memory_is_read_and_written():
    port = BoardPort(CONFIG)
    board = Board(port)
    image = larger(CONFIG)
    upload(board, image)
    board.start(image.program_address, image.program_length)
    rng = np.random.default_rng(0)
    found = []
    for token, _ in board.converse(CONFIG, [3, 1, 4], 12):
        found.append(token)
        place, data = int(rng.integers(1 << 14, 1 << 15)), rng.integers(0, 256, 480, np.uint8)
        board.write_memory(place, data)
        assert board.read_memory(place, 240) == data.tobytes()
    assert found == expected(CONFIG)
    counters = board.counters()
    assert counters["host_words"] == 12 * 480
    for group, names in registers.GROUPS.items():
        assert sum(counters[name] for name in names) == counters["cycles"], group


def test_weights_that_went_bad_are_reported():
    port = BoardPort(CONFIG)
    board, image = Board(port), programs.token_loop(CONFIG)
    upload(board, image)
    place = image.section("weights").address * CONFIG.word_bytes + 3
    for _ in range(2):                              # an upload repairs it
        board.start(image.program_address, image.program_length, image.weight_check())
        assert [token for token, _ in board.converse(CONFIG, [3, 1, 4], 12)] == expected(CONFIG)
        port.board.memory[place] ^= 0x10
        with pytest.raises(TernError, match="sim: the weights .* upload the model again"):
            list(board.converse(CONFIG, [3, 1, 4], 12))
        upload(board, image)


def test_an_upload_fills_the_line():
    port = BoardPort(CONFIG)
    board = Board(port)
    data = np.random.default_rng(0).integers(0, 256, 48_000, np.uint8)
    start = port.time()
    board.write_memory(0, data)
    share = len(data) / (port.time() - start) / (port.baud / 10)
    assert 0.92 < share < link.DATA_BYTES / (link.FRAME_BYTES + 2)
    assert (port.board.memory[:len(data)] == data).all()


def test_stop_in_the_middle_and_start_again():
    port = BoardPort(CONFIG)
    board = Board(port)
    image = programs.token_loop(CONFIG)
    upload(board, image)
    for wait in (0, 1e-6, 3e-6, 2e-5, 1e-4):
        board.start(image.program_address, image.program_length)
        board.send(host.conversation(CONFIG, [3, 1, 4], 1000))
        port.sleep(wait)
        board.stop()
        assert board.tokens() == []
        board.start(image.program_address, image.program_length)
        assert [token for token, _ in board.converse(CONFIG, [3, 1, 4], 12)] == expected(CONFIG)


def test_a_link_that_dies_can_be_resumed():
    port = BoardPort(CONFIG)
    board, image = Board(port), larger(CONFIG)
    passed, write = 0, port.write

    def dying(data):
        nonlocal passed
        passed += len(data)
        if passed < 3000:
            write(data)

    port.write = dying
    board.link._patience = 5e-4         # less to simulate
    with pytest.raises(LinkError, match="does not answer any more"):
        upload(board, image)
    port.write = write
    sent, size = upload(Board(port), image)
    assert 0 < sent <= size
    data = image.memory()
    assert (port.board.memory[:len(data)] == data).all()


def test_a_reset_board_says_so():
    port = BoardPort(CONFIG)
    board = Board(port)
    port.board.reset()
    with pytest.raises(LinkError, match="reset in between"):
        board.read("id")


def test_line_noise_before_a_session_is_no_obstacle():
    port = BoardPort(CONFIG)
    port.write(np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes())
    port.sleep(0.002)
    assert Board(port).digest == CONFIG.digest


@pytest.mark.parametrize("seed", range(100, 103))
def test_noise_ends_well_or_with_an_error(seed):
    outcome = one_run(CONFIG, seed, rate=0.002, conversations=1)
    assert not outcome.wrong


@pytest.mark.parametrize("options", [dict(rate=0), dict(rate=0.003, seed=200),
                                     dict(rate=0, host_baud=2_940_000),
                                     dict(rate=0, host_baud=3_060_000)],
                         ids=["quiet", "noise", "slow host", "fast host"])
def test_the_line_at_the_speed_of_the_boards(options):
    """33.3 cycles a bit, and a host whose clock is wrong by 2 %."""
    options = {"seed": 1, **options}
    outcome = one_run(CONFIG, options.pop("seed"), baud=BAUD, conversations=1, ballast=480,
                      **options)
    assert not outcome.wrong and not outcome.error
    assert outcome.hits == outcome.repeats == 0 if not options["rate"] else outcome.hits > 0


def test_programs_run_on_the_board():
    """The memory test over some words, and the speed of the weight stream."""
    port = BoardPort(CONFIG)
    board = Board(port)
    image, result = programs.memory_test(CONFIG, 3000)
    upload(board, image)
    port.board.memory[6000:6100] = 0x5a
    board.start(image.program_address, image.program_length)
    board.send(programs.GO)
    while not board.status() & board.status().WAITING or board.read("pc") < 10:
        port.sleep(1e-4)
    assert not any(board.read_memory(result, CONFIG.vector_words(CONFIG.vector_lanes)))
    assert (port.board.memory[6000:6100] == 0x5a).all()
    image, words = programs.stream_test(CONFIG, 3)
    upload(board, image)
    board.start(image.program_address, image.program_length)
    while board.status() & board.status().RUNNING:
        port.sleep(1e-4)
    cycles = board.read("cycles")       # and with it, what the other counters were
    assert board.read("weight_words") == words <= cycles < 1.2 * words


def test_simulated_board_takes_options():
    port = SimPort(CONFIG, ["--noise", "0.003", "--seed", "5"])
    try:
        board = Board(port)
        board.write_memory(0, bytes(4800))
        assert board.read_memory(0, 2400) == bytes(4800) and board.link.retries
    finally:
        port.close()


def test_memory_is_filled_at_once_and_right(tiny):
    """What the simulated board is given past its line is what its core sees."""
    _, image = tiny
    port = SimPort(CONFIG)
    try:
        board = Board(port)
        start = port.time()
        size = sum(section.size for section in image.sections if section.data is not None)
        assert upload(board, image) == (0, size)
        assert port.time() - start < 0.01       # a tenth of what the line takes
        for section in image.sections:
            if section.data is not None:
                words = min(500, section.size // CONFIG.word_bytes)
                end = section.address + section.size // CONFIG.word_bytes
                assert board.read_memory(end - words, words) \
                    == section.data[-words * CONFIG.word_bytes:].tobytes()
        port.place(100, b"abc")
        assert board.read_memory(48, 8)[4:7] == b"abc"
        # A place that is wrong is found.
        place = port.place
        port.place = lambda address, data: place(address + CONFIG.word_bytes, data)
        with pytest.raises(TernError, match="memory does not keep what is written"):
            upload(board, image)
    finally:
        port.close()


class Terminal:
    """A command in a terminal of its own, as a shell starts it."""
    def __init__(self, *argv):
        self.screen, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", *map(str, argv)], cwd=ROOT, stdin=theirs, stdout=theirs,
            stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(theirs)
        self.text = ""

    def type(self, text):
        os.write(self.screen, text.encode())

    def until(self, pattern, seconds=300):
        """Wait for new text that matches; returns the match."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.screen], [], [], left)[0], self.text
            self.text += os.read(self.screen, 1 << 12).decode(errors="replace")
        self.text = self.text[found.end():]
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


def children(pid):
    out = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:         # ended meanwhile
            continue
        if int(fields[1]) == pid:
            out.append(int(stat.parent.name))
    return out


def test_ctrl_c_ends_the_answer_and_not_the_simulated_board(tiny):
    """A real terminal, whose SIGINT goes to all processes in the foreground; and what ended the
    answer is no part of the conversation."""
    folder, image = tiny
    chat = Terminal("firmware", "chat", folder, "--port", "sim", "--ids", "--ignore-eos",
                    "--tokens", "4000")
    try:
        chat.until("> ")
        chat.type("1,77,42\n")
        chat.until(r"1,77,42(,\d+){3}")
        board, = children(chat.process.pid)
        chat.type("\x03")
        sampled = int(chat.until(r"(\d+) sampled in").group(1))
        chat.until("> ")
        chat.type("9,5\n")
        found = chat.until(r"9,5((,\d+){3}),").group(1)
        chat.type("\x03")
        assert int(chat.until(r"(\d+) prompt tokens, \d+ sampled").group(1)) == 5 + sampled
        golden = Machine(image)
        golden.send(host.conversation(CONFIG, [1, 77, 42], sampled))
        golden.run()
        text = [1, 77, 42, *(parse_token(word)[2] for word in golden.tokens), 9, 5]
        golden.tokens.clear()
        golden.send(host.conversation(CONFIG, text, 3))
        golden.run()
        assert found == "".join(f",{parse_token(word)[2]}" for word in golden.tokens)
        chat.until("> ")
        assert children(chat.process.pid) == [board]
        chat.type("\n")
        assert chat.process.wait(60) == 0
    finally:
        chat.close()


def gone(pid, seconds=60):
    """Whether a process ends in time; one that waits for its parent's look has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_simulated_board_ends_with_its_host(tiny, how):
    chat = Terminal("firmware", "chat", tiny[0], "--port", "sim", "--ids", "--ignore-eos",
                    "--tokens", "4000")
    try:
        chat.until("> ")
        board, = children(chat.process.pid)
        if how == signal.SIGTERM:       # in the middle of an answer
            chat.type("1,77,42\n")
            chat.until(r"1,77,42,\d+")
        chat.process.send_signal(how)
        chat.process.wait(60)
        assert gone(board)
    finally:
        chat.close()


_BUILD = """
import sys
from pathlib import Path
from tern_fpga.sim.rtl import verilate
from tern_fpga.sim.cli import main
verilate.cache = lambda: Path(sys.argv[1])
main(["board", "--target", "sim-tiny"])
"""


def test_a_board_that_is_built_for_nobody_ends(tmp_path):
    """Its host was killed: the build goes on for a minute or two otherwise."""
    build = subprocess.Popen([sys.executable, "-c", _BUILD, tmp_path], cwd=ROOT,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             start_new_session=True)
    try:
        end = time.monotonic() + 120
        while not (workers := children(build.pid)):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert build.poll() is None
        build.stdin.close()
        build.wait(30)
        assert build.stdout.read() == b"" and all(map(gone, workers))
    finally:
        build.kill()
        build.stdout.close()
