"""Models as people download them: caches of Hugging Face, and other things in their place."""

import json
import os
from pathlib import Path
import re
import shutil
import time
from types import SimpleNamespace

import pytest

from tern_fpga.assembler.cli import main
from tern_fpga.assembler.compiler.compile import _check_names
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import disk, image as images
from tern_fpga.assembler.files.checkpoint import INDEX, SINGLE, Checkpoint
from tern_fpga.assembler.models.registry import load as model_of
from tern_fpga.sim.cli import main as sim
from tern_fpga.sim.commands import perf
from tests import random_model
from tests.campaigns.hostile.corpus import tokenizers
from tests.verilog import ROOT


SHAPE = {"hidden": 10, "inner": 15, "layers": 1, "vocab": 20}
NAME, REVISION = "models--some-org--Tiny-1", "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = random_model.write(tmp_path_factory.mktemp("real") / "model", **SHAPE)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizers()["bytes"]), encoding="utf-8")
    return folder


def old_layout(hub, model, absolute=False):
    """A repository with blobs of its own; returns the snapshot."""
    return _repository(hub, model, None, absolute)


def new_layout(hub, model, absolute=False):
    """As huggingface_hub 2: files of Xet are links from ``blobs`` of the repository to ``blobs``
    of the cache (``utils/_shared_blobs.py``), small files are as they were."""
    shared = hub / "blobs"
    shared.mkdir(parents=True, exist_ok=True)
    (shared / ".huggingface-shared-blobs").write_text("1\n", encoding="utf-8")
    return _repository(hub, model, shared, absolute)


def _repository(hub, model, shared, absolute):
    repository = hub / NAME
    snapshot = repository / "snapshots" / REVISION
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text(REVISION, encoding="utf-8")

    def link(place, target):
        place.symlink_to(target if absolute else os.path.relpath(target, place.parent))

    for n, path in enumerate(sorted(model.iterdir())):
        blob = repository / "blobs" / f"{n + 1:040x}"
        if shared and path.suffix == ".safetensors":
            name = f"{n + 171:064x}"[::-1]
            kept = shared / name[:2] / name
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(path, kept)
            link(blob, kept)
        else:
            shutil.copy(path, blob)
        link(snapshot / path.name, blob)
    return snapshot


@pytest.fixture(params=[old_layout, new_layout], ids=["old", "new"])
def layout(request):
    return request.param


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("hub", ["home/.cache/huggingface/hub", "elsewhere", "a link"])
def test_snapshots_of_both_layouts_are_read_and_named(tmp_path, model, layout, hub, absolute):
    if hub == "a link":             # HF_HOME on another disk
        (tmp_path / "disk").mkdir()
        (tmp_path / hub).symlink_to("disk")
    snapshot = layout(tmp_path / hub, model, absolute)
    checkpoint = Checkpoint(snapshot)
    assert set(checkpoint.tensors) == set(random_model.shapes(**SHAPE))
    assert checkpoint.tokenizer == snapshot / "tokenizer.json"
    assert all(tensor.array().size for tensor in checkpoint.tensors.values())
    assert disk.model_name(checkpoint.path) == "Tiny-1"


@pytest.mark.parametrize("how", ["folder", "config", "hops", "inside", "dot", "dots", "absolute"])
def test_ways_to_a_snapshot_compile_to_the_name_of_the_model(tmp_path, model, layout, how,
                                                             monkeypatch, capsys):
    snapshot = layout(tmp_path / "hub", model)
    (tmp_path / "link").symlink_to(Path("hub") / NAME / "snapshots" / REVISION)
    (tmp_path / "more").symlink_to("link")
    work = {"inside": snapshot.parent, "dot": snapshot}.get(how, tmp_path)
    if how == "dots":               # a folder in the snapshot: `..` is the snapshot
        work = snapshot / "onnx"
        work.mkdir()
    monkeypatch.chdir(work)
    source = {"folder": "link", "config": "link/config.json", "hops": "more", "inside": REVISION,
              "dot": ".", "dots": "..", "absolute": str(snapshot)}[how]
    assert report(main, [source]) == 0
    assert os.listdir(work / "build") == ["Tiny-1"]
    assert perf.model_name(images.load(work / "build" / "Tiny-1")) == "Tiny-1"
    assert "(with tokenizer)" in capsys.readouterr().out


def test_a_model_in_a_folder_of_a_snapshot_is_read(tmp_path, model, layout):
    snapshot = layout(tmp_path / "hub", model)
    inner = snapshot / "inner"
    inner.mkdir()
    for path in list(snapshot.iterdir()):
        if path.is_symlink():
            (inner / path.name).symlink_to(os.path.realpath(path))
            path.unlink()
    assert set(Checkpoint(inner).tensors) == set(random_model.shapes(**SHAPE))


