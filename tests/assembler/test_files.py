"""Reading what strangers wrote: files, JSON, tokenizers and programs, each within its bounds."""

import json
import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from tern_fpga.assembler.cli import main
from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.export import export
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.errors import TernError, one_line
from tern_fpga.assembler.files import disk, guard, image as images
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.tokenizer import FileTokenizer
from tern_fpga.sim import engines
from tern_fpga.sim.commands import logits
from tests import random_model
from tests.campaigns.hostile.corpus import CONFIG, tokenizers
from tests.campaigns.hostile.programs import sealed
from tests.verilog import ROOT


SHAPE = {"hidden": 10, "inner": 15, "layers": 1, "vocab": 20}


def test_only_regular_files_of_a_size_are_read(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert disk.read(path, 5) == b"12345"
    with pytest.raises(TernError, match="file: larger than 4 bytes"):
        disk.read(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(TernError, match="is no regular file"):
            disk.read(place, 5)
    for name in ("missing", "\0", "\ud800"):
        with pytest.raises(TernError, match="no such file|cannot read"):
            disk.read(tmp_path / name, 5)


@pytest.mark.parametrize("data, text", [
    (b"a\r\nb\r\n", "a\nb\n"), (b"\xef\xbb\xbfa\n", "a\n"), (b"\xef\xbb\xbf", ""), (b"", ""),
    ("é\ufeff\r".encode(), "é\ufeff\r"), (b"\r\r\n", "\r\n")])
def test_marks_and_line_ends_of_an_editor_are_no_text(tmp_path, data, text):
    (tmp_path / "x").write_bytes(data)
    assert disk.read_text(tmp_path / "x", 20) == text


@pytest.mark.parametrize("data, fault", [
    ("née".encode("latin-1"), r"x: is not text: not UTF-8 at byte 1 \(0xe9\)"),
    ("a".encode("utf-16"), "x: is not text: UTF-16, not UTF-8; save it"),
    (bytes(21), "larger than 20")])
def test_what_is_no_utf8_is_refused(tmp_path, data, fault):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(TernError, match=fault):
        disk.read_text(tmp_path / "x", 20)


@pytest.mark.parametrize("marks", [b"\xef\xbb\xbf", b""])
def test_programs_of_any_editor_are_the_same(tmp_path, marks):
    source = b"next ; n\xc3\xa4chster\nloop:\n  halt\n"
    for name, data in (("a", source), ("b", marks + source.replace(b"\n", b"\r\n"))):
        (tmp_path / f"{name}.tasm").write_bytes(data)
        main([str(tmp_path / f"{name}.tasm")])
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()


def test_a_planted_link_is_not_written_through(tmp_path):
    """As `.x.bin.part` was: its name is not to be guessed."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (".x.part", ".x-", "x"):
        (folder / name).symlink_to(outside)
    (folder / "y").symlink_to("/dev/full")
    disk.write(folder / "y", b"new")
    assert (folder / "y").is_file() and not (folder / "y").is_symlink()
    (folder / "y").unlink()
    disk.write(folder / "x", b"new")
    assert outside.read_bytes() == b"mine" and (folder / "x").read_bytes() == b"new"
    assert sorted(os.listdir(folder)) == [".x-", ".x.part", "x"]


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "x").write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(TernError, match="x: cannot write: No space"):
        disk.write(tmp_path / "x", fail)
    assert os.listdir(tmp_path) == ["x"] and (tmp_path / "x").read_bytes() == b"old"


@pytest.mark.parametrize("text, message", [
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' is there twice"), (b"[" * 100_000, "too deeply"),
    (b"[" * 101 + b"]" * 101, "more than 100"),
    (b"[" + b"[]," * (5 << 17), "more than .* objects and lists"), (b"{", "Expecting"),
    (b"{" + b'"a":1,' * (1 << 19) + b'"a":1}', "more than .* names"),
    (b"[" + b"1," * (3 << 19) + b"1,1]", "more than .* entries")])
def test_hostile_json_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        disk.parse_json(text)


def pretty(words, indent=4, **more):
    """A tokenizer.json of so many words, as a tree and as a person's editor leaves it."""
    tree = tokenizers()["words"]
    tree["model"]["vocab"] = {f"▁{n:07x}": n for n in range(words)} | {"<unk>": words}
    tree["added_tokens"] = []
    return tree, json.dumps(tree, indent=indent, **more).encode()


def test_white_space_of_a_tokenizer_does_not_count(tmp_path, monkeypatch):
    """Its indentation may be larger than all that it says may be."""
    tree, data = pretty(20_000, indent=40)
    monkeypatch.setattr(disk, "JSON_BYTES", 1 << 20)
    monkeypatch.setattr(disk, "_CHUNK", 10_000)
    assert len(data) > disk.JSON_BYTES > len(json.dumps(tree))
    path = tmp_path / "tokenizer.json"
    for end in (b"\n", b"\r\n", b"\n \t\n"):
        path.write_bytes(data.replace(b"\n", end))
        read = disk.read_json_bytes(path)
        assert json.loads(read) == tree and len(read) <= disk.JSON_BYTES
        assert FileTokenizer(read).encode("0000001")
    path.write_bytes(data.replace(b'"', b'"' + b"x" * 40))
    with pytest.raises(TernError, match="larger than 1,048,576 bytes without its indentation"):
        disk.read_json_bytes(path)
    path.write_bytes(b"\n" * 5_000_000)
    assert disk.read_json_bytes(path) == b""
    path.write_bytes(b" " * 5_000_000)
    with pytest.raises(TernError, match="larger than"):
        disk.read_json_bytes(path)


def test_a_large_tokenizer_compiles_however_it_is_laid_out(tmp_path):
    """17 MB, of which its words are a part."""
    folder = random_model.write(tmp_path / "model", **SHAPE)
    tree, data = pretty(150_000, indent=75)
    assert len(data) > 17_000_000
    (folder / "tokenizer.json").write_bytes(data)
    made = compile_model(folder, CONFIG, "test")
    assert json.loads(made.files[images.TOKENIZER]) == tree


def test_the_largest_vocabulary_is_read():
    """2^18 words, and 2^19 pairs to merge, each a list as newer libraries write them."""
    tree = {"model": {"vocab": {f"{n:x}": n for n in range(1 << 18)},
                      "merges": [["a", "b"]] * (1 << 19)},
            "added_tokens": [{"id": n, "content": f"<{n}>"} for n in range(6000)]}
    assert disk.parse_json(json.dumps(tree).encode()) == tree


def test_a_name_that_comes_twice_is_found_in_time():
    data = b"{%s}" % b",".join(b'"%x":1' % min(n, 299_999) for n in range(300_001))
    start = time.process_time()
    with pytest.raises(ValueError, match="'493df' is there twice"):
        disk.parse_json(data)
    assert time.process_time() - start < 5


def test_json_with_a_byte_order_mark_is_as_without(tmp_path):
    folder = random_model.write(tmp_path / "model", **SHAPE)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizers()["bytes"]), encoding="utf-8")
    made = compile_model(folder, CONFIG, "test")
    for name in ("config.json", "tokenizer.json"):
        data = (folder / name).read_bytes().replace(b"\n", b"\r\n")
        (folder / name).write_bytes(b"\xef\xbb\xbf" + data)
    again = compile_model(folder, CONFIG, "test")
    assert again.memory().tobytes() == made.memory().tobytes() and again.files == made.files


