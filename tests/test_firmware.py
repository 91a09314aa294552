"""The host's side of the link and the programs, on the golden board."""

import numpy as np
import pytest

from assembler import link, text
from assembler.errors import TernError, report
from assembler.messages import conversation
from assembler.registers import MessageKind, message
from assembler.sampling import Sampling
from firmware import counters, port, programs
from firmware.__main__ import main
from firmware.board import Board
from firmware.link import LinkError
from firmware.upload import upload
from sim import engines
from sim.golden.machine import Machine
from sim.golden.scheduler import parse_token
from tests import golden_board
from tests.compiled import CONFIGS, TINY_A, compiled
from tests.golden_board import GoldenPort
from tests.noise import expected, larger


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


@pytest.mark.parametrize("name", CONFIGS)
def test_stream_test_takes_its_words(name):
    image, words = programs.stream_test(CONFIGS[name], 3)
    machine = Machine.bare(CONFIGS[name], image.instructions(), image.memory())
    assert machine.run() == "halted" and machine.weight_words == words


@pytest.mark.parametrize("name", ["tokens", "memory", "stream"])
def test_programs_assemble_as_they_stand(name):
    source = (programs._FOLDER / f"{name}.tasm").read_text()
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
    for stop_token in (None, stop):
        together = [[] for _ in PROMPTS]
        for number, token, last in board.converse_all(config, list(zip(PROMPTS, limits)),
                                                      stop_token=stop_token):
            together[number].append(token)
            assert last == (len(together[number]) == limits[number] or token == stop_token)
        assert together == [
            ids[:ids.index(stop) + 1] if stop_token is not None and stop in ids else ids
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
