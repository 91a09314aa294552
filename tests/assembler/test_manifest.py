"""The schema of manifests: whatever a field says, each command works or has one line for it."""

from contextlib import redirect_stderr, redirect_stdout
import io
import json
import shutil

from hypothesis import HealthCheck, given, settings, strategies as st
import numpy as np
import pytest

from tern_fpga.assembler.cli import main as assembler
from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import image as images, manifest as manifests
from tern_fpga.firmware import port
from tern_fpga.firmware.cli import main as firmware
from tern_fpga.sim.cli import main as sim
from tests import random_model
from tests.firmware.golden_board import GoldenPort


CONFIG = preset("sim-tiny")
SHAPE = {"hidden": 10, "inner": 15, "layers": 1, "vocab": 20}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an image, and what its commands read."""
    folder = tmp_path_factory.mktemp("made")
    model = random_model.write(folder / "model", **SHAPE)
    compile_model(model, CONFIG, "sim-tiny").save(folder / "image")
    np.save(folder / "ids.npy", np.arange(6).reshape(2, 3))
    return folder


# Of those that run the golden machine or none, and of those that run the Verilog.
QUICK = [
    (sim, "generate {image} --ids 1,5 --tokens 2"),
    (sim, "generate {image} --ids 1,5 --ids 3 --tokens 2 --engine float"),
    (sim, "logits {image} --ids {folder}/ids.npy -o {folder}/out.npy"),
    (assembler, "--disassemble {image}"),
    (firmware, "upload {image} --port golden"),
    (firmware, "chat {image} --port golden --ids --prompt 1,5 --tokens 2"),
]
SLOW = [
    (sim, "perf {image} --target sim-tiny --tokens 1 --trace {folder}/trace.json"),
    (sim, "perf {image} --tokens 1 --json"),
    (sim, "lockstep {image} --tokens 1"),
    (sim, "generate {image} --ids 1,5 --tokens 1 --engine rtl"),
]


def places(tree, path=()):
    """Paths to all fields of a JSON value, of lists only to the first and the last entries."""
    items = (tree.items() if isinstance(tree, dict) else
             [(n, tree[n]) for n in sorted({0, len(tree) - 1})] if isinstance(tree, list) and tree
             else ())
    for name, value in items:
        yield (*path, name)
        yield from places(value, (*path, name))


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
              st.sampled_from([10 ** 400, -1, 0, 1, 1 << 48, 1 << 63, 1e308, float("inf"),
                               float("nan"), "", "\0", "\ud800", "\x1b[2J"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3),
                            st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6)
_ABSENT = object()


def mutate(tree, path, value):
    """A copy of the tree with another value at a path, or without it."""
    tree = json.loads(json.dumps(tree))
    node = tree
    for name in path[:-1]:
        node = node[name]
    if value is _ABSENT:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return tree


def behaves(made, tree, commands, monkeypatch):
    """Run commands with a manifest; returns {command: its error, or ""}."""
    folder = made / "mutant"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made / "image", folder)
    (folder / images.MANIFEST).write_text(json.dumps(tree), encoding="utf-8")
    monkeypatch.setattr(port, "open_port", lambda args, config: GoldenPort(CONFIG))
    told = {}
    for main, line in commands:
        words = [word.format(image=folder, folder=made) for word in line.split()]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = report(main, words)
        said = [line for line in err.getvalue().splitlines() if line.startswith("error: ")]
        assert (status, len(said)) in ((0, 0), (2, 1)), (line, status, err.getvalue())
        assert "Traceback" not in err.getvalue()
        told[line] = said[0] if said else ""
    return told


@pytest.fixture(scope="module")
def tree(made):
    return json.loads((made / "image" / images.MANIFEST).read_text(encoding="utf-8"))


def test_the_manifest_that_is_written_works_everywhere(made, tree, monkeypatch):
    assert set(behaves(made, tree, QUICK + SLOW, monkeypatch).values()) == {""}
    assert tree.keys() == manifests.FIELDS.keys()       # the table is whole
    own = {"use_lower_bound"}                           # of the architecture: no command reads it
    assert tree["model"].keys() - own == manifests.MODEL.keys()
    assert {name for tensor in tree["tensors"] for name in tensor} == manifests.TENSOR.keys()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_value_of_any_field_is_taken_or_refused(made, tree, monkeypatch, data):
    path = data.draw(st.sampled_from(list(places(tree))))
    value = data.draw(st.one_of(VALUES, st.just(_ABSENT)))
    behaves(made, mutate(tree, path, value), QUICK, monkeypatch)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_so_do_the_commands_that_run_the_verilog(made, tree, monkeypatch, data):
    path = data.draw(st.sampled_from([path for path in places(tree) if path[0] not in (
        "config", "program", "sections", "version", "digest")]))
    value = data.draw(st.one_of(VALUES, st.just(_ABSENT)))
    behaves(made, mutate(tree, path, value), SLOW[:3], monkeypatch)


def test_every_field_may_be_absent_or_nothing(made, tree, monkeypatch):
    """Each of them, one at a time; with the measurements where they need it."""
    need = {("tensors",): "tensors", ("model",): "model.",
            ("model", "ternary_weights"): "model.ternary_weights",
            ("model", "source"): "model.source"}
    for path in places(tree):
        for value in (_ABSENT, None, 10 ** 400, [1], {"a": 1}):
            changed = mutate(tree, path, value)
            behaves(made, changed, QUICK[3:4], monkeypatch)
            if value is _ABSENT and path in need:
                told = behaves(made, changed, SLOW[1:2], monkeypatch)
                assert all(f"does not say {need[path]}" in line for line in told.values())


@pytest.mark.parametrize("path, value, what", [
    (("model", "source"), ["a"], "source of model is not a text"),
    (("model", "ternary_weights"), 10 ** 400, "ternary_weights of model is not a whole number"),
    (("model", "layers"), True, "layers of model"), (("tensors", 0, "rows"), _ABSENT, "no matrix"),
    (("tensors", 0, "scale"), float("inf"), "scale of entry 0 of tensors is not a number"),
    (("tensors", 0, "rows"), [3, 1], "two rising numbers"), (("symbols", "x"), 3, "symbols"),
    (("weight_streams",), None, "weight_streams is not a list"), (("lines", 0), -1, "lines"),
    (("weight_streams", 0, "crc32"), "0xabcdef", "crc32"), (("model",), [], "model is not an"),
    (("weight_streams", 0, "words"), _ABSENT, "entry 0 of weight_streams lacks words"),
    (("model", "eos_token_id"), "2", "eos_token_id"), (("target",), 3, "target is not a text")])
def test_a_field_that_is_something_else_is_named(made, tree, path, value, what, tmp_path):
    embedding = path[:1] == ("tensors",)
    if embedding:           # the first of the matrices
        path = ("tensors", next(n for n, t in enumerate(tree["tensors"]) if "rows" in t), path[2])
        what = what.replace("entry 0", f"entry {path[1]}")
    shutil.copytree(made / "image", tmp_path / "image")
    (tmp_path / "image" / images.MANIFEST).write_text(
        json.dumps(mutate(tree, path, value)), encoding="utf-8")
    with pytest.raises(TernError, match=f"manifest.json: damaged manifest .*{what}.*again"):
        images.load(tmp_path / "image")


@pytest.mark.parametrize("value", [None, 2, [2], [2, 3], []])
def test_ends_of_sequence_are_none_one_or_several(made, tree, value):
    manifests.check(mutate(tree, ("model", "eos_token_id"), value))


def test_an_image_that_cannot_be_checked_is_refused(made, tree, monkeypatch):
    """Without the words and sums of its streams, wrong weights would pass in silence."""
    told = behaves(made, mutate(tree, ("weight_streams",), _ABSENT), QUICK, monkeypatch)
    for line, said in told.items():
        asks = line.split()[0] in ("generate", "logits", "chat")
        assert ("does not say weight_streams" in said) == asks, (line, said)
