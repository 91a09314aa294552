"""``python -m sim`` as a user types it: results, and one line for each mistake."""

from dataclasses import replace
import json
import os

import numpy as np
import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import image as images
from tern_fpga.sim import engines
from tern_fpga.sim.cli import main
from tern_fpga.sim.commands import numerics, perplexity
from tests import random_model
from tests.assembler.test_tokenizer import byte_level
from tests.compiled import TINY_A, compiled
from tests.sim.test_golden_model import ids_of, logits


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Image of a checkpoint of 256 tokens, without a tokenizer."""
    folder = tmp_path_factory.mktemp("tiny") / "image"
    compiled(TINY_A, preset("sim-tiny")).save(folder)
    return folder


@pytest.fixture(scope="module")
def worded(tmp_path_factory):
    """Image of a random model with a tokenizer, for a machine of 4 positions."""
    folder = tmp_path_factory.mktemp("worded")
    model = random_model.write(folder / "model", hidden=40, inner=72, layers=2, vocab=300,
                               eos_token_id=299)
    byte_level().save(str(model / "tokenizer.json"))
    compile_model(model, replace(preset("sim-tiny"), positions=4), "test").save(folder / "image")
    return folder / "image"


def sim(*argv):
    return report(main, [str(arg) for arg in argv])


def test_ids_in_ids_out(tiny, capsys):
    assert sim("generate", tiny, "--ids", "1,2,3", "--tokens", 5) == 0
    out, err = capsys.readouterr()
    assert out == "62,217,34,93,157\n"
    assert "3 prompt tokens, 5 sampled in" in err


def test_text_of_a_model_of_bytes(tiny, capsys):
    assert sim("generate", tiny, "--prompt", "ab", "--tokens", 6) == 0
    out = capsys.readouterr().out
    ids = ids_of(compiled(TINY_A, preset("sim-tiny")), [[97, 98]], 6)[0]
    assert out == "ab" + bytes(ids).decode("utf-8", "replace") + "\n"


def test_several_prompts_are_independent_streams(worded, capsys):
    prompts = ["the lion", "a", "and then the fellow said", "the", "naïve", "thing"]
    alone = []
    for text in prompts:
        assert sim("generate", worded, "--prompt", text, "--tokens", 7) == 0
        alone.append(capsys.readouterr().out.rstrip("\n"))
        assert alone[-1].startswith(text)
    arguments = [x for text in prompts for x in ("--prompt", text)]
    assert sim("generate", worded, *arguments, "--tokens", 7) == 0
    together = capsys.readouterr().out
    assert sorted(together.removesuffix("\n").split("\n")) == sorted(
        f"[{n}] {text}" for n, text in enumerate(alone))


def test_end_of_sequence_ends_a_stream(worded, tmp_path, capsys):
    image = compile_model(worded.parent / "model", preset("sim-tiny"), "test")
    first = ids_of(image, [[5]], 4)[0]
    image.manifest["model"]["eos_token_id"] = first[1]
    image.save(tmp_path / "image")
    assert sim("generate", tmp_path / "image", "--ids", "5", "--tokens", 4) == 0
    assert capsys.readouterr().out == f"{first[0]},{first[1]}\n"
    assert sim("generate", tmp_path / "image", "--ids", "5", "--tokens", 4, "--ignore-eos") == 0
    assert capsys.readouterr().out == ",".join(map(str, first)) + "\n"


@pytest.mark.parametrize("engine", ["golden", "float"])
def test_temperature_follows_the_seed(tiny, engine, capsys):
    def sample(*more):
        assert sim("generate", tiny, "--ids", "1", "--tokens", 12, "--engine", engine, *more) == 0
        return capsys.readouterr().out

    greedy = sample()
    hot = sample("--temperature", 2, "--seed", 1)
    assert hot == sample("--temperature", 2, "--seed", 1)
    assert hot != sample("--temperature", 2, "--seed", 2)
    assert hot != greedy and greedy == sample("--temperature", 0)


@pytest.mark.parametrize("engine", ["golden", "float"])
def test_logits_file(worded, tmp_path, engine, capsys):
    ids = np.random.default_rng(0).integers(0, 300, (3, 10))
    np.save(tmp_path / "ids.npy", ids)
    out = tmp_path / "logits.npy"
    out.write_bytes(b"old")
    assert sim("logits", worded, "--ids", tmp_path / "ids.npy", "-o", out, "--engine", engine) == 0
    y = np.load(out)
    assert y.shape == (3, 10, 300) and y.dtype == np.float32
    if engine == "golden":
        image = compile_model(worded.parent / "model", preset("sim-tiny"), "test")
        assert (y == np.stack([logits(image, row) for row in ids])).all()
    assert sorted(os.listdir(tmp_path)) == ["ids.npy", "logits.npy"]
    assert "3 x 10 x 300 float32" in capsys.readouterr().out


def test_perplexity(worded, tmp_path, capsys):
    path = tmp_path / "text.txt"
    path.write_text("the lion said: naïve fellow, a thing", encoding="utf-8")
    assert sim("perplexity", worded, "--text", path) == 0
    ids = byte_level().encode(path.read_text(encoding="utf-8")).ids
    image = compile_model(worded.parent / "model", preset("sim-tiny"), "test")

    def expected(*parts):
        """Of parts that each start from an empty state and end with a token to predict."""
        losses = []
        for part in parts:
            y = logits(image, part[:-1])
            p = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
            losses += list(-np.log(p[np.arange(len(part) - 1), part[1:]]))
        return (f"perplexity {np.exp(np.mean(losses)):.3f} over {len(losses)} tokens in "
                f"{len(parts)} windows")

    assert capsys.readouterr().out.startswith(expected(ids))
    assert sim("perplexity", worded, "--text", path, "--context", 4, "--limit", 14) == 0
    assert capsys.readouterr().out.startswith(expected(ids[0:5], ids[4:9], ids[8:13]))
    assert sim("perplexity", worded, "--text", path, "--compare", worded.parent / "model") == 0
    assert "from it, same top-1 at" in capsys.readouterr().out
    assert sim("perplexity", worded, "--text", path, "--engine", "float") == 0
    capsys.readouterr()
    outputs = []
    for data in (b"the lion\nsaid\n", b"\xef\xbb\xbfthe lion\r\nsaid\r\n"):    # as Windows has it
        assert sim("perplexity", worded, "--text", _file(tmp_path, data)) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize("engine", ["golden", "float"])
def test_scores_are_the_engines(worded, engine):
    """All windows at once and one by one; and the float64 model is near."""
    image = images.load(worded)
    ids = np.random.default_rng(0).integers(0, 300, 50)
    inputs, targets = perplexity.windows(ids, 8)
    assert inputs.shape == targets.shape == (6, 8) and (targets.ravel() == ids[1:49]).all()
    score = perplexity.of_engine(image, engine, inputs, targets)
    single = engines.start(image, engine, logits=True)
    for row, (i, t) in enumerate(zip(inputs, targets)):
        alone = np.concatenate(list(single.logits(i)))
        assert np.allclose(score.surprisal[row], perplexity.surprisal(alone, t), rtol=1e-9)
    other = perplexity.of_reference(worded.parent / "model", inputs, targets)
    assert abs(score.perplexity / other.perplexity - 1) < 0.01
    assert score.agreement(other) > 0.8 and score.agreement(score) == 1


def test_formats_are_compared_with_float64(worded, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(numerics, "FORMATS", ((8, 6), (12, 6), (24, 8)))
    path = _file(tmp_path, b"the lion and the fellow said a thing to the lion and the fellow")
    assert sim("numerics", worded.parent / "model", "--text", path, "--target", "sim-tiny") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 and lines[0].startswith("| significand, exponent | word | model:")
    changes = [abs(float(line.split("|")[4].strip(" %"))) for line in lines[3:]]
    assert lines[4].startswith("| **12, 6** | 18 bits |") and changes[0] > changes[2] < 0.01
    assert sim("numerics", worded.parent / "model", "--text", path, "--limit", 1) == 2
    assert sim("numerics", worded.parent / "model", "--text", path, "--report",
               tmp_path / "no" / "x.md") == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_surprisal_of_large_logits():
    assert perplexity.surprisal([[1000.0, 1000.0], [-1e9, 0.0]], [0, 1]).tolist() == [
        pytest.approx(np.log(2)), 0]


def test_mistakes_get_one_line_and_status_2(tiny, worded, tmp_path, capsys):
    def refused(match, *argv):
        assert sim(*argv) == 2
        out, err = capsys.readouterr()
        assert err.count("\n") == 1 and err.startswith("error: ") and match in err, err
        return out

    def ids_file(array):
        np.save(tmp_path / "ids.npy", array)
        return "--ids", tmp_path / "ids.npy", "-o", tmp_path / "out.npy"

    refused("prompt 0: id 256 is outside of the vocabulary, 0 to 255",
            "generate", tiny, "--ids", "1,256")
    refused("no such file", "generate", tmp_path / "nothing", "--ids", "1")
    refused("temperature must be 0, or 0.016 to 1024, not 0.001",
            "generate", tiny, "--ids", "1", "--temperature", "0.001")
    refused("--seed needs --temperature", "generate", tiny, "--ids", "1", "--seed", "1")
    refused("prompt 0: holds no token", "generate", worded, "--prompt", "")
    refused("id 300 is outside of the vocabulary", "logits", worded, *ids_file([[1, 300]]))
    refused("id -1 is outside of the vocabulary", "logits", worded, *ids_file([[1, -1]]))
    refused("expected integers in the shape (n, t)", "logits", worded, *ids_file([1, 2]))
    refused("expected integers in the shape (n, t)", "logits", worded, *ids_file([[1.5]]))
    refused("holds no token", "logits", worded, *ids_file(np.zeros((0, 4), int)))
    (tmp_path / "ids.npy").write_text("no array", encoding="utf-8")
    refused("not an array file", "logits", worded, "--ids", tmp_path / "ids.npy", "-o", "x")
    refused("no such file", "logits", worded, "--ids", tmp_path / "no.npy", "-o", "x")
    refused("no such folder", "logits", worded, *ids_file([[1]])[:2], "-o",
            tmp_path / "no" / "x.npy")
    refused("at least two tokens", "perplexity", worded, "--text", _file(tmp_path, b"a"))
    refused("not UTF-8", "perplexity", worded, "--text", _file(tmp_path, b"\xff\xfd"))
    refused("--limit must be at least 2", "perplexity", worded, "--text", "x", "--limit", 1)
    refused("--context must be at least 1", "perplexity", worded, "--text", "x", "--context", 0)
    assert not (tmp_path / "out.npy").exists()


def _file(folder, data):
    (folder / "text.txt").write_bytes(data)
    return folder / "text.txt"


def test_damaged_images_get_one_line(tiny, tmp_path, capsys):
    image = compiled(TINY_A, preset("sim-tiny"))
    for n, (name, damage, match) in enumerate([
            ("image.bin", lambda data: data[:-100], "truncated"),
            ("image.bin", lambda data: data[:5000] + b"?" + data[5001:], "damaged"),
            ("manifest.json", lambda data: data[:-10], "damaged manifest"),
            ("manifest.json", lambda data: _without(data, "model"), "does not describe a model"),
            ("manifest.json", lambda data: data.replace(b'"lanes": 10', b'"lanes": 20'),
             "made for config")]):
        folder = tmp_path / str(n)
        image.save(folder)
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
        assert sim("generate", folder, "--ids", "1") == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and match in err


def _without(data, key):
    manifest = json.loads(data)
    del manifest[key]
    return json.dumps(manifest).encode()


def test_model_without_tokenizer_takes_ids_only(tmp_path, capsys):
    model = random_model.write(tmp_path / "model", hidden=40, inner=72, layers=1, vocab=61)
    compile_model(model, preset("sim-tiny"), "test").save(tmp_path / "image")
    assert sim("generate", tmp_path / "image", "--prompt", "a") == 2
    assert "the model has no tokenizer; give --ids" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["generate", "x", "--ids", "1,a"], ["generate", "x"],
                                  ["generate", "x", "--ids", "1", "--tokens", "0"],
                                  ["generate", "x", "--ids", "1", "--temperature", "nan"],
                                  ["generate", "x", "--ids", "1", "--engine", "cpu"], ["dance"]])
def test_bad_arguments_end_with_status_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2 and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "logits", "perplexity"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"example: python -m sim {command}" in " ".join(capsys.readouterr().out.split())
