"""Training as a user runs it: the whole command on a toy, kills, and mistakes."""

from dataclasses import replace
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file
import torch

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.models import checkpoint, text as texts, train
from tern_fpga.sim import engines
from tests.models import toy


@pytest.fixture
def story(tmp_path):
    path = tmp_path / "story.txt"
    path.write_text(toy.story(), encoding="utf-8")
    return path


def test_the_command_gives_a_model_that_compiles(story, tmp_path):
    """The command of the GPU runs, with a preset for one core."""
    done = subprocess.run(
        [sys.executable, "-m", "tern_fpga.models.train", "--text", story, "--val", story,
         "--preset", "toy",
         "--out", tmp_path / "model", "--device", "cpu",
         "--prompt", "\ufeffThe little[red]\x1b]0;x\x07\u202e:cat:"],
        capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    for part in ("step 60/60  loss", "tokens/s", "validation perplexity", "--- sample",
                 "\nThe little[red]\\x1b]0;x\\x07\\u202e:cat:"):     # text, and no command
        assert part in done.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stdout)
    # A model that knows nothing has the vocabulary's, 300.
    assert float(done.stdout.split("validation perplexity ")[-1].split()[0]) < 100
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "model.safetensors",
                                                      "tokenizer.json"]
    image = compile_model(tmp_path / "model", preset("sim-tiny"), "sim-tiny")
    tokens = list(engines.start(image, "golden").generate([[5, 6]], 4))
    assert len(tokens) == 4 and image.manifest["model"]["vocab_size"] == 300


def quiet(line):
    """A log that says nothing."""


def run_toy(out):
    tokenizer, ids = toy.tokens()
    model = train.train(toy.RECIPE, ids, out, save_every=4, log=quiet)
    checkpoint.export(model, tokenizer, out)


def test_a_killed_run_goes_on_exactly(tmp_path):
    """SIGKILL somewhere after a state was saved; then the same weights, bit for bit."""
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run_toy(tmp_path / "whole")
    state = tmp_path / "killed" / "training-state.safetensors"
    process = multiprocessing.get_context("spawn").Process(target=run_toy,
                                                           args=(tmp_path / "killed",))
    process.start()
    limit = time.monotonic() + 120
    while not state.exists() and process.is_alive() and time.monotonic() < limit:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL and state.exists()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    run_toy(tmp_path / "killed")
    ours, theirs = (load_file(tmp_path / name / "model.safetensors")
                    for name in ("killed", "whole"))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert np.array_equal(ours[name], theirs[name]), name
    assert not state.exists()


def test_a_run_that_stopped_in_its_second_half_goes_on_exactly(tmp_path, monkeypatch):
    """Where decay has stopped and dampening has begun."""
    _, ids = toy.tokens()
    recipe = replace(toy.RECIPE, decay=0.5, dampening=4.0)
    whole = train.train(recipe, ids, tmp_path, log=quiet).state_dict()

    def stop(self, step, *args, original=train._State.save):
        original(self, step, *args)
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(train._State, "save", stop)
        train.train(recipe, ids, tmp_path, save_every=24, log=quiet)
    resumed = train.train(recipe, ids, tmp_path, log=quiet).state_dict()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_a_model_that_cannot_be_written_leaves_the_state(tmp_path):
    """What was trained for hours is exported when there is room again."""
    (tmp_path / "model.safetensors" / "in the way").mkdir(parents=True)
    with pytest.raises(TernError, match="model.safetensors: cannot write: .*run the same again"):
        run_toy(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["model.safetensors", checkpoint.STATE]
    (tmp_path / "model.safetensors" / "in the way").rmdir()
    (tmp_path / "model.safetensors").rmdir()
    run_toy(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_terminal_that_takes_nothing_ends_no_training(story, tmp_path):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tern_fpga.models.train", "--text", story, "--preset",
             "toy", "--steps",
             "4", "--out", tmp_path / "model", "--device", "cpu"], stdout=full,
            stderr=subprocess.PIPE)
    assert done.returncode
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "model.safetensors",
                                                      "tokenizer.json"]


