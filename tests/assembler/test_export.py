"""Checkpoints with packed trits: written, read, and refused when damaged."""

import json
import os

from hypothesis import given, settings, strategies
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest
from safetensors import safe_open

from tern_fpga.assembler.cli import main
from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.export import export
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import packing, ternary
from tern_fpga.assembler.files.checkpoint import BYTES, SINGLE, Checkpoint
from tern_fpga.sim.reference import model as reference
from tests import random_model
from tests.assembler.test_checkpoint import header_of, with_header
from tests.compiled import TINY_A


SHAPE = {"hidden": 36, "inner": 53, "layers": 2, "vocab": 61}   # no row fills its last byte
PACKED = "lm_head.weight_packed"


def exported(folder, **options):
    """(original, copy) of a random checkpoint."""
    model = random_model.write(folder / "model", **SHAPE | options)
    export(Checkpoint(model), folder / "copy")
    return model, folder / "copy"


def image_of(path, target="sim-tiny"):
    """All bytes of the image, and the manifest without the place of the checkpoint."""
    image = compile_model(path, preset(target), target)
    image.manifest["model"] = image.manifest["model"] | {"source": ""}
    return image.memory().tobytes(), image.manifest, image.files


def test_a_published_checkpoint_gives_the_same_image(tmp_path, capsys):
    assert report(main, ["--export-ternary", str(TINY_A), str(tmp_path / "copy")]) == 0
    assert "all else in bf16, but 31 tensors" in capsys.readouterr().out
    for target in ("sim-tiny", "ulx3s-85f"):
        assert image_of(tmp_path / "copy", target) == image_of(TINY_A, target)


@pytest.mark.parametrize("options", [{"dtype": "F32"}, {"dtype": "F16", "lower_bounds": False},
                                     {"dtype": "BF16", "shards": 3}], ids=str)
def test_random_checkpoints_give_the_same_image(tmp_path, options):
    model, copy = exported(tmp_path, **options)
    assert image_of(copy) == image_of(model)
    again = tmp_path / "again"
    export(Checkpoint(copy), again)         # a copy of a copy
    assert (again / SINGLE).read_bytes() == (copy / SINGLE).read_bytes()
    ids = np.arange(12).reshape(2, 6)
    assert np.allclose(reference.load(copy).logits(ids),
                       reference.load(model).logits(ids), rtol=1e-9)


