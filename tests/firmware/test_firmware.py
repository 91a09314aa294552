"""The host's side of the link and the programs, on the golden board; serial ports."""

from argparse import Namespace
from contextlib import suppress
import errno
import io
import os
import re
import signal
import struct
import sys
import termios
import time

import numpy as np
import pytest
import serial

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.messages import conversation
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.firmware import counters, port, programs, selftest
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.cli import main
from tern_fpga.firmware.link import LinkError
from tern_fpga.firmware.upload import upload
from tern_fpga.sim import engines
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tests.campaigns.noise import expected, larger
from tests.compiled import CONFIGS, TINY_A, compiled
from tests.firmware import golden_board
from tests.firmware.golden_board import GoldenPort


CONFIG = CONFIGS["narrow"]


def memory_of(port, image):
    data = image.memory()
    return port.core.memory[:len(data)], data


def talk(board, image):
    """Upload the image and let it speak; returns its tokens."""
    upload(board, image)
    board.start(image.program_address, image.program_length, image.weight_check())
    return [token for token, _ in board.converse(image.config, [3, 1, 4], 12)]


@pytest.mark.parametrize("name", CONFIGS)
def test_token_loop_follows_its_table(name):
    config = CONFIGS[name]
    assert talk(Board(GoldenPort(config)), programs.token_loop(config)) == expected(config)


def test_counters_of_a_board_that_works(monkeypatch, capsys):
    image = programs.token_loop(CONFIG)
    line = GoldenPort(CONFIG)
    talk(Board(line), image)
    monkeypatch.setattr(port, "SerialPort", lambda name, baud: line)
    counts = Board(line).counters()
    assert counts["weight_words"] == line.core.machine.weight_words > 0
    assert counters.lines(counts)[0].startswith(f"{counts['cycles']:,} cycles, ")
    assert report(main, ["counters", "--port", "golden", "--seconds", "0.01"]) == 0
    assert "no word: no room in the prefetch" in capsys.readouterr().out
    assert report(main, ["counters", "--port", "sim"]) == 2


