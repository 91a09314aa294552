"""``import tern_fpga``: what it offers, against the commands, and what it refuses."""

import numpy as np
import pytest

import tern_fpga
from tern_fpga.sim.cli import main
from tests import random_model
from tests.compiled import TINY_A
from tests.verilog import ROOT


STORIES = ROOT / "models" / "stories-5m"


@pytest.fixture(scope="module")
def machine():
    return tern_fpga.Machine(tern_fpga.compile(STORIES, "ulx3s-85f"))


def test_text_is_that_of_the_command(machine, tmp_path, capsys):
    machine.image.save(tmp_path / "image")
    assert main(["generate", str(tmp_path / "image"), "--prompt", "The dog", "--tokens", "12",
                 "--temperature", "0.7", "--top-k", "9", "--seed", "3"]) is None
    said = capsys.readouterr().out
    for each in (machine, tern_fpga.Machine(tmp_path / "image")):
        text = "".join(each.generate("The dog", 12, temperature=0.7, top_k=9, seed=3))
        assert said == f"The dog{text}\n"


def test_engines_agree(machine):
    ids = list(machine.tokens("The dog", 5))
    assert ids == list(machine.tokens(machine.words.encode("The dog"), 5))
    other = tern_fpga.Machine(machine.image, "float")
    assert list(other.tokens("The dog", 5)) == ids
    logits = np.array(list(machine.logits("The dog")))
    assert logits.shape == (len(machine.words.encode("The dog")), 2048)
    assert logits[-1].argmax() == ids[0]


def test_parameters_can_be_changed():
    image = tern_fpga.compile(TINY_A, positions=2, lanes=20)
    assert (image.config.positions, image.config.lanes) == (2, 20)
    assert len(list(tern_fpga.Machine(image).tokens([1, 77], 3))) == 3


def test_what_is_offered_is_listed():
    assert set(tern_fpga.__all__) <= set(dir(tern_fpga))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tern_fpga.nothing  # noqa: B018


@pytest.mark.parametrize("arguments, options, error, message", [
    ((["a"],), {}, TypeError, "interpreted as an integer"),
    (([1.5],), {}, TypeError, "interpreted as an integer"),
    (([],), {}, tern_fpga.TernError, "holds no token"),
    (([2048],), {}, tern_fpga.TernError, "id 2048 is outside"),
    (("The", 0), {}, ValueError, "count must be positive"),
    (("The", -1), {}, ValueError, "count must be positive"),
    (("The", 1 << 24), {}, ValueError, "count must be positive"),
    (("The",), {"temperature": -1}, ValueError, "temperature must be"),
    (("The",), {"temprature": 1}, TypeError, "temprature"),
])
def test_mistakes_are_told_at_once(machine, arguments, options, error, message):
    """By the call, not by the first token."""
    for call in (machine.tokens, machine.generate):
        with pytest.raises(error, match=message):
            call(*arguments, **options)


@pytest.mark.parametrize("options, message", [
    ({"streams": 9}, "streams must be 1 to 8"), ({"streams": 0}, "streams must be"),
    ({"tokens": 0}, "tokens must be at least 1"), ({"tokens": -1}, "tokens must be")])
def test_what_cannot_be_measured_is_refused(machine, options, message):
    with pytest.raises(tern_fpga.TernError, match=message):
        machine.perf(**options)


def test_text_needs_a_tokenizer(tmp_path):
    machine = tern_fpga.Machine(tern_fpga.compile(random_model.write(tmp_path / "m", vocab=50)))
    for call in (machine.tokens, machine.generate):
        with pytest.raises(tern_fpga.TernError, match="no tokenizer"):
            call("The dog")
    with pytest.raises(ValueError, match="engine must be one of"):
        tern_fpga.Machine(machine.image, "verilog")