@pytest.mark.parametrize("name", ["config.json", SINGLE, "tokenizer.json"])
@pytest.mark.parametrize("target", ["{root}/secret", "../../../../secret", "/etc/passwd",
                                    "../../../blobs/../../secret", "../../../other/x",
                                    "../../blobs/out"])
def test_links_that_leave_the_cache_are_refused(tmp_path, model, layout, name, target):
    snapshot = layout(tmp_path / "hub", model)
    shutil.copy(snapshot / name, tmp_path / "secret")
    (tmp_path / "hub" / "other").mkdir()
    shutil.copy(snapshot / name, tmp_path / "hub" / "other" / "x")
    (tmp_path / "hub" / NAME / "blobs" / "out").symlink_to(tmp_path / "secret")
    (snapshot / name).unlink()
    (snapshot / name).symlink_to(target.format(root=tmp_path))
    with pytest.raises(TernError, match=f"{re.escape(name)}: leaves the folder"):
        Checkpoint(snapshot)


def test_blobs_beside_another_folder_are_none_of_it(tmp_path, model):
    """Only a repository of a cache has ``blobs`` beside it."""
    blobs = tmp_path / "blobs"
    shutil.copytree(model, blobs)
    folder = tmp_path / "model" / "snapshots" / "a"
    folder.mkdir(parents=True)
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(path)
    with pytest.raises(TernError, match="leaves the folder"):
        Checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", SINGLE, INDEX, "tokenizer.json", "model"])
def test_loops_of_links_get_one_line(tmp_path, model, name, capsys):
    folder = tmp_path / "model"
    if name != "model":
        shutil.copytree(model, folder)
        (folder / name).unlink(missing_ok=True)
    (tmp_path / "model" / name if name != "model" else folder).symlink_to(name)
    assert report(main, [str(folder), "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and name in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("path, name", [
    ("a/config.json", "a"), ("a/model.json", "a"), ("a/b/tiny.json", "tiny"),
    ("a/../b/config.json", "b"), ("config.json", "work"), ("../config.json", "over"),
    ("sub/../config.json", "work"), ("/config.json", "model"), ("a\0b/config.json", "a\0b"),
    ("gone/models--org--x/snapshots/1/config.json", "x"),
    ("models--gpt/snapshots/1/inner/config.json", "gpt"),
    ("models--org--../snapshots/1/config.json", "1")])
def test_names_of_models(tmp_path, monkeypatch, path, name):
    (tmp_path / "over" / "work" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "over" / "work")
    assert disk.model_name(path) == name


def refused(capsys, *words):
    """The one line of a refusal."""
    assert report(main, [*map(str, words)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    return err


POINTER = (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69\n"
           b"size 739000000\n")


@pytest.mark.parametrize("name, data, what", [
    (SINGLE, POINTER, "git-lfs.*`git lfs pull`"), ("tokenizer.json", POINTER, "git-lfs"),
    ("config.json", POINTER, "git-lfs"), (SINGLE, b"GGUF\3\0\0\0" + bytes(99), "GGUF"),
    (SINGLE, b"PK\3\4" + bytes(99), "zip archive, or a pickle"),
    (SINGLE, b"<!doctype html><html>", "page of a web site"),
    ("tokenizer.json", b"<html>", "page of a web site"),
    ("config.json", b"\x1f\x8b\x08" + bytes(99), "gzip archive"),
    (SINGLE, bytes(257) + b"ustar" + bytes(250), "tar archive|no tensor|damaged"),
    (SINGLE, b"\x80\x02}q\x00." + b"\xff" * 99, "pickle")])
def test_a_file_of_another_kind_is_called_that(tmp_path, model, name, data, what, capsys):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / name).write_bytes(data)
    err = refused(capsys, folder, "-o", tmp_path / "out")
    assert re.search(rf"{re.escape(name)}: .*(?:{what})", err), err


@pytest.mark.parametrize("names, config, what", [
    (["a-Q4_K_M.gguf", "b.gguf"], False, "a-Q4_K_M.gguf: GGUF"),
    (["a.gguf", "README.md"], True, "a.gguf: GGUF"),
    (["pytorch_model.bin"], True, "pytorch_model.bin: a pickle .*safetensors.*save_pretrained"),
    (["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"], True, "a pickle"),
    (["consolidated.00.pth", "params.json"], False, "consolidated.00.pth: a pickle"),
    (["adapter_config.json", "adapter_model.safetensors"], False, r"adapter \(LoRA\).*merge"),
    (["adapter_config.json", "adapter_model.bin"], True, r"adapter \(LoRA\)"),
    (["tokenizer.model"], False, "tokenizer.model: is a tokenizer without a model"),
    (["tokenizer.json", "tokenizer_config.json"], False, "tokenizer.json: is a tokenizer without"),
    ([], False, "is empty"), ([], True, f"holds neither {SINGLE} nor {INDEX}"),
    (["model.tar.gz"], False, "model.tar.gz: is an archive"), (["x.zip"], False, "is an archive"),
    (["tf_model.h5"], True, "tf_model.h5: is a checkpoint of another library"),
    (["model-00001-of-00002.safetensors"], True, f"one file of several, and {INDEX} is missing"),
    (["weights.safetensors"], True, f"weights.safetensors: Tern looks for {SINGLE}"),
    (["inner/config.json"], False, "name .*inner, which does"),
    (["image.bin", "manifest.json"], False, "is an image, which is compiled already"),
    (["README.md"], False, "holds no config.json; name a checkpoint folder")])
def test_a_folder_of_another_kind_is_called_that(tmp_path, model, names, config, what, capsys):
    folder = tmp_path / "given"
    folder.mkdir()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    if config:
        shutil.copy(model / "config.json", folder)
    err = refused(capsys, folder)
    assert re.search(what, err) and str(folder) in err, err
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        {name.split("/")[0] for name in names} | ({"config.json"} if config else set()))


