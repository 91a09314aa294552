from dataclasses import replace
import json
import os
import re

import numpy as np
import pytest
from safetensors.numpy import load_file

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.cli import main
from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.layout import plan
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import PRESETS, preset
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import image, packing
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.models.hgrn import Hgrn
from tern_fpga.sim.engines import Engine
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.reference import model as reference
from tests import random_model
from tests.compiled import TINY_A, compiled


BINARY32 = preset("sim-tiny")
# The same numbers on other machines; the last two keep states in memory.
MACHINES = {
    "one lane": BINARY32,
    "4 positions": replace(BINARY32, lanes=40, positions=4, vector_lanes=2, registers=512),
    "8 positions": replace(BINARY32, memory_bits=64, lanes=40, positions=8, vector_lanes=4,
                           accumulator_rows=16),
    "small": replace(BINARY32, registers=16, register_elements=128, code_registers=16),
    "small, 2 positions": replace(BINARY32, lanes=20, registers=16, register_elements=128,
                                  code_registers=16, positions=2),
}
WORDS = b'{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}'

SHAPES = {
    "odd": {"hidden": 72, "inner": 200, "layers": 3, "vocab": 131},
    "no bounds": {"hidden": 131, "inner": 77, "layers": 5, "vocab": 50, "lower_bounds": False,
                  "dtype": "BF16", "shards": 3},
    "long head": {"hidden": 20, "inner": 33, "layers": 2, "vocab": 33000, "dtype": "F16"},
    "smallest": {"hidden": 1, "inner": 1, "layers": 1, "vocab": 2},
}


def logits_of(compiled_image, ids):
    engine = Engine(compiled_image, Machine(compiled_image, logits=True))
    return np.concatenate(list(engine.logits(ids)))