@pytest.mark.parametrize("section", ["weights", "embedding"])
def test_tokens_of_bad_weights_are_not_given(section):
    """A bit goes bad while the model talks; what no stream reads is not looked at."""
    image = compiled(TINY_A, CONFIG)
    line = GoldenPort(CONFIG)
    board = Board(line)
    upload(board, image)
    golden = Machine(image)
    golden.send(conversation(CONFIG, [1, 77, 42], 20))
    golden.run()
    right = [parse_token(word)[2] for word in golden.tokens]
    for _ in range(2):                  # a new upload repairs it
        board.start(image.program_address, image.program_length, image.weight_check())
        tokens = (token for token, _ in board.converse(CONFIG, [1, 77, 42], 20))
        given = [next(tokens), next(tokens)]
        bad = image.section(section)
        line.core.memory[bad.address * CONFIG.word_bytes + 1001] ^= 4
        line.core.machine.weights.written(bad.address, bad.size // CONFIG.word_bytes)
        if section == "weights":
            with pytest.raises(TernError, match="golden: the weights .* upload the model again"):
                given.extend(tokens)
            assert len(given) < 10          # some were computed before
        else:
            assert len([*given, *tokens]) == 20
        assert given == right[:len(given)]
        assert upload(board, image)[0] > 0


def test_what_is_there_is_not_sent_again():
    image = programs.token_loop(CONFIG)
    board = Board(GoldenPort(CONFIG))
    sent, size = upload(board, image)
    assert sent == size == sum(section.size for section in image.sections)
    assert upload(board, image) == (0, size)
    board.port.core.memory[image.section("weights").address * CONFIG.word_bytes] ^= 1
    sent, _ = upload(board, image)
    assert 0 < sent < size
    ours, theirs = memory_of(board.port, image)
    assert (ours == theirs).all()


@pytest.mark.parametrize("seed", range(30))
def test_noise_ends_well_or_with_an_error(seed):
    """A byte in 250 hit: four times as many as the RTL is given."""
    image = larger(CONFIG)
    port = GoldenPort(CONFIG, noise=0.004, seed=seed)
    try:
        assert talk(Board(port), image) == expected(CONFIG)
    except LinkError:
        return
    assert port.noise[0].hits + port.noise[1].hits > 3
    ours, theirs = memory_of(port, image)
    assert (ours == theirs).all()


@pytest.mark.parametrize("seed", range(10))
def test_some_noise_is_survived(seed):
    """A byte in 1,000 hit, as in ``make noise``: giving up is no way out."""
    port = GoldenPort(CONFIG, noise=0.001, seed=seed)
    board = Board(port)
    assert talk(board, larger(CONFIG)) == expected(CONFIG)
    assert port.noise[0].hits + port.noise[1].hits > 3 and board.link.retries


def test_hopeless_noise_is_an_error():
    with pytest.raises(LinkError, match="no board answers|does not answer"):
        talk(Board(GoldenPort(CONFIG, noise=0.3)), programs.token_loop(CONFIG))


@pytest.mark.parametrize("passed", [40, 700, 3000])
def test_a_link_that_dies_can_be_resumed(passed):
    image = larger(CONFIG)
    port = GoldenPort(CONFIG, dies=passed)
    with pytest.raises(LinkError, match="no board answers|does not answer any more"):
        upload(Board(port), image)
    port.dies = None
    assert talk(Board(port), image) == expected(CONFIG)


def test_a_reset_in_between_is_an_error():
    board = Board(GoldenPort(CONFIG))
    board.port.link._open = False
    with pytest.raises(LinkError, match="reset in between"):
        board.read("id")


def test_another_machines_image_is_refused():
    board = Board(GoldenPort(CONFIGS["wide"]))
    with pytest.raises(TernError, match="compile the model for this board"):
        upload(board, programs.token_loop(CONFIG))


def test_a_board_of_another_version_is_refused(monkeypatch):
    port = GoldenPort(CONFIG)
    port.link.identity = bytes([9]) + port.link.identity[1:]
    with pytest.raises(LinkError, match="speaks version 9"):
        Board(port)


def test_memory_that_forgets_is_an_error():
    port = GoldenPort(CONFIG)
    board = Board(port)
    image = programs.token_loop(CONFIG)
    keep = port.core.memory

    class Forgetful(np.ndarray):
        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            np.ndarray.__setitem__(self, 20, 0x55)

    port.core.memory = keep.view(Forgetful)
    with pytest.raises(TernError, match="does not keep what is written.*word 0"):
        upload(board, image)


def test_messages_wait_for_room(monkeypatch):
    """While a core is busy with steps; none is lost, doubled or out of order."""
    monkeypatch.setattr(golden_board, "_STEPS", 5)
    port = GoldenPort(CONFIG)
    board = Board(port)
    image = compiled(TINY_A, CONFIG)
    upload(board, image)
    board.start(image.program_address, image.program_length)
    board.send(conversation(CONFIG, [3, 1, 4], 50))
    asked, carry_out = [], port.link._carry_out

    def noted(code, address, operand, data):
        answer = carry_out(code, address, operand, data)
        if code == link.Code.MESSAGES:
            asked.append((answer[0], data))
        return answer

    port.link._carry_out = noted
    words = [message(MessageKind.STOP_TOKEN, payload=1 << 20 | n) for n in range(1000)]
    board.send(words)
    assert {status for status, _ in asked} == {link.Status.OK, link.Status.BUSY}
    assert b"".join(data for status, data in asked if status == link.Status.OK) \
        == b"".join(word.to_bytes(4, "little") for word in words)


def test_memory_of_any_size_is_read():
    board = Board(GoldenPort(CONFIG))
    data = np.random.default_rng(0).integers(0, 256, 1 << 14, np.uint8)
    board.write_memory(5, data)
    assert board.read_memory(5, len(data) // CONFIG.word_bytes) == data.tobytes()
    with pytest.raises(ValueError, match="no whole words"):
        board.write_memory(0, b"abc")


@pytest.mark.parametrize("name", CONFIGS)
def test_memory_test_sees_every_bit(name):
    config = CONFIGS[name]
    words = 3000
    image, result = programs.memory_test(config, words)
    size = config.word_bytes

    def run(memory):
        machine = Machine.bare(config, image.instructions(), image.memory())
        machine.memory = memory
        memory[:len(image.memory())] = image.memory()
        machine.send(programs.GO)
        assert machine.run() == "waiting" and machine.pc == len(machine.program) - 1
        return bytes(machine.memory[result * size:][:config.vector_words(
            config.vector_lanes) * size])

    whole = np.zeros(config.memory_bytes, np.uint8)
    assert not any(run(whole))
    seen = np.zeros(config.memory_bytes, np.uint8)      # bits that were written as 0 and as 1

    class Watched(np.ndarray):
        def __setitem__(self, key, value):
            seen[key] |= np.asarray(self[key]) ^ value
            super().__setitem__(key, value)

    whole[:] = 0
    run(whole.view(Watched))
    assert (seen[:words * size] == 0xff).all() and not whole[words * size:].any()

    rng = np.random.default_rng(1)
    for _ in range(3):
        place, bit, level = rng.integers(words * size), rng.integers(8), rng.integers(2)

        class Stuck(np.ndarray):
            def __setitem__(self, key, value):
                super().__setitem__(key, value)
                old = np.ndarray.__getitem__(self, place)
                np.ndarray.__setitem__(self, place, old & ~np.uint8(1 << bit)
                                       | np.uint8(level << bit))

        whole[:] = 0
        assert any(run(whole.view(Stuck))), (place, bit, level)


@pytest.mark.parametrize("words", [-5, 0, 1, 100, CONFIG.memory_words + 1, 1 << 40])
def test_a_memory_test_of_no_such_size_is_one_line(words):
    """Not lines of the program that it would be, nor another size, nor words beyond the memory."""
    with pytest.raises(TernError, match=rf"the memory test takes \d+ words to .*, not {words}$"):
        programs.memory_test(CONFIG, words)
    args = Namespace(words=words, port="golden")
    with pytest.raises(TernError, match="the memory test takes"):
        selftest.memory(Board(GoldenPort(CONFIG)), CONFIG, args)


@pytest.mark.parametrize("name", CONFIGS)
def test_stream_test_takes_its_words(name):
    image, words = programs.stream_test(CONFIGS[name], 3)
    machine = Machine.bare(CONFIGS[name], image.instructions(), image.memory())
    assert machine.run() == "halted" and machine.weight_words == words


@pytest.mark.parametrize("name", ["tokens", "memory", "stream"])
def test_programs_assemble_as_they_stand(name):
    source = (programs._FOLDER / f"{name}.tasm").read_text(encoding="utf-8")
    program = text.assemble(source, CONFIG, name)
    again = text.assemble(text.disassemble(program.words, CONFIG), CONFIG)
    assert again.words == program.words


def test_codec_takes_any_payload():
    rng = np.random.default_rng(0)
    for size in range(link.FRAME_BYTES - 3):
        for payload in (bytes(size), rng.integers(0, 3, size, np.uint8).tobytes(),
                        bytes([7]) * size):
            frame = link.encode(payload)
            assert 0 not in frame and len(frame) == size + 5
            assert (link.decode(frame) == payload) if size else link.decode(frame) is None
    with pytest.raises(ValueError, match="up to 254 bytes, not 255"):
        link.encode(bytes(251))


# Several streams

PROMPTS = [[3, 1, 4], [1], [5, 9, 2, 6, 5, 3], [5, 8], [9, 7, 9, 3, 2], [3, 8]]


def test_prompts_together_get_what_each_gets_alone():
    """Six streams of different lengths on four positions: two wait until others have left."""
    config = CONFIGS["wide"]
    image  = compiled(TINY_A, config)
    board  = Board(GoldenPort(config))
    upload(board, image)
    board.start(image.program_address, image.program_length)
    limits = [7, 12, 3, 9, 5, 6]
    alone = [[token for token, _ in board.converse(config, ids, tokens)]
             for ids, tokens in zip(PROMPTS, limits)]
    assert [len(ids) for ids in alone] == limits
    stop = alone[1][4]
    for ends in ((), (stop,)):
        together = [[] for _ in PROMPTS]
        for number, token, last in board.converse_all(config, list(zip(PROMPTS, limits)),
                                                      ends=ends):
            together[number].append(token)
            assert last == (len(together[number]) == limits[number] or token in ends)
        assert together == [ids[:ids.index(stop) + 1] if ends and stop in ids else ids
                            for ids in alone]


def test_chat_answers_several_prompts(tmp_path, monkeypatch, capsys):
    config = CONFIGS["wide"]
    compiled(TINY_A, config).save(tmp_path / "image")
    monkeypatch.setattr(port, "SerialPort", lambda name, baud: GoldenPort(config))

    def chat(*prompts):
        arguments = [x for ids in prompts for x in ("--prompt", ",".join(map(str, ids)))]
        assert report(main, ["chat", str(tmp_path / "image"), "--port", "golden", "--ids",
                             "--tokens", "6", "--ignore-eos", *arguments]) == 0
        return capsys.readouterr().out.splitlines()

    alone = [chat(ids) for ids in PROMPTS]
    assert sorted(chat(*PROMPTS)) == [f"[{n}] {line}" for n, (line,) in enumerate(alone)]


def test_chat_samples_as_the_golden_machine(tmp_path, monkeypatch, capsys):
    config = CONFIGS["wide"]
    image = compiled(TINY_A, config)
    image.save(tmp_path / "image")
    monkeypatch.setattr(port, "SerialPort", lambda name, baud: GoldenPort(config))
    assert report(main, ["chat", str(tmp_path / "image"), "--port", "golden", "--ids", "--tokens",
                         "6", "--ignore-eos", "--temperature", "1.5", "--top-k", "9",
                         "--repetition-penalty", "1.2", "--seed", "4",
                         *(f"--prompt={','.join(map(str, ids))}" for ids in PROMPTS)]) == 0
    expected = {n: list(ids) for n, ids in enumerate(PROMPTS)}
    for token in engines.start(image, "golden").generate(PROMPTS, 6, sampling=Sampling(
            temperature=1.5, top_k=9, repetition_penalty=1.2, seed=4)):
        expected[token.stream].append(token.id)
    assert sorted(capsys.readouterr().out.splitlines()) == [
        f"[{n}] {','.join(map(str, ids))}" for n, ids in expected.items()]
    assert report(main, ["chat", str(tmp_path / "image"), "--port", "golden", "--top-k", "4"]) == 2
    assert "--top-k needs --temperature" in capsys.readouterr().err


# Conversations

CONTINUED = [[3, 1, 4], [1], [5, 9, 2, 6, 5, 3], [5, 8]]


def golden_conversation(image, prompts, tokens, ends=(), sampling=None, cuts=()):
    """Answers to prompts that go on in one text: each from an empty state, all of the text given.

    ``cuts``: {answer: tokens of it that count}.
    """
    text, answers = [], []
    for n, ids in enumerate(prompts):
        text += ids
        answer = [token.id for token in engines.start(image, "golden").generate(
            [text], tokens, ends=ends, sampling=sampling and [sampling.with_seed(n)])]
        answers.append(answer[:dict(cuts).get(n, tokens)])
        text += answers[-1]
    return answers


def as_lines(prompts, answers):
    return "".join(f"{','.join(map(str, [*ids, *answer]))}\n"
                   for ids, answer in zip(prompts, answers))


@pytest.fixture
def talk_to(tmp_path, monkeypatch, capsys):
    """A function of an image, lines and options that returns what a chat printed, and its line."""
    def chat(image, lines, *options, line=None, source=io.TextIOWrapper, status=0):
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        image.save(folder)
        line = line or GoldenPort(image.config)
        monkeypatch.setattr(port, "SerialPort", lambda name, baud: line)
        monkeypatch.setattr(sys, "stdin", source(io.BytesIO("".join(
            f"{','.join(map(str, text)) if isinstance(text, list) else text}\n"
            for text in lines).encode()), encoding="utf-8"))
        assert report(main, ["chat", str(folder), "--port", "golden", "--ids",
                             *options]) == status
        return capsys.readouterr()
    return chat


def prompt_tokens(err):
    """How many the core was given, of each answer."""
    return [int(n) for n in re.findall(r"^(\d+) prompt tokens", err, re.MULTILINE)]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_chat_is_one_conversation(name, talk_to):
    """The state goes on: only the answer's last token and the new prompt are sent."""
    image = compiled(TINY_A, CONFIGS[name])
    answers = golden_conversation(image, CONTINUED, 5)
    out, err = talk_to(image, CONTINUED, "--tokens", "5")
    assert out == as_lines(CONTINUED, answers)
    assert prompt_tokens(err) == [3, 2, 7, 3]
    out, err = talk_to(image, [*CONTINUED[:2], "/reset", *CONTINUED[:2]], "--tokens", "5")
    assert out == 2 * as_lines(CONTINUED[:2], answers) and prompt_tokens(err) == [3, 2, 3, 2]


def test_a_chat_goes_on_after_an_end(talk_to):
    """The core ends at the first id, and its state is right; at another it went on for some
    tokens that are not in the text, which is then sent again."""
    image = compiled(TINY_A, CONFIGS["wide"])
    plain = golden_conversation(image, CONTINUED, 6)
    first, other = plain[0][3], next(i for i in plain[1] if i not in plain[0])
    for ends in ((first,), (255, first), (first, other), (other, first)):
        image.manifest["model"]["eos_token_id"] = list(ends)
        answers = golden_conversation(image, CONTINUED, 6, ends)
        out, err = talk_to(image, CONTINUED, "--tokens", "6")
        assert out == as_lines(CONTINUED, answers), ends
        sent, text, seen = [], 0, 0
        for ids, answer in zip(CONTINUED, answers):
            sent.append(text + len(ids) - seen)
            text += len(ids) + len(answer)
            seen = 0 if answer[-1] in ends[1:] else text - 1
        assert prompt_tokens(err) == sent
    image.manifest["model"]["eos_token_id"] = None


def test_a_chat_draws_as_the_golden_machine(talk_to):
    """Chance is of each answer; what a penalty has seen is of the whole conversation."""
    image = compiled(TINY_A, CONFIGS["wide"])
    choice = Sampling(temperature=1.5, top_k=9, repetition_penalty=1.8, seed=4)
    out, _ = talk_to(image, CONTINUED, "--tokens", "6", "--temperature", "1.5", "--top-k", "9",
                     "--repetition-penalty", "1.8", "--seed", "4")
    assert out == as_lines(CONTINUED, golden_conversation(image, CONTINUED, 6, sampling=choice))


def test_commands_of_a_chat(talk_to):
    image = compiled(TINY_A, CONFIGS["wide"])
    out, err = talk_to(image, ["/help", "/rest", [3, 1, 4], " /reset "], "--tokens", "2")
    assert out == as_lines([[3, 1, 4]], golden_conversation(image, [[3, 1, 4]], 2))
    assert "/reset   begin anew" in err and "/rest is no command; /help lists them" in err
    assert "forgotten" in err


class Typed(io.TextIOWrapper):
    def isatty(self):
        return True


def test_a_slip_of_the_fingers_does_not_end_a_conversation(talk_to):
    """On a terminal; in a pipe a mistake is an error, as anywhere."""
    image = compiled(TINY_A, CONFIGS["wide"])
    lines = [CONTINUED[0], "foo", "1,256", CONTINUED[1]]
    assert "not 'foo'" in talk_to(image, lines, "--tokens", "2", status=2).err
    out, err = talk_to(image, lines, "--tokens", "2", source=Typed)
    assert out == as_lines(CONTINUED[:2], golden_conversation(image, CONTINUED[:2], 2))
    assert "not 'foo'" in err and "'1,256' has no token, or one that the model does not" in err


@pytest.mark.parametrize("after", [0, 4])
def test_ctrl_c_ends_an_answer_and_not_the_conversation(talk_to, after, request):
    """A signal in the middle of a request; the next prompt goes on after what was shown."""
    # A shell lets what it starts in the background ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    image = compiled(TINY_A, CONFIGS["wide"])

    class Pressed(GoldenPort):
        asked = 0

        def read(self, seconds):
            data = super().read(seconds)
            if self.core.machine and self.core.machine.scheduler.running[0]:
                self.asked += 1
                if self.asked == after * 3 + 1:
                    os.kill(os.getpid(), signal.SIGINT)
            return data

    out, err = talk_to(image, CONTINUED[:2], "--tokens", "40", line=Pressed(image.config))
    first = [int(n) for n in out.splitlines()[0].split(",")][len(CONTINUED[0]):]
    assert len(first) < 40
    answers = golden_conversation(image, CONTINUED[:2], 40, cuts={0: len(first)})
    assert out == as_lines(CONTINUED[:2], answers)
    assert prompt_tokens(err) == [3, 3 + len(first) + 1]


# Serial ports

class Adapter:
    """pyserial's port, of which one member fails."""
    in_waiting = timeout = write_timeout = 0

    def __init__(self, fails, error):
        self._fails, self._error, self.closed = fails, error, 0

    def _do(self, name):
        if name == self._fails:
            raise self._error

    def set_low_latency_mode(self, on):
        self._do("latency")

    def reset_input_buffer(self):
        self._do("flush")

    def write(self, data):
        self._do("write")

    def read(self, size):
        self._do("read")
        return b"x"

    def close(self):
        self.closed += 1
        self._do("close")


PORT_ERRORS = [serial.SerialException("device reports readiness to read but returned no data"),
               OSError(errno.EIO, "Input/output error"), termios.error(5, "Input/output error"),
               OverflowError("too large"), struct.error("bad"), ValueError("no such thing")]


@pytest.mark.parametrize("error", PORT_ERRORS, ids=lambda error: type(error).__name__)
def test_a_port_that_fails_is_one_line_wherever_it_does(monkeypatch, error):
    def adapter(fails):
        found = Adapter(fails, error)
        monkeypatch.setattr(serial, "Serial", lambda *words, **options: found)
        return found

    flushed = adapter("flush")
    with pytest.raises(TernError, match="p: the port went away .*plug the adapter in again"):
        port.SerialPort("p")
    assert flushed.closed == 1
    for fails in ("write", "read"):
        adapter(fails)
        line = port.SerialPort("p")
        with pytest.raises(TernError, match="p: the port went away"):
            line.write(b"a")
            line.read(0.1)
    for fails in ("latency", "close"):
        adapter(fails)
        port.SerialPort("p").close()

    def refuse(*words, **options):
        raise error

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(TernError, match="p: cannot open: "):
        port.SerialPort("p")


def test_line_that_takes_nothing_is_told(monkeypatch):
    monkeypatch.setattr(serial, "Serial", lambda *words, **options: Adapter(
        "write", serial.SerialTimeoutException("Write timeout")))
    with pytest.raises(TernError, match="p: takes no bytes"):
        port.SerialPort("p").write(b"a")


class Found:
    def __init__(self, device, vid=None, description="n/a"):
        self.device, self.vid, self.description = device, vid, description

    def __lt__(self, other):
        return self.device < other.device


USB = Found("/dev/ttyUSB0", 0x0403, "FT231X USB UART")
OLD = Found("/dev/ttyS0")


@pytest.mark.parametrize("there, told", [
    ([], "there is no USB adapter: is the board plugged in"),
    ([OLD], "there is no USB adapter, only /dev/ttyS0: is the board plugged in"),
    ([USB], r"there is /dev/ttyUSB0 \(FT231X USB UART\)$"),
    ([USB, OLD], r"there are /dev/ttyS0, /dev/ttyUSB0 \(FT231X USB UART\)$"),
    (OSError(), "there is no USB adapter: is the board plugged in"),
])
@pytest.mark.parametrize("name, why", [
    ("/dev/no-such-port", "cannot open: there is no such port; "),
    (__file__, "cannot open: that is no serial port; "),
    (os.path.dirname(__file__), "cannot open: that is no serial port; "),
    (__file__ + "/below", "cannot open: that is no serial port; "),
    (os.devnull, "cannot open: that is no serial port; "),
], ids=["nothing", "file", "folder", "below a file", "device"])
def test_a_port_that_is_none_is_told_the_ports_that_there_are(monkeypatch, capsys, name, why,
                                                              there, told):
    def comports():
        if isinstance(there, OSError):
            raise there
        return there

    monkeypatch.setattr(port.list_ports, "comports", comports)
    assert report(main, ["selftest", "--port", name]) == 2
    error = capsys.readouterr().err
    assert re.search(f"^error: {re.escape(name)}: {why}{told}", error, re.MULTILINE)
    assert error.count("\n") == 1


@pytest.mark.parametrize("number, told", [
    (errno.EACCES, "permission denied; .*group .*dialout"), (errno.EPERM, "group .*dialout"),
    (errno.EBUSY, "another program uses it"), (errno.ENXIO, "there is no such port")])
def test_a_port_that_is_not_ours_says_what_to_do(monkeypatch, number, told):
    def refuse(name, flags):
        raise OSError(number, os.strerror(number), name)

    monkeypatch.setattr(serial.serialposix.os, "open", refuse)
    with pytest.raises(TernError, match=f"/dev/ttyUSB0: cannot open: .*{told}"):
        port.SerialPort("/dev/ttyUSB0")


@pytest.mark.parametrize("baud", [0, -1, 1, 9599, 25_000_001, 1 << 31, 1 << 70])
@pytest.mark.parametrize("command", ["selftest", "counters"])
def test_speeds_that_no_board_has_are_refused(capsys, command, baud):
    assert report(main, [command, "--port", "/dev/null", f"--baud={baud}"]) == 2
    assert re.fullmatch(rf"error: --baud {baud}: a board's line has 9600 to .*\n",
                        capsys.readouterr().err)


def test_a_speed_that_the_adapter_lacks_is_named(monkeypatch):
    def refuse(*words, **options):
        raise ValueError("Failed to set custom baud rate (12345): Invalid argument")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(TernError, match="cannot open: it cannot be set to 12345 baud"):
        port.SerialPort("p", 12345)


@pytest.fixture
def pty():
    ours, theirs = os.openpty()
    yield ours, os.ttyname(theirs), theirs
    for handle in (ours, theirs):
        with suppress(OSError):
            os.close(handle)


def test_a_terminal_in_the_board_s_place(pty):
    ours, name, theirs = pty
    line = port.SerialPort(name)
    line.write(b"abc")
    assert os.read(ours, 10) == b"abc"
    os.write(ours, b"xyz")
    came = b""
    while len(came) < 3:
        came += line.read(5)
    assert came == b"xyz" and line.read(0.01) == b""
    with pytest.raises(TernError, match="cannot open: another program uses it"):
        port.SerialPort(name)
    os.close(ours)                      # as an adapter that is pulled out
    with pytest.raises(TernError, match=f"{name}: the port went away"):
        line.read(1)
        line.write(b"a")
    line.close()


def test_a_slow_port_without_a_board_is_told_soon(pty, monkeypatch, capsys):
    monkeypatch.setattr("tern_fpga.firmware.link._SOON", 0.1)
    start = time.monotonic()
    assert report(main, ["selftest", "--port", pty[1], "--baud", "38400"]) == 2
    assert "no board answers at 38400 baud" in capsys.readouterr().err
    assert time.monotonic() - start < 10 * 1.1         # ten times what an answer may take


def test_a_simulated_board_leaves_no_folder_where_its_host_is_killed(monkeypatch):
    """It has its config when it first answers."""
    said = "import sys; print('{\"baud\": 1}', flush=True); sys.stdin.read()"
    start, files = port.subprocess.Popen, []

    def stub(argv, **options):
        files.append(argv[argv.index("--config") + 1])
        assert files[0].exists()
        return start([sys.executable, "-c", said], **options)

    monkeypatch.setattr(port.subprocess, "Popen", stub)
    line = port.SimPort(CONFIG)
    assert line.baud == 1 and not files[0].parent.exists()
    line.close()


def test_a_board_that_is_pulled_out_while_it_talks_is_one_line(monkeypatch, capsys):
    """Whatever the first failing call is."""
    gone = termios.error(5, "Input/output error")
    for fails in ("write", "read", "flush"):
        monkeypatch.setattr(serial, "Serial", lambda *words, **options: Adapter(fails, gone))
        assert report(main, ["selftest", "--port", "p"]) == 2
        assert re.fullmatch(r"error: p: the port went away .*\n", capsys.readouterr().err)
