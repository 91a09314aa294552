import json

import numpy as np
import pytest

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tests import random_model


SHAPE = {"hidden": 20, "inner": 33, "layers": 2, "vocab": 11}
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def header_of(path):
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + length]), data[8 + length:]


def with_header(path, header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_tensors_read_as_the_library_reads_them(tmp_path, dtype, shards):
    from safetensors import safe_open
    folder = random_model.write(tmp_path, **SHAPE, dtype=dtype, shards=shards)
    checkpoint = Checkpoint(folder / "config.json")
    assert {n: t.shape for n, t in checkpoint.tensors.items()} == random_model.shapes(**SHAPE)
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            for name in file.keys():    # noqa: SIM118 - not a dict
                if dtype == "BF16":     # which NumPy lacks
                    header, body = header_of(path)
                    start, end = header[name]["data_offsets"]
                    words = np.frombuffer(body[start:end], "<u2").astype(np.uint32) << 16
                    expected = words.view(np.float32).reshape(header[name]["shape"])
                else:
                    expected = file.get_tensor(name)
                assert np.array_equal(checkpoint.tensors[name].array(), expected)


def test_ternary_is_the_definition(tmp_path):
    tensors = Checkpoint(random_model.write(tmp_path, **SHAPE, dtype="BF16")).tensors
    matrices = [tensor for name, tensor in tensors.items() if name.endswith("proj.weight")]
    assert len(matrices) == 6 * SHAPE["layers"]
    for tensor in matrices:
        weight = tensor.array().astype(np.float64)
        trits, scale = tensor.ternary()
        assert scale == pytest.approx(np.abs(weight).mean(), rel=1e-12)
        assert np.array_equal(trits, np.clip(np.rint(weight / scale), -1, 1))


def test_half_of_the_scale_rounds_to_zero(tmp_path):
    # mean|W| = 1, so that 0.5 is a tie and a little more is not.
    above = np.float32(0.5 + 2 ** -23)
    weight = np.array([0.5, -0.5, above, -above, 2 - above, above - 2, 1.5, -1.5], np.float32)
    folder = random_model.write(tmp_path, **SHAPE)
    with_header(folder / SINGLE,
                {"w": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}},
                weight.tobytes())
    trits, scale = Checkpoint(folder).tensors["w"].ternary()
    assert scale == 1
    assert trits.reshape(-1).tolist() == [0, 0, 1, -1, 1, -1, 1, -1]


def test_a_threshold_between_two_floats_is_not_rounded_up(tmp_path):
    # Half of the scale lies a little below the first weight and would round to it.
    weight = np.array([0.5 + 2 ** -24, 1.5 + 2 ** -23], np.float32)
    folder = random_model.write(tmp_path, **SHAPE)
    with_header(folder / SINGLE,
                {"w": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]}},
                weight.tobytes())
    trits, scale = Checkpoint(folder).tensors["w"].ternary()
    assert np.float32(scale / 2) == weight[0] and float(weight[0]) > scale / 2
    assert trits.tolist() == [[1, 1]]