def difference(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module", params=SHAPES)
def odd(request, tmp_path_factory):
    """(folder, ids, float logits, golden logits) of a random model."""
    shape = SHAPES[request.param]
    folder = random_model.write(tmp_path_factory.mktemp("odd"), **shape)
    ids = np.random.default_rng(1).integers(0, shape["vocab"], 13)
    expected = reference.load(folder).logits(ids[None])[0]
    return folder, ids, expected, logits_of(compile_model(folder, BINARY32, "test"), ids)


def test_golden_machine_computes_the_model(odd):
    _, _, expected, got = odd
    # Measured: 0.7 % on "no bounds", rounding ties of the codes; below 1e-6 without a tie.
    assert difference(got, expected) < 0.01
    assert np.array_equal(got.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("name", list(MACHINES)[1:])
def test_every_machine_computes_the_same(odd, name):
    folder, ids, _, expected = odd
    made = compile_model(folder, MACHINES[name], name)
    assert np.array_equal(logits_of(made, ids), expected)
    if "small" in name and made.manifest["model"]["hidden_size"] == 131:
        assert not made.manifest["states_in_registers"]     # what "small" is there for


@pytest.mark.parametrize("significand, exponent, error, same", [
    (24, 8, 0.03, 0.95),        # measured: 2.3 %, 95.8 %
    (12, 6, 0.04, 0.94),        # measured: 3.4 %, 95.8 %
])
def test_golden_machine_agrees_with_the_authors(significand, exponent, error, same):
    authors = load_file(TINY_A / "golden.safetensors")
    config = replace(preset("ulx3s-85f"), significand=significand, exponent=exponent)
    got = np.stack([logits_of(compiled(TINY_A, config), ids) for ids in authors["input_ids"]])
    assert difference(got, authors["logits"]) < error
    assert (got.argmax(-1) == authors["logits"].argmax(-1)).mean() > same


@pytest.mark.parametrize("name", ["4 positions", "small, 2 positions"])
def test_streams_do_not_see_each_other(tmp_path, name):
    config = MACHINES[name]
    made = compile_model(random_model.write(tmp_path, **SHAPES["no bounds"]), config, name)
    prompts = [[1, 2, 3, 4, 5, 6, 7], [9], [8, 7, 6], [5, 4], [3, 3, 3]]
    alone = []
    for ids in prompts:
        engine = Engine(made, Machine(made))
        alone.append([token.id for token in engine.generate([ids], 6)])
    together = [[] for _ in prompts]
    for token in Engine(made, Machine(made)).generate(prompts, 6):
        together[token.stream].append(token.id)
    assert together == alone


def test_memory_holds_the_checkpoint():
    config = preset("ulx3s-85f")
    made, checkpoint = compiled(TINY_A, config), Checkpoint(TINY_A)
    memory = made.memory()
    entries = {(t["name"], *t.get("rows", ())): t for t in made.manifest["tensors"]}

    def stored(name, *rows):
        entry = entries[(name, *rows)]
        start = entry["address"] * config.word_bytes
        return memory[start:start + entry["bytes"]]

    for layer in range(3):
        name = f"model.layers.{layer}.mlp.gate_proj"
        trits, scale = checkpoint.tensors[f"{name}.weight"].ternary()
        for start in (0, 512):
            data = stored(f"{name}.weight", start, start + 512)
            assert np.array_equal(packing.untile(data, 512, 128, config),
                                  trits[start:start + 512])
        gain = (checkpoint.tensors[f"{name}.norm.weight"].array().astype(np.float64) * scale
                * checkpoint.tensors[f"model.layers.{layer}.mlp_norm.weight"].array())
        assert np.array_equal(
            packing.unpack_vector(stored(f"model.layers.{layer}.m_gain"), 128, config),
            config.float.round(gain))
    table = checkpoint.tensors["model.embeddings.weight"].array()
    data = stored("model.embeddings.weight").reshape(256, -1)
    assert np.array_equal(packing.unpack_vector(data, 128, config), config.float.round(table))


def test_sections_do_not_overlap_and_fill_bursts():
    for config in (preset("ulx3s-85f"), MACHINES["8 positions"]):
        end = 0
        for section in compiled(TINY_A, config).sections:
            assert section.address >= end and section.address % 64 == 0
            end = section.address + section.size // config.word_bytes
        assert end * config.word_bytes <= config.memory_bytes


def test_the_program_is_its_text():
    made = compiled(TINY_A, preset("ulx3s-85f"))
    source = made.files[image.PROGRAM].decode()
    program = text.assemble(source, made.config)
    assert program.words == made.instructions() and program.lines == made.manifest["lines"]
    for word, line in zip(program.words, program.lines):
        assert isa.decode(word)[0] == source.splitlines()[line - 1].split()[0]
    for name, register in made.manifest["symbols"].items():
        assert program.aliases[name] == register
    # A loop, not a list: the number of layers does not change its length.
    deeper = plan(Hgrn(128, 512, 100, 256, True), preset("ulx3s-25f"))
    shallow = plan(Hgrn(128, 512, 60, 256, True), preset("ulx3s-25f"))
    assert len(deeper.source.splitlines()) == len(shallow.source.splitlines())


def test_every_preset_takes_the_models_it_is_for():
    tiny, large = Hgrn(128, 512, 3, 256, True), Hgrn(1024, 2816, 24, 32000, True)
    for config in PRESETS.values():
        assert plan(tiny, config).bytes <= config.memory_bytes
    assert plan(large, preset("ecpix5-85f")).bytes <= preset("ecpix5-85f").memory_bytes


def test_a_changed_checkpoint_gives_the_same_bytes_twice(tmp_path):
    folder = random_model.write(tmp_path / "a", **SHAPES["odd"])
    for name in ("b", "c"):
        assert report(main, [str(folder), "-o", str(tmp_path / name)]) == 0
    for file in ("image.bin", "program.tasm", "manifest.json"):
        assert (tmp_path / "b" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()


def test_the_command_compiles_assembles_and_disassembles(tmp_path, capsys):
    folder = random_model.write(tmp_path / "a", **SHAPES["odd"])
    (folder / "tokenizer.json").write_bytes(WORDS)
    out = tmp_path / "new" / "image"
    assert report(main, [str(folder / "config.json"), "-o", str(out), "--target", "ulx3s-25f",
                         "--set", "positions=2", "lanes=10"]) == 0
    said = capsys.readouterr().out
    for words in ("3 layers, 72 wide", "tokens/s at 100 MHz", "nothing but token ids",
                  "lanes=10 positions=2", "with tokenizer"):
        assert words in said
    loaded = image.load(out)
    assert (loaded.config.positions, loaded.config.lanes) == (2, 10)
    assert loaded.files[image.TOKENIZER] == WORDS
    tasm, binary, again = tmp_path / "p.tasm", tmp_path / "p.bin", tmp_path / "q.tasm"
    assert report(main, ["--disassemble", str(out / image.BINARY), "-o", str(tasm)]) == 0
    target = ["--target", "ulx3s-25f"]     # a float word means nothing without its format
    assert report(main, [str(tasm), *target]) == 0
    assert report(main, [str(binary), "--disassemble", "-o", str(again), *target]) == 0
    assert tasm.read_text(encoding="utf-8") == again.read_text(encoding="utf-8")
    data = binary.read_bytes()
    assert [int.from_bytes(data[n:n + 16], "little") for n in range(0, len(data), 16)] \
        == loaded.instructions()


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), encoding="utf-8")


def cut(folder):
    os.truncate(folder / "model.safetensors", 50_000)


def drop(folder):
    (folder / "model.safetensors").unlink()


def rename(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b"1.attn.g_proj.weight", b"1.attn.h_proj.weight"))