def test_another_seed_gives_another_model(tmp_path):
    _, ids = toy.tokens()
    models = [train.train(replace(toy.RECIPE, steps=2, seed=seed), ids, tmp_path,
                          log=quiet) for seed in (1, 1, 2)]
    first, same, other = (m.lm_head.weight.detach().numpy() for m in models)
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_dampening_settles_weights_from_half_way_on(tmp_path):
    """No trit changes by it, and latent weights end nearer to what their trits stand for."""
    torch.manual_seed(2)
    weight = torch.randn(40, 30)
    scale = weight.abs().mean()
    before = (weight / scale).clamp(-1, 1)
    after = weight.clone()
    train.dampen([after], 0.25)
    outside = weight.abs() > scale
    assert torch.equal(after[outside], weight[outside])
    after = (after / scale).clamp(-1, 1)
    assert torch.equal(after.round(), before.round())
    assert torch.allclose(after - after.round(), 0.75 * (before - before.round()), atol=1e-6)

    recipe = replace(toy.RECIPE, dampening=8.0)
    pulls = [train.pull_at(recipe, step) for step in range(recipe.steps)]
    half = recipe.steps // 2
    assert not any(pulls[:half + 1]) and all(pulls[half + 1:])
    assert pulls[-1] == pytest.approx(
        8 * train.rate_at(recipe, recipe.steps - 1) * (1 - 1 / half))
    _, ids = toy.tokens()
    unsettled = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "settle", lambda model: None)
        for dampening in (0.0, 50.0):
            recipe = replace(toy.RECIPE, dampening=dampening)
            weight = train.train(recipe, ids, tmp_path, log=quiet).lm_head.weight.detach()
            trits = (weight / weight.abs().mean()).clamp(-1, 1)
            unsettled.append((trits - trits.round()).abs().mean())
    assert unsettled[1] < 0.8 * unsettled[0]


def refused(capsys, match, *argv):
    assert report(train.main, [str(arg) for arg in argv]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: ") and match in err, err


def test_resuming_with_another_recipe_is_refused(story, tmp_path, capsys):
    class Stop(Exception):
        pass

    _, ids = toy.tokens()
    saves = []

    def save(self, *args, original=train._State.save):
        original(self, *args)
        saves.append(self.path)
        raise Stop

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        patch.setattr(train._State, "save", save)
        train.train(train.PRESETS["toy"], ids, tmp_path, save_every=2, log=quiet)
    before = saves[0].read_bytes()
    refused(capsys, "was made with another recipe", "--text", story, "--out", tmp_path,
            "--preset", "toy", "--seed", 5, "--device", "cpu")
    assert saves[0].read_bytes() == before


def test_mistakes_get_one_line_and_status_2(story, tmp_path, capsys):
    def file(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    def text(match, *paths, preset="toy"):
        refused(capsys, match, "--text", *paths, "--out", tmp_path / "out", "--preset", preset,
                "--device", "cpu")

    text("holds no text", file("empty.txt", b""))
    text("holds no text", story, file("blank.txt", b"\n \n"))
    text("is not text: not UTF-8 at byte 3 (0xff)", file("bytes.txt", b"abc\xff"))
    text("cannot be read", tmp_path / "missing.txt")
    text("is not a whole .xz file", file("cut.xz", b"no xz"))
    text("a window needs", file("short.txt", b"one fox"))
    assert not [path for path in tmp_path.rglob("*") if path.suffix == ".safetensors"]


def test_vocabularies_without_all_bytes_are_refused():
    with pytest.raises(TernError, match="at least 257"):
        texts.train_tokenizer("the fox", 256)
    tokenizer = texts.train_tokenizer("the fox", 257)
    assert tokenizer.get_vocab_size() == 257
    assert tokenizer.decode(tokenizer.encode("naïve 🦁").ids) == "naïve 🦁"
