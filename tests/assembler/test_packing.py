from dataclasses import replace

from hypothesis import given, settings, strategies
import numpy as np
import pytest

from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.assembler.files import packing


CONFIGS = {
    "16-bit": PRESETS["sim-tiny"],
    "2 words a beat": PRESETS["ulx3s-85f"],
    "64-bit": PRESETS["orangecrab-85f"],
    "4 words a beat": replace(PRESETS["sim-tiny"], lanes=40, vector_lanes=8, significand=17,
                              accumulator_rows=16, exponent=5),
    "32-bit floats": replace(PRESETS["orangecrab-85f"], significand=24, exponent=8),
}
SHAPES = [(1, 1), (16, 40), (131, 72), (300, 203)]
over_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def test_bytes_are_those_of_the_documented_code():
    for n in range(243):
        digits = [n // 3 ** k % 3 for k in (4, 3, 2, 1, 0)]
        trits = np.array(digits, np.int8) - 1
        assert packing.pack(trits)[0] == (256 * n + 242) // 243


def test_every_byte_unpacks_by_the_documented_rule():
    for byte in range(256):
        expected = [((3 * (byte * 3 ** n & 255)) >> 8) - 1 for n in range(5)]
        assert packing.unpack(np.array([byte], np.uint8)).tolist() == expected


@settings(max_examples=50, deadline=None)
@given(strategies.lists(strategies.integers(-1, 1), max_size=200))
def test_trits_round_trip(trits):
    trits = np.array(trits[:len(trits) // 5 * 5], np.int8)
    assert np.array_equal(packing.unpack(packing.pack(trits)), trits)


def test_a_number_of_trits_that_fills_no_byte_is_refused():
    with pytest.raises(ValueError, match="multiple of 5, not 7"):
        packing.pack(np.zeros(7, np.int8))


@over_configs
@pytest.mark.parametrize("shape", SHAPES)
def test_tiles_lie_in_the_documented_order(config, shape):
    rows, columns = shape
    matrix = np.random.default_rng(rows).integers(-1, 2, shape).astype(np.int8)
    width = packing.blocks(columns, config)
    padded = np.zeros((rows, width * config.lanes), np.int8)
    padded[:, :columns] = matrix
    expected = []
    for top in range(0, rows, config.accumulator_rows):
        for block in range(width):
            for row in range(top, min(rows, top + config.accumulator_rows)):
                beat = padded[row, block * config.lanes:(block + 1) * config.lanes]
                expected += packing.pack(beat).tolist()
    data = packing.tile(matrix, config)
    assert data.tolist() == expected
    assert len(data) == packing.matrix_words(rows, columns, config) * config.word_bytes
    assert np.array_equal(packing.untile(data, rows, columns, config), matrix)


def test_bytes_of_another_matrix_are_refused():
    with pytest.raises(ValueError, match="a packed 3 x 7 matrix has 6 bytes, not 5"):
        packing.untile(np.zeros(5, np.uint8), 3, 7, CONFIGS["16-bit"])


@over_configs
@pytest.mark.parametrize("elements", [1, 5, 8, 131])
def test_vectors_are_one_dense_bit_string(config, elements):
    rng = np.random.default_rng(elements)
    x = config.float.round(rng.standard_normal((3, elements)) * 100)
    data = packing.pack_vector(x, config)
    assert data.shape == (3, config.vector_words(elements) * config.word_bytes)
    width = config.float.width
    for vector, stored in zip(x, data):
        bits = int.from_bytes(stored.tobytes(), "little")
        words = config.float.encode(vector)
        assert [bits >> k * width & (1 << width) - 1 for k in range(elements)] == words.tolist()
        assert bits >> elements * width == 0
    assert np.array_equal(packing.unpack_vector(data, elements, config), x)


def test_vectors_are_rounded_when_packed():
    config = CONFIGS["16-bit"]
    x = np.array([1 / 3, 1e300, 1e-300])
    stored = packing.unpack_vector(packing.pack_vector(x, config), 3, config)
    assert np.array_equal(stored, config.float.round(x))