def test_a_matrix_of_zeros_is_read(tmp_path):
    folder = random_model.write(tmp_path, **SHAPE)
    with_header(folder / SINGLE,
                {"w": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}}, bytes(32))
    trits, scale = Checkpoint(folder).tensors["w"].ternary()
    assert scale == 1e-5 and not trits.any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_weight_that_is_not_finite_is_named(tmp_path, value, dtype):
    folder = random_model.write(tmp_path, **SHAPE, dtype=dtype)
    header, body = header_of(folder / SINGLE)
    start = header["lm_head.weight"]["data_offsets"][0]
    bad = np.array([value], np.float32)
    bad = bad.view("<u2")[1:].tobytes() if dtype == "BF16" else bad.astype(
        {"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    at = start + 7 * len(bad)
    with_header(folder / SINGLE, header, body[:at] + bad + body[at + len(bad):])
    with pytest.raises(TernError, match="lm_head.weight holds .* at element 7"):
        Checkpoint(folder).tensors["lm_head.weight"].ternary()


@pytest.mark.parametrize("keep", [0, 5, 8, 500, -1])
def test_truncated_files_are_refused(tmp_path, keep):
    path = random_model.write(tmp_path, **SHAPE) / SINGLE
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TernError, match="truncated"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("header, message", [
    (b"[]", "damaged"), (b"{", "damaged"), (b'{"w": 3}', "damaged"), (b"[" * 90_000, "damaged"),
    ({"w": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, "w is I64"),
    ({"w": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}, "damaged"),
    ({"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "damaged"),
    ({"w": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}, "damaged"),
    ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, "damaged"),
    ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "w has 4 bytes"),
    ({"w": {"dtype": "F32", "shape": [1 << 60], "data_offsets": [0, 1 << 62]}}, "truncated"),
])
def test_hostile_headers_are_refused(tmp_path, header, message):
    with_header(random_model.write(tmp_path, **SHAPE) / SINGLE, header, bytes(64))
    with pytest.raises(TernError, match=message):
        Checkpoint(tmp_path)


def test_pickles_are_refused(tmp_path):
    folder = random_model.write(tmp_path / "a", **SHAPE)
    (folder / SINGLE).rename(folder / "pytorch_model.bin")
    for path in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(TernError, match="pickle"):
            Checkpoint(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(TernError, match="holds no config.json"):
        Checkpoint(tmp_path)
    folder = random_model.write(tmp_path / "a", **SHAPE)
    (folder / SINGLE).unlink()
    with pytest.raises(TernError, match="neither model.safetensors nor"):
        Checkpoint(folder)


@pytest.mark.parametrize("shard", ["../a.safetensors", "/etc/passwd", "sub/a.safetensors", "..",
                                   "link.safetensors", "", "a\0b"])
def test_shards_outside_the_folder_are_refused(tmp_path, shard):
    folder = random_model.write(tmp_path / "a", **SHAPE)
    (folder / "link.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w": shard}}), encoding="utf-8")
    with pytest.raises(TernError, match="leaves the folder"):
        Checkpoint(folder)


def test_a_shard_without_its_tensor_is_named(tmp_path):
    folder = random_model.write(tmp_path, **SHAPE)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"w": SINGLE}}), encoding="utf-8")
    with pytest.raises(TernError, match="tensor w is missing in model.safetensors"):
        Checkpoint(folder)


@pytest.mark.parametrize("name", ["n" * 5000, "loop.safetensors", "\\ud800"])
@pytest.mark.parametrize("sharded", [False, True])
def test_names_that_no_file_can_have_are_refused(tmp_path, name, sharded):
    folder = random_model.write(tmp_path, **SHAPE)
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    path = folder / (INDEX if sharded else "config.json")
    path.write_text('{"weight_map": {"w": "%s"}}' % name if sharded else
                    '{"weights": "%s"}' % name, encoding="utf-8")
    with pytest.raises(TernError, match="cannot read|leaves the folder|is missing"):
        Checkpoint(folder)


@pytest.mark.parametrize("index", ["{}", '{"weight_map": 3}', '{"weight_map": {"w": 3}}', "[1]"])
def test_damaged_indexes_are_refused(tmp_path, index):
    folder = random_model.write(tmp_path, **SHAPE)
    (folder / INDEX).write_text(index, encoding="utf-8")
    with pytest.raises(TernError, match="weight_map|JSON object"):
        Checkpoint(folder)


def test_a_model_json_names_its_files(tmp_path):
    folder = random_model.write(tmp_path / "weights", **SHAPE, shards=2)
    (tmp_path / "words.json").write_text('{"model": {}}', encoding="utf-8")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    path = tmp_path / "model.json"
    path.write_text(json.dumps(config | {"weights": "weights", "tokenizer": "words.json",
                                         "target": "sim-tiny"}), encoding="utf-8")
    checkpoint = Checkpoint(path)
    assert set(checkpoint.tensors) == set(random_model.shapes(**SHAPE))
    assert checkpoint.tokenizer == tmp_path / "words.json"
    path.write_text(json.dumps(config | {"weights": 3}), encoding="utf-8")
    with pytest.raises(TernError, match="weights must be a path, not 3"):
        Checkpoint(path)