def test_bf16_is_used_where_it_is_exact(tmp_path):
    model, copy = exported(tmp_path, dtype="BF16")
    assert {t["dtype"] for k, t in header_of(copy / SINGLE)[0].items()
            if k != "__metadata__"} == {"BF16", "U8", "F64", "I64"}
    assert (copy / SINGLE).stat().st_size < (model / SINGLE).stat().st_size
    # One gain of an F32 checkpoint that bf16 holds, among others that it does not.
    model = random_model.write(tmp_path / "wide", **SHAPE)
    header, body = header_of(model / SINGLE)
    start, end = header["model.norm.weight"]["data_offsets"]
    gains = np.full((end - start) // 4, 1.5, "<f4").tobytes()
    with_header(model / SINGLE, header, body[:start] + gains + body[end:])
    wide = export(Checkpoint(model), tmp_path / "mixed")
    kinds = {k: t["dtype"] for k, t in header_of(tmp_path / "mixed" / SINGLE)[0].items()
             if k != "__metadata__"}
    assert kinds["model.norm.weight"] == "BF16" and "model.norm.weight" not in wide
    assert kinds["model.embeddings.weight"] == "F32" and "model.embeddings.weight" in wide


def test_the_library_reads_the_file(tmp_path):
    _, copy = exported(tmp_path)
    with safe_open(copy / SINGLE, "numpy") as file:
        rows, columns = file.get_tensor("lm_head.weight_shape")
        packed = file.get_tensor(PACKED)
    assert packed.shape == (SHAPE["vocab"], -(-columns // 5)) and rows == SHAPE["vocab"]
    for name, tensor in header_of(copy / SINGLE)[0].items():
        if name != "__metadata__":
            assert tensor["data_offsets"][0] % BYTES[tensor["dtype"]] == 0


@settings(max_examples=60, deadline=None, derandomize=True)
@given(arrays.arrays(np.int8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=23),
                     elements=strategies.integers(-1, 1)),
       strategies.floats(1e-5, 1e3))
def test_parts_hold_the_matrix(tmp_path_factory, trits, scale):
    header, body = {}, b""
    for name, dtype, array in ternary.parts("w.weight", trits, scale):
        header[name] = {"dtype": dtype, "shape": list(array.shape),
                        "data_offsets": [len(body), len(body) + array.nbytes]}
        body += array.tobytes()
    folder = tmp_path_factory.mktemp("parts")
    (folder / "config.json").write_text("{}", encoding="utf-8")
    with_header(folder / SINGLE, header, body)
    tensor = Checkpoint(folder).tensors["w.weight"]
    read, factor = tensor.ternary()
    assert np.array_equal(read, trits) and factor == scale and tensor.shape == trits.shape
    assert tensor.count == trits.size


def test_bytes_that_pack_never_writes():
    written = {int(packing.pack(np.array(digits, np.int8) - 1)[0])
               for digits in np.ndindex(3, 3, 3, 3, 3)}
    assert [bool(packing.is_code(byte)) for byte in range(256)] == [
        byte in written for byte in range(256)]


def damaged(tmp_path, change):
    """Checkpoint of a copy whose header and body ``change(header, body)`` has changed."""
    _, copy = exported(tmp_path)
    header, body = header_of(copy / SINGLE)
    body = bytearray(body)
    change(header, body)
    with_header(copy / SINGLE, header, bytes(body))
    return copy


def at(header, name, index=0):
    return header[name]["data_offsets"][0] + index


def put(header, body, name, array):
    body[at(header, name):at(header, name, array.nbytes)] = array.tobytes()


@pytest.mark.parametrize("change, message", [
    (lambda h, b: h.pop("lm_head.weight_scale"), "lm_head.weight_scale is missing beside"),
    (lambda h, b: h.pop("lm_head.weight_shape"), "lm_head.weight_shape is missing beside"),
    (lambda h, b: h.pop(PACKED), "lm_head.weight_packed is missing beside"),
    (lambda h, b: put(h, b, "lm_head.weight_scale", np.array([np.nan])), "holds nan"),
    (lambda h, b: put(h, b, "lm_head.weight_scale", np.array([np.inf])), "holds inf"),
    (lambda h, b: put(h, b, "lm_head.weight_scale", np.array([0.0])), "holds 0.0"),
    (lambda h, b: put(h, b, "lm_head.weight_scale", np.array([-0.5])), "holds -0.5"),
    (lambda h, b: put(h, b, "lm_head.weight_shape", np.array([61, 41])), "61 x 41 trits do not"),
    (lambda h, b: put(h, b, "lm_head.weight_shape", np.array([60, 36])), "60 x 36 trits do not"),
    (lambda h, b: put(h, b, "lm_head.weight_shape", np.array([61, 0])), "no matrix has"),
    (lambda h, b: put(h, b, "lm_head.weight_shape", np.array([-61, 36])), "no matrix has"),
    (lambda h, b: h[PACKED].update(dtype="F16", shape=[1, 1], data_offsets=[
        at(h, PACKED), at(h, PACKED, 2)]), "is F16, not U8"),
    (lambda h, b: h["lm_head.weight_scale"].update(shape=[1, 1]), r"has shape \[1, 1\], not \[1\]"),
    (lambda h, b: h.update({"lm_head.weight": {"dtype": "BF16", "shape": [0, 36],
                                               "data_offsets": [0, 0]}}), "there twice"),
    (lambda h, b: h.update({"more": h["model.embeddings.weight"]}), "more overlap"),
    (lambda h, b: h.update({"other": h[PACKED]}), "other is U8; supported"),
    (lambda h, b: h[PACKED].update(data_offsets=[0, 5]), "has 5 bytes"),
])
def test_damaged_parts_are_refused(tmp_path, change, message):
    with pytest.raises(TernError, match=message):
        Checkpoint(damaged(tmp_path, change))


@pytest.mark.parametrize("index, byte, message", [
    (5, 1, "byte 5 is 0x01, which no five trits give"),
    # The last byte of a row of 36 columns holds one trit: 0, 0, 0, 0, 1 has one after it.
    (7, int(packing.pack([0, 0, 0, 0, 1])[0]), "row 0 has trits after its 36 columns"),
])
def test_damaged_trits_are_refused(tmp_path, index, byte, message):
    assert packing.is_code(byte) == (index == 7)
    copy = damaged(tmp_path, lambda h, b: b.__setitem__(at(h, PACKED, index), byte))
    with pytest.raises(TernError, match=message):
        compile_model(copy, preset("sim-tiny"), "sim-tiny")


@pytest.mark.parametrize("form, message", [
    ({"quant_method": "bitnet"}, "'bitnet' is not supported"), (3, "3 is not supported"),
    ({**ternary.CONFIG, "version": 2}, "version 2' is not supported")])
def test_other_forms_are_refused(tmp_path, form, message):
    _, copy = exported(tmp_path)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"quantization_config": form}), "utf-8")
    with pytest.raises(TernError, match=message):
        Checkpoint(copy)