@pytest.mark.parametrize("name, what", [
    ("x.gguf", "GGUF"), ("model.tar", "archive"), ("x.zip", "archive"), ("x.pt", "pickle"),
    ("model.safetensors", "name the checkpoint's folder"), ("tokenizer.model", "tokenizer without"),
    ("image.bin", "--disassemble"), ("adapter_config.json", "LoRA"), ("x.txt", "not valid JSON")])
def test_a_given_file_of_another_kind_is_called_that(tmp_path, name, what, capsys):
    (tmp_path / name).write_bytes(b"x")
    assert re.search(rf"{name}: .*{what}", refused(capsys, tmp_path / name))


@pytest.mark.parametrize("name", ["tokenizer.model", "vocab.json", "spiece.model"])
def test_a_tokenizer_in_another_form_is_not_left_out_silently(tmp_path, model, name, capsys):
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / name).write_bytes(b"x")
    assert Checkpoint(folder).tokenizer == folder / "tokenizer.json"
    (folder / "tokenizer.json").unlink()
    err = refused(capsys, folder)
    assert f"{name}: is a tokenizer in another form" in err and "save_pretrained" in err


@pytest.mark.parametrize("kind", ["llama", None])
def test_the_family_is_checked_before_weights_are_asked_for(tmp_path, kind, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind} if kind else {}),
                                          encoding="utf-8")
    for more in ((), ("pytorch_model.bin",), *([(INDEX,)] if kind else ())):
        for name in more:
            (tmp_path / name).write_bytes(b"x")
        err = refused(capsys, tmp_path)
        assert f"model_type {kind!r} is not supported; supported: hgrn_bit" in err


@pytest.mark.parametrize("name", [
    "ridger/MMfreeLM-370M", "https://huggingface.co/ridger/MMfreeLM-370M",
    "huggingface.co/ridger/MMfreeLM-370M/tree/main"])
def test_a_name_of_the_hub_says_how_to_get_it(tmp_path, monkeypatch, name, capsys):
    monkeypatch.chdir(tmp_path)
    err = refused(capsys, name)
    assert "`hf download ridger/MMfreeLM-370M --local-dir MMfreeLM-370M`" in err
    assert "`python -m assembler MMfreeLM-370M`" in err
    (tmp_path / "ridger").mkdir()       # a path of one's own with a slip
    if "://" not in name and "huggingface" not in name:
        assert "hub" not in refused(capsys, name)


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "/a/b", "../a", "./a/b"])
def test_other_paths_that_lead_nowhere_are_just_missing(tmp_path, monkeypatch, name, capsys):
    monkeypatch.chdir(tmp_path)
    err = refused(capsys, name)
    assert "no such file or folder" in err and ("hub" in err) == (name == "./a/b")


@pytest.mark.parametrize("name", ["stories-5m", "model/stories-5m"])
def test_a_shipped_model_is_suggested(monkeypatch, name, capsys):
    monkeypatch.chdir(ROOT)
    assert refused(capsys, name).endswith("; did you mean models/stories-5m?\n")


def test_nothing_is_written_into_the_folder_of_a_model(tmp_path, model, capsys):
    folder = shutil.copytree(model, tmp_path / "model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.safetensors").write_bytes(b"x")
    for output in (folder, tmp_path / "shards"):
        assert "is the folder of a model" in refused(capsys, model, "-o", output)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_of_a_tokenizer_is_refused_before_the_work(tmp_path, model, monkeypatch, capsys):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "tokenizer.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr("tern_fpga.assembler.cli.compile_model", None)
    assert "of something that is no image" in refused(capsys, model, "-o", tmp_path / "words")


