"""Whole models on the golden machine: against the authors, and however the tokens are cut."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from tern_fpga.assembler.contract.config import preset
from tern_fpga.sim.engines import Engine
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.reference import model as reference
from tern_fpga.sim.reference.floating import FloatMachine
from tests.compiled import CONFIGS, TINY_A, compiled, random_image


ROOMY = replace(preset("ulx3s-85f"), memory_bytes=1 << 22)


def logits(image, ids, machine=Machine):
    """Of one sequence: (t, vocabulary)."""
    return np.concatenate(list(Engine(image, machine(image, logits=True)).logits(ids)))


def ids_of(image, prompts, count=8):
    """Tokens that each prompt is continued with, in one machine."""
    streams = [[] for _ in prompts]
    for token in Engine(image, Machine(image)).generate(prompts, count):
        streams[token.stream].append(token.id)
    return streams


@pytest.fixture(scope="module")
def authors():
    return load_file(TINY_A / "golden.safetensors")


def compare(image, authors, machine=Machine):
    """(relative error of all logits, share of positions with the authors' top-1)."""
    ours = np.stack([logits(image, row, machine) for row in authors["input_ids"]])
    theirs = authors["logits"].astype(np.float64)
    return (np.linalg.norm(ours - theirs) / np.linalg.norm(theirs),
            (ours.argmax(-1) == theirs.argmax(-1)).mean())


# What differs are int8 codes at rounding ties, and random weights make much of each: float32
# with another order of summation is 1 % away already. Measured, relative error and same top-1:
#
#   significand   mmf-tiny-a        mmf-tiny-b        float engine (parameters rounded only)
#   12            3.39 %  95.8 %    4.73 %  85.4 %    3.27 %  94.8 %    4.78 %  89.6 %
#   18            1.97 %  99.0 %    2.98 %  93.8 %    1.93 %  96.9 %    2.46 %  93.8 %
#   22            0.93 %  99.0 %    1.06 %  96.9 %
#   24            1.22 %  97.9 %    0.35 %  100 %
# The promise, at most 3 % and 96 % or more on both, is that of the simulation preset (24 bits).
# mmf-tiny-b is too large to keep here: python -m tests.campaigns.authors FOLDER measures it.
@pytest.mark.parametrize("significand,error,same", [(12, 0.035, 0.95), (18, 0.02, 0.98),
                                                    (22, 0.01, 0.98), (24, 0.013, 0.97)])
def test_logits_are_near_the_authors(authors, significand, error, same):
    measured, top = compare(compiled(TINY_A, replace(ROOMY, significand=significand)), authors)
    assert measured <= error
    assert top >= same


def test_float_engine_is_near_the_authors(authors):
    image = compiled(TINY_A, replace(ROOMY, significand=20))
    measured, top = compare(image, authors, FloatMachine)
    assert measured <= 0.02
    assert top >= 0.97


def test_float_engine_is_the_reference_where_parameters_are_exact(tmp_path):
    """24 bits hold the parameters so well that hardly a code differs."""
    config = replace(CONFIGS["wide"], significand=24, exponent=7)
    image = random_image(tmp_path, config, hidden=40, inner=72, layers=2, vocab=61)
    ids = np.arange(24) * 7 % 61
    expected = reference.load(tmp_path / "model").logits(ids[None])[0]
    assert np.median(np.abs(logits(image, ids, FloatMachine) - expected)) < 1e-4
    assert (logits(image, ids, FloatMachine).argmax(-1) == expected.argmax(-1)).mean() > 0.9


@pytest.mark.parametrize("shape", [dict(hidden=40, inner=72, layers=2, vocab=61),
                                   dict(hidden=37, inner=53, layers=3, vocab=67,
                                        lower_bounds=False)], ids=["even", "odd"])
def test_prefill_is_the_same_bits_however_it_is_cut(tmp_path, shape):
    """Lanes, vector lanes and memory width change nothing either: only the float format does."""
    ids = np.random.default_rng(0).integers(0, 61, 19)
    expected, tokens = None, None
    for positions, other in ((1, CONFIGS["narrow"]), (2, CONFIGS["many"]), (4, CONFIGS["wide"]),
                             (8, CONFIGS["many"])):
        config = replace(other, positions=positions, significand=12, exponent=6)
        image = random_image(tmp_path / str(positions), config, **shape)
        ours = logits(image, ids), ids_of(image, [ids.tolist()])
        if expected is None:
            expected, tokens = ours
        assert (ours[0] == expected).all()
        assert ours[1] == tokens


def test_streams_are_as_when_alone(tmp_path):
    """More prompts than slots, of different lengths: slots are used again."""
    config = CONFIGS["wide"]
    image = random_image(tmp_path, config, hidden=40, inner=72, layers=2, vocab=61)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(0, 61, n).tolist() for n in (1, 9, 4, 2, 5, 3)]
    assert len(prompts) > config.positions
    assert ids_of(image, prompts) == [ids_of(image, [ids])[0] for ids in prompts]


class Trickle(Machine):
    """Gives the host one word at a time and stops for nothing now and then, like the RTL."""
    shown = 0

    @property
    def tokens(self):
        return super().tokens[:self.shown]

    def run(self, tokens=None):
        while self.shown == len(super().tokens):
            status = self.step()
            if status != "running":
                return status
            if self.pc % 16 == 0:
                return status
        self.shown += 1
        return "running"


def test_words_may_come_one_at_a_time(tmp_path):
    config = CONFIGS["wide"]
    image = random_image(tmp_path, config, hidden=40, inner=72, layers=2, vocab=61)
    rows = np.random.default_rng(2).integers(0, 61, (2, 10))
    whole, slow = (Engine(image, kind(image, logits=True)) for kind in (Machine, Trickle))
    for row in rows:
        expected, ours = (np.concatenate(list(engine.logits(row, batch=3)))
                          for engine in (whole, slow))
        assert (ours == expected).all() and ours.shape == (10, 61)
    prompts = [row[:n].tolist() for row in rows for n in (1, 5, 7)]
    assert list(slow.generate(prompts, 4)) == list(whole.generate(prompts, 4))


@pytest.mark.parametrize("target,expected", [
    # The ids of the float64 model too: 24 bits leave only rounding ties.
    ("sim-tiny", [62, 217, 34, 93, 157, 173, 22, 189, 216, 103, 156, 237, 253, 91, 177, 140]),
    ("ulx3s-85f", [246, 242, 140, 103, 156, 140, 247, 161, 70, 110, 99, 227, 250, 157, 53, 1]),
])
def test_transcript(target, expected):
    """Fixed checkpoint, fixed prompt, greedy."""
    assert ids_of(compiled(TINY_A, preset(target)), [[1, 2, 3]], 16) == [expected]