def poison(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\xc0\x7f")


REFUSED = [
    (drop, "neither model.safetensors nor"),
    (cut, "truncated: tensor"),
    (rename, "tensor model.layers.1.attn.g_proj.weight is missing"),
    (poison, "tensor model.norm.weight holds nan"),
    ({"model_type": "llama"}, "model_type 'llama' is not supported; supported: hgrn_bit"),
    ({"model_type": None}, "model_type None is not supported"),
    ({"use_short_conv": True}, "use_short_conv True is not supported"),
    ({"expand_ratio": 2}, "expand_ratio 2 is not supported"),
    ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported"),
    ({"tie_word_embeddings": True}, "tie_word_embeddings True is not supported"),
    ({"rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05 is not supported"),
    ({"hidden_size": 73}, "has shape .* but config.json asks for"),
    ({"hidden_size": 0}, "hidden_size must be a whole number from 1 to 65535, not 0"),
    ({"hidden_size": True}, "hidden_size must be a whole number"),
    ({"vocab_size": "131"}, "vocab_size must be a whole number"),
    ({"num_hidden_layers": 2}, "model.lower_bounds has shape|belongs to no part"),
    ({"num_hidden_layers": 4}, "model.layers.3.* is missing|lower_bounds has shape"),
    ({"use_lower_bound": False}, "tensor model.lower_bounds belongs to no part"),
    ({"use_lower_bound": 1}, "use_lower_bound must be true or false"),
    ({"intermediate_size": None, "hidden_ratio": "4"}, "hidden_ratio must be a number"),
    ({"target": "nexys"}, "no target 'nexys'; known targets"),
    ({"target": 3}, "no target 3; known targets"),
    (["--set", "memory_bytes=65536"], "bytes are missing; it fits sim-tiny, ulx3s-85f"),
    (["--set", "registers=16"], "vector registers, the target has 16: too large for sim-tiny"),
    (["--set", "program_words=64"], "do not fit the 64 that the target holds"),
    (["--set", "lanes=7"], "lanes must be 1, 2 or 4 times"),
    (["--set", "nose=7"], "no parameter 'nose'"),
    (["--set", "lanes=many"], "'many' is no whole number"),
]


@pytest.mark.parametrize("mistake, message", REFUSED,
                         ids=lambda x: x.__name__ if callable(x) else str(x)[:40])
def test_refused_with_one_line_and_nothing_written(tmp_path, capsys, mistake, message):
    folder = random_model.write(tmp_path / "a", **SHAPES["odd"])
    more = []
    if callable(mistake):
        mistake(folder)
    elif isinstance(mistake, dict):
        edit(folder, **mistake)
    else:
        more = mistake
    assert report(main, [str(folder), "-o", str(tmp_path / "out"), *more]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert re.search(message, lines[0]), lines[0]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_model_too_large_says_how_much_and_where_it_fits(tmp_path, capsys):
    # No weights are read: headers alone decide.
    folder = random_model.write(tmp_path / "a", hidden=64, inner=64, layers=1, vocab=40)
    assert report(main, [str(folder), "-o", str(tmp_path / "out"), "--target", "sim-tiny", "--set",
                         "memory_bytes=4096"]) == 2
    said = capsys.readouterr().err
    needed = plan(Hgrn(64, 64, 1, 40, True), preset("sim-tiny")).bytes
    assert f"needs {needed:,} bytes" in said and f"{needed - 4096:,} bytes are missing" in said


@pytest.mark.parametrize("source", ["missing", "missing.tasm"])
def test_missing_sources_are_refused(tmp_path, capsys, source):
    assert report(main, [str(tmp_path / source)]) == 2
    assert f"{source}: no such file" in capsys.readouterr().err


def test_bad_programs_are_refused(tmp_path, capsys):
    source = tmp_path / "a.tasm"
    source.write_text("next\nmul v1\n", encoding="utf-8")
    assert report(main, [str(source)]) == 2
    assert "a.tasm:2: mul takes 3 operands" in capsys.readouterr().err
    source.write_bytes(b"\xff\xfe")
    assert report(main, [str(source)]) == 2
    assert "is not text" in capsys.readouterr().err
    (tmp_path / "a.bin").write_bytes(bytes(17))
    assert report(main, ["--disassemble", str(tmp_path / "a.bin")]) == 2
    assert "17 bytes are no whole number of instructions" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.tasm"]
