"""The shipped models: what they are, and what they write, to the token."""

from pathlib import Path

import pytest

from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.files import tokenizer
from tern_fpga.assembler.files.checkpoint import SINGLE, Checkpoint
from tern_fpga.assembler.files.ternary import Packed
from tern_fpga.sim.commands.demo import Race
from tests.compiled import compiled
from tests.sim.test_golden_model import ids_of


MODELS = Path(__file__).parents[2] / "models"

PROMPT = "Once upon a time"
BEGUN = [1626, 400, 893, 259, 542]

# Greedy, the same on every preset: what their floats round differently decides no token here.
WRITTEN = {
    "stories-5m": (
        [12, 434, 261, 1081, 309, 381, 263, 280, 12, 261, 1081, 309, 381, 263, 280, 1532, 319, 12,
         272, 261, 1081, 309, 381, 263, 280, 1532, 319, 14, 199, 2, 41, 984],
        ", when the sun was shining, the sun was shining brightly, and the sun was shining "
        "brightly.\n\"I wonder"),
    "stories-30m": (
        [449, 309, 259, 423, 692, 841, 346, 364, 1320, 12, 479, 1329, 300, 259, 423, 691, 300, 261,
         1402, 14, 657, 309, 259, 423, 692, 12, 272, 353, 309, 842, 841, 1663],
        " there was a little girl called Mamma, who lived in a little house in the woods. She was "
        "a little girl, and she was always called Little"),
}
SIZES = {"stories-5m": (5_672_960, 4 << 20), "stories-30m": (31_416_320, 16 << 20)}
over_models = pytest.mark.parametrize("name", WRITTEN)


@over_models
def test_file_is_packed_and_small(name):
    weights, limit = SIZES[name]
    assert (MODELS / name / SINGLE).stat().st_size < limit
    tensors = Checkpoint(MODELS / name).tensors.values()
    assert sum(tensor.count for tensor in tensors if isinstance(tensor, Packed)) == weights
    assert {tensor.dtype for tensor in tensors if not isinstance(tensor, Packed)} == {"BF16"}
    assert (MODELS / name / "README.md").exists()


@over_models
@pytest.mark.parametrize("target", ["ulx3s-25f", "ulx3s-85f"])
def test_transcript(name, target):
    """Fixed checkpoint, fixed prompt, greedy."""
    image = compiled(MODELS / name, preset(target))
    words = tokenizer.load(image)
    assert words.encode(PROMPT) == BEGUN
    ids, text = WRITTEN[name]
    assert ids_of(image, [BEGUN], 32) == [ids]
    stream = words.stream(BEGUN)
    assert "".join(map(stream.push, ids)) + stream.flush() == text


@pytest.mark.parametrize("name, prompt, count, expected", [
    ("stories-5m", BEGUN, 2, WRITTEN["stories-5m"][0][:2]),
    ("stories-30m", BEGUN[:1], 2, None),        # a token is some seconds
])
def test_the_core_writes_the_same(name, prompt, count, expected):
    """RTL of the machine of `make demo`, against the golden machine and the ids above."""
    race = Race(compiled(MODELS / name, preset("ulx3s-25f")), prompt, count)
    race.start()
    tokens = list(race.tokens())
    assert race.wrong is None and len(tokens) == count
    assert expected is None or tokens == expected