def test_a_model_where_an_image_is_asked_for_says_what_to_type(tmp_path, model, capsys):
    for given in (model, model / "config.json"):
        assert report(sim, ["generate", str(given), "--ids", "1"]) == 2
        err = capsys.readouterr().err
        assert f"compile it with `python -m assembler {given}` and give build/model" in err
    assert report(sim, ["generate", str(tmp_path), "--ids", "1"]) == 2
    assert f"python -m assembler MODEL -o {tmp_path}" in capsys.readouterr().err


def test_an_image_is_shown_by_any_of_its_names(tmp_path, model, capsys):
    image = tmp_path / "image"
    assert report(main, [str(model), "-o", str(image)]) == 0
    capsys.readouterr()
    shown = set()
    for given in (image, image / "image.bin", image / "manifest.json"):
        assert report(main, ["--disassemble", str(given)]) == 0
        shown.add(capsys.readouterr().out)
    assert len(shown) == 1 and "matmul" in shown.pop()
    assert "no such file; make it" in refused(capsys, "--disassemble", tmp_path)


def test_a_pointer_in_place_of_an_image_is_named(tmp_path, model, capsys):
    assert report(main, [str(model), "-o", str(tmp_path / "image")]) == 0
    (tmp_path / "image" / "image.bin").write_bytes(POINTER)
    assert "image.bin: is a pointer of git-lfs" in refused(capsys, "--disassemble",
                                                           tmp_path / "image")


def stale(folder, shards):
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(
        random_model.shapes(**SHAPE), shards)}), encoding="utf-8")


def test_a_stale_index_beside_a_whole_checkpoint_is_named(tmp_path, model):
    folder = shutil.copytree(model, tmp_path / "model")
    stale(folder, SINGLE)               # they agree
    assert set(Checkpoint(folder).tensors) == set(random_model.shapes(**SHAPE))
    for tensors in ({}, {"lm_head.weight": SINGLE}):        # the file is whole, whatever it says
        (folder / INDEX).write_text(json.dumps({"weight_map": tensors}), encoding="utf-8")
        assert set(Checkpoint(folder).tensors) == set(random_model.shapes(**SHAPE))
    stale(folder, "model-00001-of-00001.safetensors")
    with pytest.raises(TernError, match=f"{INDEX}: names shard .* missing; .*{SINGLE} too"):
        Checkpoint(folder)
    shutil.copy(folder / SINGLE, folder / "model-00001-of-00001.safetensors")
    with pytest.raises(TernError, match=f"holds {SINGLE}, and {INDEX} that names other files"):
        Checkpoint(folder)
    (folder / "model.json").write_text(json.dumps(json.loads((folder / "config.json").read_text(
        encoding="utf-8")) | {"weights": SINGLE}), encoding="utf-8")
    assert Checkpoint(folder / "model.json").tensors        # the user has named one
    (folder / SINGLE).unlink()
    assert Checkpoint(folder / "config.json").tensors


def test_many_names_of_another_model_are_looked_at_in_time(tmp_path):
    """As many as a header may hold, against a model of 140 layers."""
    expected = model_of({**json.loads((random_model.write(tmp_path, **SHAPE) / "config.json")
                                      .read_text(encoding="utf-8")),
                         "num_hidden_layers": 140}, "x").shapes()
    tensors = {f"layers.{n}.other.weight": None for n in range(100_000)}
    start = time.process_time()
    _check_names(SimpleNamespace(tensors=tensors, path="x"), expected)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("rename, what", [
    (lambda n: f"module.{n}", "'module' of DataParallel"),
    (lambda n: f"_orig_mod.{n}", "'_orig_mod' of torch.compile"),
    (lambda n: f"_orig_mod.module.{n}", "'module' .* and '_orig_mod'"),
    (lambda n: f"model.{n}", "'model.'"), (lambda n: f"base.net.{n}", "'base.net.'"),
    (lambda n: f"module.student.{n}", "'module' .* and 'student.'"),
    (lambda n: n.replace("layers.0.", "layers.0._orig_mod."), "'_orig_mod' of torch.compile"),
    (lambda n: n.removeprefix("model."), "lack 'model.'")])
def test_prefixes_of_state_dicts_are_named(tmp_path, model, rename, what, capsys):
    folder = shutil.copytree(model, tmp_path / "model")
    data = (folder / SINGLE).read_bytes()
    length = int.from_bytes(data[:8], "little")
    tree = json.loads(data[8:8 + length])
    header = json.dumps({name if name == "__metadata__" else rename(name): entry
                         for name, entry in tree.items()}).encode()
    (folder / SINGLE).write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length:])
    err = refused(capsys, folder)
    assert re.search(rf"tensor \S+ should be \S+: .*{what}", err), err
    assert re.search("rename the tensors|save the whole", err)
