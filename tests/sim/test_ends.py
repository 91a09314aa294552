"""Several ends of sequence: streams end at any of them, and their slots are used again."""

import random

import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import image as images
from tern_fpga.firmware import port
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.cli import main as firmware
from tern_fpga.firmware.streams import StreamError, Streams
from tern_fpga.firmware.upload import upload
from tern_fpga.sim import engines
from tern_fpga.sim.cli import main as sim
from tern_fpga.sim.golden.scheduler import Scheduler, parse_token
from tests import random_model
from tests.compiled import CONFIGS, TINY_A, compiled
from tests.firmware.golden_board import GoldenPort


PROMPTS = [[3, 1, 4], [1], [5, 9, 2, 6, 5, 3], [5, 8], [9, 7, 9, 3, 2], [3, 8], [2]]
LIMITS  = [9, 14, 3, 12, 1, 8, 10]


def cut(ids, ends):
    """A stream up to its first end."""
    for n, token in enumerate(ids):
        if token in ends:
            return ids[:n + 1]
    return ids


# A core whose scheduler is the golden one and whose model is a hash of what it has seen: its
# vocabulary is so small that streams end all the time.

VOCABULARY = 6


def following(state):
    return hash(state) // 7 % VOCABULARY


def alone(ids, limit):
    state, out = tuple(ids), []
    while len(out) < limit:
        out.append(following(state))
        state += (out[-1],)
    return out


class FakeCore:
    def __init__(self, config):
        self.scheduler = Scheduler(config)
        self.states = [()] * config.positions

    def step(self):
        """False if there is nothing to do."""
        step = self.scheduler.next()
        if step is None:
            return False
        ids = [0] * len(step.tokens)
        for p, token in enumerate(step.tokens):
            if step.live >> p & 1:
                slot = self.scheduler.slot_of(p)
                fresh = step.chain and step.fresh and p == 0
                self.states[slot] = (() if fresh else self.states[slot]) + (token,)
                ids[p] = following(self.states[slot])
        self.scheduler.emit(ids)
        return True


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seed", range(40))
def test_streams_are_the_same_whatever_is_under_way(name, seed):
    """The core runs ahead, words and messages are late, and words come in any pieces."""
    draw = random.Random(f"{name} {seed}")
    config, core = CONFIGS[name], FakeCore(CONFIGS[name])
    prompts = [([draw.randrange(VOCABULARY) for _ in range(draw.randint(1, 9))],
                draw.randint(1, 20)) for _ in range(draw.randint(1, 12))]
    ends = draw.sample(range(VOCABULARY), draw.randint(0, 3))
    streams = Streams(config, prompts, ends=ends)
    found, ended = [[] for _ in prompts], set()
    late = []                           # messages under way, whole
    looks = 0
    while not streams.done:
        if words := streams.messages():
            late.append(words)
        if late and draw.random() < 0.5:
            for word in late.pop(0):
                core.scheduler.send(word)
        busy = [core.step() for _ in range(draw.choice((0, 0, 1, 2, 7)))]
        heard = core.scheduler.tokens[:draw.randint(0, 5)]
        del core.scheduler.tokens[:len(heard)]
        if streams.stopping and not (late or heard or core.scheduler.tokens
                                     or core.scheduler.words) and busy and not busy[-1]:
            streams.idle()
        for number, token, last in streams.take(map(parse_token, heard)):
            assert number not in ended
            found[number].append(token)
            if last:
                ended.add(number)
        looks += 1
        assert looks < 20_000
    assert found == [cut(alone(ids, limit), ends) for ids, limit in prompts]
    assert not core.scheduler.tokens and not any(core.scheduler.running)


def test_a_slot_is_free_as_soon_as_that_is_sure():
    """Two slots, three prompts: the third starts while the second stream runs on."""
    config = CONFIGS["wide"]
    streams = Streams(config, [([1], 50), ([2], 50), ([3], 50)], slots=[0, 1], ends=[7, 8])
    first = streams.messages()
    assert message(MessageKind.STOP_TOKEN, payload=7) == first[0]
    assert streams.take([(0, False, 1), (1, False, 1), (0, False, 8)]) == [
        (0, 1, False), (1, 1, False), (0, 8, True)]
    assert streams.messages() == [message(MessageKind.STOP, 0)]
    assert streams.take([(1, False, 2), (0, False, 3)]) == [(1, 2, False)]
    assert streams.take([(1, False, 3)]) == [(1, 3, False)] and streams.messages() == []
    assert streams.take([(1, False, 4)]) == [(1, 4, False)]         # a step without slot 0
    assert streams.messages()[0] == message(MessageKind.GENERATE, 0, 50)
    assert streams.take([(0, False, 5), (0, True, 6), (1, True, 7)]) == [
        (2, 5, False), (2, 6, True), (1, 7, True)]
    assert streams.done and streams.messages() == []


def test_a_core_that_says_too_much_is_refused():
    streams = Streams(CONFIGS["wide"], [([1], 2)], ends=[7, 8])
    streams.messages()
    with pytest.raises(StreamError, match="gives a token of slot 3, where no stream runs"):
        streams.take([(3, False, 1)])
    streams.take([(0, False, 8)])
    with pytest.raises(StreamError, match="more tokens than it was asked for"):
        streams.take([(0, False, 1)])


# The real machines

@pytest.fixture(scope="module")
def image():
    return compiled(TINY_A, CONFIGS["wide"])