def test_files_of_the_folder(tmp_path):
    """What a model.json names elsewhere is copied, and its paths are not."""
    model = random_model.write(tmp_path / "model", **SHAPE, dtype="BF16")
    (model / "generation_config.json").write_text("{}", encoding="utf-8")
    (model / "words.json").write_text('{"model": 3}', encoding="utf-8")
    (model / "model.json").write_text(json.dumps(
        json.loads((model / "config.json").read_text(encoding="utf-8"))
        | {"weights": ".", "tokenizer": "words.json", "target": "ulx3s-85f"}), encoding="utf-8")
    export(Checkpoint(model / "model.json"), tmp_path / "copy")
    assert sorted(os.listdir(tmp_path / "copy")) == ["config.json", "generation_config.json",
                                                     SINGLE, "tokenizer.json"]
    assert sorted(os.listdir(tmp_path)) == ["copy", "model"]
    config = json.loads((tmp_path / "copy" / "config.json").read_text(encoding="utf-8"))
    assert config["target"] == "ulx3s-85f" and config["quantization_config"] == ternary.CONFIG
    assert "weights" not in config and "tokenizer" not in config


def test_mistakes_leave_nothing(tmp_path, capsys):
    model = random_model.write(tmp_path / "model", **SHAPE)

    def refused(match, *argv):
        assert report(main, ["--export-ternary", *map(str, argv)]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and match in err

    refused("is the model's own folder", model, tmp_path / "model" / ".")
    refused("holds no config.json", tmp_path, tmp_path / "copy")
    (tmp_path / "file").write_text("", encoding="utf-8")
    refused("cannot write", model, tmp_path / "file" / "copy")
    header, body = header_of(model / SINGLE)
    with_header(model / SINGLE, header, body[:-4] + np.array([np.inf], "<f4").tobytes())
    refused("weights must be finite", model, tmp_path / "copy")
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (model / "config.json").write_text(json.dumps(config | {"model_type": "llama"}), "utf-8")
    refused("model_type 'llama'", model, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_only_a_copy_is_written_over(tmp_path):
    """The weights of another checkpoint would be lost; those of a copy can be made again."""
    model = random_model.write(tmp_path / "model", **SHAPE)
    other = random_model.write(tmp_path / "other", **SHAPE, seed=1)
    before = {path.name: path.read_bytes() for path in other.iterdir()}
    with pytest.raises(TernError, match="other: is the folder of a model"):
        export(Checkpoint(model), other)
    assert {path.name: path.read_bytes() for path in other.iterdir()} == before
    export(Checkpoint(other), tmp_path / "copy")
    export(Checkpoint(model), tmp_path / "copy")
    export(Checkpoint(model), tmp_path / "again")
    assert (tmp_path / "copy" / SINGLE).read_bytes() == (tmp_path / "again" / SINGLE).read_bytes()


def test_a_folder_of_shards_is_not_written_into(tmp_path):
    model = random_model.write(tmp_path / "model", **SHAPE)
    sharded = random_model.write(tmp_path / "sharded", **SHAPE, shards=2)
    with pytest.raises(TernError, match="in several files"):
        export(Checkpoint(model), sharded)
    assert not (sharded / SINGLE).exists()