def test_what_a_tokenizer_may_cost_is_bounded(tmp_path):
    """A vocabulary that would take some hundred MB, in a file of 8."""
    data = b'{"model":{"vocab":{%s}}}' % b",".join(b'"%x":%d' % (n, n) for n in range(600_000))
    with pytest.raises(TernError, match="not a tokenizer .more than 524288 names"):
        FileTokenizer(data)


@pytest.mark.parametrize("place", ["{folder}/pipe", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_pipes_and_devices_are_written_and_not_replaced(tmp_path, place):
    """As `-o /dev/stdout`; by root, to put a file in its place would break the machine."""
    os.mkfifo(tmp_path / "pipe")
    place = place.format(folder=tmp_path)
    before = os.lstat("/dev/stdout").st_ino
    code = f"from tern_fpga.assembler.files import disk; disk.write({place!r}, b'words')"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE,
                          cwd=ROOT) as child:
        with open(place, "rb") if "pipe" in place else child.stdout as file:
            assert file.read() == b"words"
    assert child.returncode == 0 and stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)
    assert os.lstat("/dev/stdout").st_ino == before
    with pytest.raises(TernError, match="/dev/full: cannot write: No space left"):
        disk.write("/dev/full", b"words")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_inside_follows_links(tmp_path):
    for name in ("model/sub", "other", "hub/blobs", "hub/snapshots/a"):
        (tmp_path / name).mkdir(parents=True)
    model, snapshot = tmp_path / "model", tmp_path / "hub" / "snapshots" / "a"
    (model / "near").symlink_to("sub/x")
    (model / "far").symlink_to("../other/x")
    (model / "loop").symlink_to("loop")
    (snapshot / "x").symlink_to("../../blobs/x")
    (snapshot / "y").symlink_to("../b/y")
    assert all(disk.inside(model / name, model) for name in ("near", "sub/x", "x", "loop"))
    assert not any(disk.inside(model / name, model) for name in ("far", "../x", "\0", "\ud800"))
    assert disk.inside(snapshot / "x", snapshot) and not disk.inside(snapshot / "y", snapshot)


