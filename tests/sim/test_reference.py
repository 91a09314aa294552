from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.models.floats import BitLinear
from tern_fpga.assembler.models.hgrn import HgrnReference
from tern_fpga.sim.reference import model as reference
from tests import random_model


CHECKPOINT = Path(__file__).parents[1] / "data" / "mmf-tiny-a"


@pytest.fixture(scope="module")
def authors():
    """Outputs of the authors' implementation in float32."""
    return load_file(CHECKPOINT / "golden.safetensors")


def load(dtype=np.float64):
    return reference.load(CHECKPOINT, dtype)


# Measured: float64 1.22 % and 97.9 %, float32 1.33 % and 97.9 %; on mmf-tiny-b (no lower
# bounds) 0.72 % and 100 %, 0.35 % and 100 %. What is left is codes at rounding ties.
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_logits_are_the_authors(authors, dtype):
    logits = load(dtype).logits(authors["input_ids"])
    expected = authors["logits"].astype(np.float64)
    assert logits.dtype == dtype
    assert np.linalg.norm(logits - expected) <= 0.02 * np.linalg.norm(expected)
    assert (logits.argmax(-1) == expected.argmax(-1)).mean() >= 0.97


def test_hidden_states_are_the_authors(authors):
    model, hidden = load(), []
    model.forward(authors["input_ids"], model.state(2), hidden)
    assert len(hidden) == model.layers + 1
    for i, x in enumerate(hidden):
        expected = authors[f"hidden.{i}"]
        assert np.linalg.norm(x - expected) <= 0.02 * np.linalg.norm(expected)


def test_a_token_at_a_time_equals_the_whole_sequence(authors):
    model = load()
    ids = authors["input_ids"]
    state = model.state(2)
    steps = [model.forward(ids[:, t:t + 1], state) for t in range(ids.shape[1])]
    assert (np.concatenate(steps, 1) == model.logits(ids)).all()


def test_streams_do_not_see_each_other(authors):
    model = load()
    ids = authors["input_ids"]
    assert (model.logits(ids[1:]) == model.logits(ids)[1:]).all()


def test_ternary_weights_and_scale():
    """BitLinear on a matrix small enough to do by hand."""
    weight = np.array([[0.4, -0.1, 0.9], [-0.6, 0.0, 0.2]])
    layer = BitLinear(weight, np.ones(3), np.float64, 1e-6)
    assert layer.trits.tolist() == [[1, 0, 1], [-1, 0, 1]]         # mean 0.3667, half of it 0.1833
    assert layer.scale == pytest.approx(np.abs(np.float32(weight)).mean())
    # rms of (3, 0, -4) is sqrt(25 / 3); codes are (95, 0, -127) as 3 / 4 * 127 = 95.25.
    y = layer(np.array([3.0, 0.0, -4.0]))
    unit = 4 / np.sqrt(25 / 3 + 1e-6) / 127 * layer.scale
    assert y == pytest.approx([(95 - 127) * unit, (-95 - 127) * unit])


@pytest.mark.parametrize("lower_bounds", [True, False])
def test_dtypes_shards_and_missing_lower_bounds(tmp_path, lower_bounds):
    """bf16 in two files gives the model whose float32 weights are the same numbers."""
    path = random_model.write(tmp_path / "sharded", hidden=40, layers=2, vocab=50, dtype="BF16",
                              shards=2, lower_bounds=lower_bounds)
    tensors = Checkpoint(path).tensors
    plain = HgrnReference(2, lambda name: tensors[name].array(), lower_bounds=lower_bounds)
    model = reference.load(path)
    ids = np.arange(10).reshape(2, 5)
    logits = model.logits(ids)
    assert logits.shape == (2, 5, 50) and (logits == plain.logits(ids)).all()
    assert model.bounds.any() == lower_bounds