@pytest.fixture(scope="module")
def long(image):
    """What each prompt is continued with if nothing but its limit ends it."""
    out = [[] for _ in PROMPTS]
    for n, ids in enumerate(PROMPTS):
        out[n] = [token.id for token in engines.start(image, "golden").generate([ids], LIMITS[n])]
    return out


def all_ends(long):
    """Ids that end some streams at their first token, some in the middle, and some never."""
    return [(long[1][4], long[0][0], long[3][2]), (255, long[1][3], long[6][5], long[5][1])]


@pytest.mark.parametrize("engine", ["golden", "rtl", "float"])
def test_engines_stop_at_any_end(image, long, engine):
    machine = engines.start(image, engine)
    if engine == "float":               # other tokens, the same rule
        long = [[token.id for token in engines.start(image, engine).generate([ids], 14)]
                for ids in PROMPTS]
    for ends in all_ends(long)[engine == "rtl":]:
        found = [[] for _ in PROMPTS]
        for token in machine.generate(PROMPTS, 14, ends=ends):
            found[token.stream].append((token.id, token.last))
        for ours, ids in zip(found, long):
            ids = cut(ids, ends)
            if ids[-1] in ends:
                assert ours == [(i, n == len(ids) - 1) for n, i in enumerate(ids)]
            else:
                assert [i for i, _ in ours][:len(ids)] == ids
    if engine == "rtl":
        machine.machine.close()


@pytest.mark.parametrize("slots", [None, [2], [0, 3]])
def test_boards_stop_at_any_end(image, long, slots):
    line = GoldenPort(image.config)
    board = Board(line)
    upload(board, image)
    board.start(image.program_address, image.program_length, image.weight_check())
    for ends in [*all_ends(long), ()]:
        found = [[] for _ in PROMPTS]
        for number, token, _ in board.converse_all(image.config, list(zip(PROMPTS, LIMITS)),
                                                   slots=slots, ends=ends):
            found[number].append(token)
        assert found == [cut(ids, ends) for ids in long]
        assert board.tokens() == []


def test_ending_drops_what_comes_last(image):
    """The core samples its last token between the host's two questions."""
    board = Board(GoldenPort(image.config))
    upload(board, image)
    board.start(image.program_address, image.program_length)
    core, running = board.port.core, board._running
    run, core.run = core.run, lambda steps: None

    def later():
        run(100_000)            # until it waits
        return running()

    board.send(Streams(image.config, [([1], 4)]).messages())
    board._running = later
    board.end()
    assert board.tokens() == []


def test_commands_stop_at_any_end(image, long, tmp_path, monkeypatch, capsys):
    image.manifest["model"]["eos_token_id"] = list(all_ends(long)[0])
    try:
        image.save(tmp_path / "image")
    finally:
        image.manifest["model"]["eos_token_id"] = None
    monkeypatch.setattr(port, "SerialPort", lambda name, baud: GoldenPort(image.config))
    for n, (ids, expected) in list(enumerate(zip(PROMPTS, long)))[:4]:
        text = ",".join(map(str, ids))
        for more, answer in (([], cut(expected, all_ends(long)[0])), (["--ignore-eos"], expected)):
            answer = ",".join(map(str, answer))
            assert report(sim, ["generate", str(tmp_path / "image"), "--ids", text, "--tokens",
                                str(LIMITS[n]), *more]) == 0
            assert capsys.readouterr().out == f"{answer}\n"
            assert report(firmware, ["chat", str(tmp_path / "image"), "--port", "golden", "--ids",
                                     "--prompt", text, "--tokens", str(LIMITS[n]), *more]) == 0
            assert capsys.readouterr().out == f"{text},{answer}\n"


# Where the ids come from

@pytest.mark.parametrize("config, generation, expected", [
    (2, None, 2), (None, None, None), ([], None, None), ([3], None, 3), ([4, 3, 4], None, [4, 3]),
    (2, {"eos_token_id": [5, 6]}, [5, 6]), ([2, 3], {"eos_token_id": 7}, 7),
    (2, {"eos_token_id": None}, 2), (2, {"max_length": 9}, 2), (None, {"eos_token_id": 0}, 0)])
def test_the_generation_config_goes_first(tmp_path, config, generation, expected):
    model = random_model.write(tmp_path / "model", hidden=20, inner=20, layers=1, vocab=40,
                               eos_token_id=config)
    if generation is not None:
        (model / "generation_config.json").write_text(images.json.dumps(generation),
                                                      encoding="utf-8")
    made = compile_model(model, preset("sim-tiny"), "test")
    assert made.manifest["model"]["eos_token_id"] == expected
    made.save(tmp_path / "image")
    ends = images.load(tmp_path / "image").model()[1]
    assert ends == (() if expected is None else tuple(expected) if isinstance(expected, list)
                    else (expected,))


@pytest.mark.parametrize("text, match", [
    ('{"eos_token_id": 40}', r"generation_config.json: eos_token_id must be .* 0 to 39.* not 40"),
    ('{"eos_token_id": [1, true]}', "not .1, True."), ('{"eos_token_id": "</s>"}', "not '</s>'"),
    ('{"eos_token_id": {}}', "not {}"), ("[]", "expected a JSON object"), ("{", "not valid JSON")])
def test_a_wrong_generation_config_is_refused(tmp_path, text, match):
    model = random_model.write(tmp_path / "model", hidden=20, inner=20, layers=1, vocab=40)
    (model / "generation_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(TernError, match=match):
        compile_model(model, preset("sim-tiny"), "test")
