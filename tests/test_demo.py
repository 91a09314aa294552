"""The demo: text out of the RTL, and what it says when the machines differ."""

import io

import pytest
from rich.console import Console

from assembler import tokenizer
from assembler.errors import TernError
from assembler.image import TOKENIZER
from sim import demo
from sim.generate import IdStream
from tests.compiled import random_image
from tests.test_golden_model import ids_of
from tests.test_random_programs import CONFIGS
from tests.test_tokenizer import byte_level


# The same machine as in tests/test_random_programs.py: one build for both.
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
    race.golden.machine.scheduler.emit = lambda ids, emit=race.golden.machine.scheduler.emit: \
        emit(ids ^ (len(race.cycles) == 1))
    assert list(race.tokens()) == expected[:1]
    assert race.wrong == f"token 2: rtl {expected[1]}, golden {expected[1] ^ 1}"


def test_ids_that_the_model_lacks_are_refused_at_once(image):
    with pytest.raises(TernError, match="id 300 is outside"):
        demo.Race(image, [300], 4)


def test_ids_are_shown_as_ids():
    stream = IdStream(",")
    assert stream.push(3) + stream.push(4) + stream.flush() == ",3,4"