def test_a_checkpoint_in_the_cache_of_hugging_face_is_read(tmp_path):
    real = random_model.write(tmp_path / "hub" / "blobs", **SHAPE, shards=2)
    snapshot = tmp_path / "hub" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for path in real.iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert set(Checkpoint(snapshot).tensors) == set(random_model.shapes(**SHAPE))


def test_a_copy_takes_nothing_from_outside(tmp_path):
    folder = random_model.write(tmp_path / "model", **SHAPE)
    (tmp_path / "secret").write_text("{}", encoding="utf-8")
    (folder / "tokenizer_config.json").symlink_to("../secret")
    with pytest.raises(TernError, match="tokenizer_config.json: leaves the folder"):
        export(Checkpoint(folder), tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["model", "secret"]


@pytest.mark.parametrize("key", ["weights", "tokenizer"])
@pytest.mark.parametrize("value", ["../beside", "/etc/passwd", "sub/../../beside", "link", ".."])
def test_a_model_json_names_nothing_outside(tmp_path, key, value):
    folder = random_model.write(tmp_path / "model", **SHAPE)
    random_model.write(tmp_path / "beside", **SHAPE)
    (folder / "link").symlink_to("../beside")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(config | {key: value}), encoding="utf-8")
    with pytest.raises(TernError, match=f"model.json: {key} .* leaves the folder"):
        Checkpoint(folder / "model.json")


