"""The demo: text out of the RTL, and what it says when the machines differ."""

import importlib
import io
import shlex

import pytest
from rich.console import Console

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import tokenizer
from tern_fpga.assembler.files.image import TOKENIZER
from tern_fpga.sim.commands import demo
from tern_fpga.sim.commands.generate import IdStream
from tests.assembler.test_tokenizer import byte_level
from tests.campaigns.test_random_programs import CONFIGS
from tests.compiled import random_image
from tests.sim.test_golden_model import ids_of


# The same machine as in tests/campaigns/test_random_programs.py: one build for both.
CONFIG = CONFIGS["narrow"]


@pytest.fixture
def image(tmp_path):
    made = random_image(tmp_path, CONFIG, hidden=20, inner=33, layers=2, vocab=300,
                        eos_token_id=299)
    made.files[TOKENIZER] = byte_level().to_str().encode()
    return made


def tell(image, prompt, count, **console):
    words = tokenizer.load(image)
    ids = words.encode(prompt)
    race = demo.Race(image, ids, count)
    race.start()
    out = io.StringIO()
    demo._tell(Console(file=out, **console), race, prompt, words.stream(ids), 100)
    demo._summary(Console(file=out), race, 100, 1.0)
    return race, out.getvalue()


def test_text_is_that_of_the_golden_machine(image, capsys):
    words = tokenizer.load(image)
    race, out = tell(image, "the lion", 5)
    stream = words.stream()
    expected = "".join(map(stream.push, ids_of(image, [words.encode("the lion")], 5)[0]))
    assert capsys.readouterr().out == f"the lion{expected}{stream.flush()}\n"
    assert race.wrong is None and len(race.cycles) == 5 and min(race.cycles) > 500
    assert "5 of 5" in out


def test_a_terminal_sees_the_newest_token(image):
    _, out = tell(image, "the lion", 3, force_terminal=True, width=80)
    assert "token 3:" in out and "golden agrees" in out


def test_the_end_of_the_story_ends_it(image):
    first = ids_of(image, [[5]], 4)[0]
    image.manifest["model"]["eos_token_id"] = first[1]
    race = demo.Race(image, [5], 4)
    race.start()
    assert list(race.tokens()) == first[:2]


def test_a_difference_is_named(image):
    race = demo.Race(image, [5], 4)
    race.start()
    expected = ids_of(image, [[5]], 4)[0]
    cycles = race.cycles        # and not the race: a cycle of references keeps simulators alive
    race.golden.machine.scheduler.emit = lambda ids, emit=race.golden.machine.scheduler.emit: \
        emit(ids ^ (len(cycles) == 1))
    assert list(race.tokens()) == expected[:1]
    assert race.wrong == f"token 2: rtl {expected[1]}, golden {expected[1] ^ 1}"


def test_ids_that_the_model_lacks_are_refused_at_once(image):
    with pytest.raises(TernError, match="id 300 is outside"):
        demo.Race(image, [300], 4)


def test_ids_are_shown_as_ids():
    stream = IdStream(",")
    assert stream.push(3) + stream.push(4) + stream.flush() == ",3,4"


@pytest.mark.parametrize("text, ends", [
    ("The dog ran. It barked", ["The dog ran."]), ("The dog ran.", []), ("The dog ran. ", [12]),
    ('He said, "Stop!" Mr. Fox did. Then', ['He said, "Stop!"', 'He said, "Stop!" Mr. Fox did.']),
    ("Wait... Dr. A.B. came?!\n", [7, 16, 23]), ("3.5 m and a.b", []), ("狮子叫。”它", [5]),
    ("‘Go.’ ", [5])])
def test_where_sentences_end(text, ends):
    found = demo.sentence_ends(text)
    assert found == [end if isinstance(end, int) else len(end) for end in ends]
    assert demo.sentence_ends(text, len(text)) == []


class Told:
    """A race that says a text, a character a token."""
    def __init__(self, text, count, end=None):
        self.cycles, self.count, self.text, self.wrong = [], count, text, None
        self.golden = type("Golden", (), {"ends": () if end is None else (ord(end),)})

    def tokens(self):
        for c in self.text[:self.count]:
            self.cycles.append(1000)
            yield ord(c)


class Characters:
    push, flush = staticmethod(chr), staticmethod(lambda: "")


@pytest.mark.parametrize("text, count, end, expected", [
    # The first sentence that ends after two thirds of the tokens ends the story.
    ("It is. He ran away. She sat. A b c d e f g", 24, None, "It is. He ran away."),
    ("It is. He ran. She sat on a mat. A b c d", 24, None, "It is. He ran."),
    ("It is. He ran. She sat. A b c d", 23, None, "It is. He ran. She sat."),
    ("It is a story that has no end at all", 30, None, "It is a story that has no end "),
    ("It is. The end|", 30, "|", "It is. The end|"),
    ("It is. He said, 'No.' ", 30, None, "It is. He said, 'No.'")])
def test_a_story_ends_with_a_sentence(text, count, end, expected, capsys):
    race = Told(text, count, end)
    demo._tell(Console(file=io.StringIO()), race, "Once. Then: ", Characters, 100)
    assert capsys.readouterr().out == f"Once. Then: {expected}\n"
    screen = io.StringIO()
    demo._tell(Console(file=screen, force_terminal=True, width=80), Told(text, count, end),
               "Once. Then: ", Characters, 100)
    last = screen.getvalue().split("\x1b[2K")[-1]       # what is left on the screen
    assert last.split("\n")[0].rstrip() == f"Once. Then: {expected}".rstrip()


def test_an_end_that_the_core_does_not_know_ends_the_story(image):
    first = ids_of(image, [[5]], 4)[0]
    image.manifest["model"]["eos_token_id"] = [299, first[1]]
    race = demo.Race(image, [5], 4)
    race.start()
    assert list(race.tokens()) == first[:2]


def test_the_demo_says_what_to_try_next(tmp_path, capsys):
    """Lines that can be typed: each command knows its arguments."""
    from tern_fpga.assembler.console.commands import Parser

    parser = Parser()
    demo.add_arguments(parser)
    args = parser.parse_args(["--model", "a [b] c"])
    for words in (None, object()):
        out = io.StringIO()
        demo._next(Console(file=out, width=40), tmp_path / "it's", args, words)
        lines = [line.partition("python -m ")[2] for line in out.getvalue().splitlines()
                 if "python -m " in line]
        assert len(lines) == 4 and ("--prompt" in out.getvalue()) == bool(words)
        for line in lines:
            package, command, *more = shlex.split(line)
            module = importlib.import_module(
                f"tern_fpga.{package}." + ("commands." if package == "sim" else "") + command)
            parser = Parser()
            module.add_arguments(parser)
            parsed = parser.parse_args(more)
            assert getattr(parsed, "model", args.model) == args.model