def test_a_shape_of_many_numbers_takes_no_time(tmp_path):
    folder = random_model.write(tmp_path, **SHAPE)
    text = json.dumps({"w": {"dtype": "F32", "shape": [10 ** 18] * 100_000,
                             "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(TernError, match="damaged header entry"):
        Checkpoint(folder)


def test_messages_are_for_any_terminal():
    assert one_line("a\nb\x1b[2J\u202e\ud800é") == "a b\\x1b[2J\\u202e\\ud800é"
    assert len(one_line("x" * 10 ** 6)) < 520 and one_line("x" * 499 + "y").endswith("y")


# Tokenizers

def _tokenizer(**changes):
    return json.dumps(tokenizers()["bytes"] | changes).encode()


def _split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize("changes, message", [
    ({"normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40}}, "times as long"),
    ({"normalizer": {"type": "Prepend", "prepend": "x" * 1000}}, "1000 times as long"),
    ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}}, "charsmap"),
    ({"post_processor": {"type": "TemplateProcessing", "single": [
        {"Sequence": {"id": "A", "type_id": 0}}] * 1000, "pair": [], "special_tokens": {}}},
     "1000 pieces"),
    ({"pre_tokenizer": _split("(")}, "not a tokenizer"), ({"model": 3}, "not a tokenizer"),
])
def test_hostile_tokenizers_are_refused(changes, message, capfd):
    with pytest.raises(TernError, match=message):
        FileTokenizer(_tokenizer(**changes))
    assert capfd.readouterr().err == ""


def test_a_panic_of_the_library_is_a_mistake_of_the_file(capfd):
    words = FileTokenizer(_tokenizer(pre_tokenizer=_split("(a+)+$")))
    assert words.encode("the")
    with pytest.raises(TernError, match="tokenizer.json: not a tokenizer"):
        words.encode("a" * 40 + "!")
    assert capfd.readouterr().err == ""         # the library writes there itself


def test_an_expression_that_takes_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr(guard, "SECONDS", 0.1)
    words = FileTokenizer(_tokenizer(pre_tokenizer=_split(r"(?:(?:\w|\w\w)+#)|.")))
    with pytest.raises(TernError, match="takes it more than"):
        words.encode(("a" * 32 + "!") * 4)


def test_padding_and_truncation_are_for_training():
    plain = FileTokenizer(_tokenizer()).encode("the lion")
    padded = FileTokenizer(_tokenizer(
        padding={"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
                 "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"},
        truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
                    "stride": 0}))
    assert padded.encode("the lion") == plain and len(plain) > 2


# Programs in images

@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    compile_model(random_model.write(folder / "model", **SHAPE), CONFIG, "sim-tiny").save(
        folder / "image")
    return folder / "image"


def _with_program(image, folder, words):
    copy = folder / "image"
    copy.mkdir()
    for path in image.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = b"".join(word.to_bytes(16, "little") for word in words)
    (copy / images.BINARY).write_bytes(sealed((copy / images.BINARY).read_bytes(), words=data))
    return copy


def _word(mnemonic, **operands):
    return isa.encode(mnemonic, **operands)


_V, _U = (isa.Operand(space, 0) for space in (isa.Space.V, isa.Space.U))
_NEXT, _LOOP, _BACK = _word("next"), _word("jump", target=0), _word("jump", target=1)


@pytest.mark.parametrize("engine", ["golden", "float"])
@pytest.mark.parametrize("words, message", [
    ([_LOOP], "does not end"), ([_NEXT, _LOOP], "is waiting"), ([_NEXT, _BACK], "does not end"),
    ([_word("halt")], "is halted"), ([0xff << 120], "is fault"),
    ([_word("emit"), _NEXT, 0], "is halted|instruction 0, emit"),
    ([_NEXT, _word("stream", r=0, address=0, words=0xffffffff),
      _word("matmul", dst=_V, q=0, a=isa.Operand(isa.Space.S, 0), rows=65535, blocks=8191)],
     "works on more"),
    ([_NEXT, _word("load", dst=_U, n=64, r=0, address=0xfffffff0, pitch=0)], "outside"),
    ([_NEXT, _word("mul", dst=isa.Operand(isa.Space.V, 1023), a=_V, b=_V, n=65535)], "no 65535"),
])
def test_programs_that_no_compiler_makes_are_refused(image, tmp_path, words, message, engine):
    copy = _with_program(image, tmp_path, words)
    with pytest.raises(TernError, match=rf"image.bin: .*{message}"):
        list(engines.load(copy, engine).generate([[1, 2]], 2))


@pytest.mark.parametrize("vocabulary", [19, 3])
def test_a_manifest_of_another_vocabulary_is_noticed(image, tmp_path, vocabulary):
    loaded = images.load(image)
    loaded.manifest["model"] |= {"vocab_size": vocabulary, "eos_token_id": None}
    with pytest.raises(TernError, match="has 20 logits, and the model|chose token"):
        list(engines.start(loaded, "golden", logits=True).logits([1, 2]))
    with pytest.raises(TernError, match="has 20 logits, and the model|chose token"):
        list(engines.start(loaded, "golden", copies=2, logits=True).predict_all(
            np.array([[1, 2], [2, 1]])))


@pytest.mark.parametrize("change, message", [
    (lambda e: e[1].__setitem__(1, e[0][1]), "overlap"),
    (lambda e: e[0].__setitem__(2, e[0][2] - 8), "no whole|leaves its section|overlap"),
])
def test_sections_lie_apart_and_hold_the_program(image, tmp_path, change, message):
    data = sealed((image / images.BINARY).read_bytes(), entries=change)
    copy = _with_program(image, tmp_path, [_NEXT])
    (copy / images.BINARY).write_bytes(data)
    with pytest.raises(TernError, match=message):
        images.load(copy)


@pytest.mark.parametrize("length", [0, 513, 1 << 31])
def test_a_program_fits_its_machine(image, tmp_path, length):
    copy = _with_program(image, tmp_path, [_NEXT])
    data = sealed((copy / images.BINARY).read_bytes(),
                  header=lambda fields: fields.__setitem__(4, length))
    (copy / images.BINARY).write_bytes(data)
    with pytest.raises(TernError, match=f"a program of {length} instructions"):
        images.load(copy)


@pytest.mark.parametrize("changes", [
    {"target": []}, {"lines": ["a"]}, {"lines": 3}, {"tensors": [3]}, {"tensors": {}},
    {"tensors": [{"name": "a"}]}, {"tensors": [{"name": "a", "columns": 3, "rows": [1]}]},
    {"tensors": [{"name": "a", "pitch": 3, "shape": 7}]}, {"config": {"lanes": 10.0}},
    {"config": {"positions": True}}])
def test_manifests_are_what_the_compiler_writes(image, tmp_path, changes):
    copy = _with_program(image, tmp_path, [_NEXT])
    manifest = json.loads((copy / images.MANIFEST).read_text(encoding="utf-8"))
    (copy / images.MANIFEST).write_text(json.dumps(manifest | changes), encoding="utf-8")
    with pytest.raises(TernError, match="manifest.json: damaged manifest"):
        images.load(copy)


@pytest.mark.parametrize("dtype", ["<i8", ">i4", "<u2", "i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_ids_read_as_numpy_reads_them(tmp_path, dtype, order):
    array = np.asarray(np.arange(6).reshape(2, 3), dtype, order=order)
    np.save(tmp_path / "ids.npy", array)
    read = logits.read_ids(tmp_path / "ids.npy")
    assert read.dtype == array.dtype and np.array_equal(read, array)
