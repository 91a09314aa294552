"""A second architecture, in a file and a row: other parts, states, matrices and norms."""

from dataclasses import dataclass, replace
import json
import subprocess

import numpy as np
import pytest
from safetensors.numpy import save_file

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.fuse import NormedCodes, fused
from tern_fpga.assembler.compiler.layout import plan
from tern_fpga.assembler.compiler.predict import predicted
from tern_fpga.assembler.models import registry
from tern_fpga.assembler.models.architecture import MAX_SIZE, MAX_VOCAB, Architecture, size
from tern_fpga.assembler.models.floats import BitLinear, FloatModel, rms_norm, sigmoid, silu
from tern_fpga.assembler.models.program import (
    Add,
    Codes,
    Embed,
    LayerProgram,
    Linear,
    Map,
    Mul,
    Norm,
    Part,
    Scan,
)
from tern_fpga.sim.commands import perf
from tern_fpga.sim.engines import Engine
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.reference import model as reference
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.assembler.test_compile import BINARY32, MACHINES, difference, logits_of
from tests.compiled import CONFIGS
from tests.verilog import ROOT


EPS = 1e-5
FEW = replace(BINARY32, registers=64, register_elements=16)


@dataclass(frozen=True)
class Toy(Architecture):
    """Two kinds of layers: mixers with two states of different sizes, and MLPs with a norm inside.
    A norm of the embedding that is no part of codes, codes without a norm, no MLP in the mixers."""
    width: int
    inner: int
    mixers: int
    mlps: int
    vocab: int

    model_type = "toy"

    @classmethod
    def from_config(cls, config, where):
        return cls(*(size(config, key, MAX_SIZE, where)
                     for key in ("width", "inner", "mixers", "mlps")),
                   size(config, "vocab_size", MAX_VOCAB, where))

    def shapes(self):
        d, w = self.width, self.inner
        out = {"tokens.weight": (self.vocab, d), "tokens_norm.weight": (d,),
               "norm.weight": (d,), "out.weight": (self.vocab, d)}
        for n in range(self.mixers):
            out |= {f"mixers.{n}.{name}.weight": shape for name, shape in (
                ("norm", (d,)), ("gates", (d + 2 * w, d)), ("value", (d, d)), ("mix", (d, w)))}
        for n in range(self.mlps):
            out |= {f"mlps.{n}.{name}.weight": shape for name, shape in (
                ("norm", (d,)), ("up", (w, d)), ("sub_norm", (w,)), ("down", (d, w)))}
        return out

    def program(self):
        d, w = self.width, self.inner
        mixer = (
            Norm("n", "x", "norm"),
            Codes("gate_codes", "n", "gates"),
            Linear("a", "gate_codes", "gates", 0, d),
            Linear("b", "gate_codes", "gates", d, d + w),
            Linear("c", "gate_codes", "gates", d + w, d + 2 * w),
            Codes("v_codes", "n", "value"),
            Linear("v", "v_codes", "value", 0, d),
            Map("a", "sigmoid", "a"),
            Scan("h", "a", "v", "slow"),
            Map("b", "sigmoid", "b"),
            Scan("g", "b", "c", "fast"),
            Codes("g_codes", "g", "mix"),
            Linear("o", "g_codes", "mix", 0, d),
            Mul("o", "o", "h"),
            Add("x", "x", "o"),
        )
        mlp = (
            Norm("n", "x", "norm"),
            Codes("u_codes", "n", "up"),
            Linear("u", "u_codes", "up", 0, w),
            Map("u", "silu", "u"),
            Norm("m", "u", "sub_norm"),
            Codes("m_codes", "m", "down"),
            Linear("o", "m_codes", "down", 0, d),
            Add("x", "x", "o"),
        )
        head = (Norm("n", "x", "norm"), Codes("head_codes", "n", "out"),
                Linear(None, "head_codes", "out", 0, self.vocab))
        lengths = dict.fromkeys(("e", "x", "n", "a", "v", "h", "o", "gate_codes", "v_codes",
                                 "u_codes", "head_codes"), d)
        lengths |= dict.fromkeys(("b", "c", "g", "u", "m", "g_codes", "m_codes"), w)
        return LayerProgram(
            (Part((Embed("e", "tokens"), Norm("x", "e", "tokens_norm"))),
             Part(mixer, repeats=self.mixers, prefix="mixers.{}."),
             Part(mlp, repeats=self.mlps, prefix="mlps.{}."), Part(head, sampled=True)),
            lengths=lengths, eps=EPS, states={"slow": d, "fast": w},
            matrices={"gates": (d + 2 * w, d), "value": (d, d), "mix": (d, w), "up": (w, d),
                      "down": (d, w), "out": (self.vocab, d)})

    def reference(self, tensor, dtype=np.float64):
        return ToyReference(self, tensor, dtype)


class ToyReference(FloatModel):
    def __init__(self, shape, tensor, dtype):
        def vector(name):
            return np.asarray(tensor(f"{name}.weight"), np.float32).astype(dtype)

        def linear(name, gain=None):
            return BitLinear(tensor(f"{name}.weight"), gain and tensor(f"{gain}.weight"), dtype,
                             EPS) if gain else BitLinear(tensor(f"{name}.weight"), None, dtype, EPS)

        self.shape, self.dtype = shape, dtype
        self.vocabulary, self.width = shape.vocab, shape.width
        self.tokens, self.tokens_norm = vector("tokens"), vector("tokens_norm")
        self.mixers = [(linear(f"{p}gates", f"{p}norm"), linear(f"{p}value", f"{p}norm"),
                        linear(f"{p}mix")) for p in map("mixers.{}.".format, range(shape.mixers))]
        self.mlps = [(linear(f"{p}up", f"{p}norm"), linear(f"{p}down", f"{p}sub_norm"))
                     for p in map("mlps.{}.".format, range(shape.mlps))]
        self.head = linear("out", "norm")

    def state(self, streams):
        return [(np.zeros((streams, self.width), self.dtype),
                 np.zeros((streams, self.shape.inner), self.dtype)) for _ in self.mixers]

    def forward(self, ids, state, hidden=None):
        d, w = self.width, self.shape.inner
        x = rms_norm(self.tokens[np.asarray(ids)], self.tokens_norm, EPS)
        for (gates, value, mix), (slow, fast) in zip(self.mixers, state):
            parts = gates(x)
            a, b, c = sigmoid(parts[..., :d]), sigmoid(parts[..., d:d + w]), parts[..., d + w:]
            v = value(x)
            h, g = np.empty_like(a), np.empty_like(b)
            for t in range(x.shape[1]):
                slow[:] = a[:, t] * slow + v[:, t]
                fast[:] = b[:, t] * fast + c[:, t]
                h[:, t], g[:, t] = slow, fast
            x = x + mix(g) * h
        for up, down in self.mlps:
            x = x + down(silu(up(x)))
        return self.head(x)


SHAPES = {"odd": (52, 77, 2, 3, 91), "one of each": (30, 20, 1, 1, 40), "wide": (40, 131, 3, 2, 50)}


@pytest.fixture(scope="module", params=SHAPES)
def toy(request, tmp_path_factory):
    """(folder, ids) of a random model; its architecture is registered."""
    shape  = Toy(*SHAPES[request.param])
    folder = tmp_path_factory.mktemp("toy")
    rng    = np.random.default_rng(len(request.param))
    tensors = {}
    for name, size_ in shape.shapes().items():
        x = rng.standard_normal(size_).astype(np.float32)
        tensors[name] = np.abs(1 + x / 5) if "norm" in name else x
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "toy", "width": shape.width, "inner": shape.inner,
              "mixers": shape.mixers, "mlps": shape.mlps, "vocab_size": shape.vocab}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ARCHITECTURES, "toy", Toy)
        yield folder, rng.integers(0, shape.vocab, 11)


def test_the_golden_machine_computes_it(toy):
    folder, ids = toy
    expected = reference.load(folder).logits(ids[None])[0]
    got = logits_of(compile_model(folder, BINARY32, "test"), ids)
    assert difference(got, expected) < 0.01
    assert np.array_equal(got.argmax(-1), expected.argmax(-1))


def test_every_machine_computes_the_same(toy):
    """With states in registers and in memory, whatever the positions."""
    folder, ids = toy
    expected = logits_of(compile_model(folder, BINARY32, "test"), ids)
    for name, config in {**MACHINES, "few": FEW, "few, 2": replace(FEW, positions=2, lanes=20)
                         }.items():
        image = compile_model(folder, config, name)
        assert np.array_equal(logits_of(image, ids), expected), name
        if name == "few":
            large = image.manifest["model"]["hidden_size"] == SHAPES["wide"][0]
            assert image.manifest["states_in_registers"] != large


@pytest.mark.parametrize("name", ["narrow", "wide"])
def test_the_rtl_equals_the_golden_machine(toy, name):
    folder, ids = toy
    image = compile_model(folder, CONFIGS[name], "test")
    prompts = [[int(token)] for token in ids[:image.config.positions]]
    tokens = [[(token.stream, token.id) for token in Engine(image, machine(image)).generate(
        prompts, 4)] for machine in (Machine, RtlMachine)]
    assert tokens[0] == tokens[1]


def test_it_is_estimated_and_measured_like_any_other(toy):
    folder, _ = toy
    image = compile_model(folder, CONFIGS["narrow"], "test")
    guess = predicted(folder, CONFIGS["narrow"]).cycles
    found = perf.measure(image, clock_mhz=100, tokens=2)
    assert found.cycles == pytest.approx(guess, rel=0.05)
    assert found.useful_bytes > 0


# The peephole

def test_norms_disappear_into_codes():
    ops = fused(Toy(4, 4, 1, 1, 4).program().parts[1].operations, ["x"])
    assert [type(op) for op in ops].count(NormedCodes) == 2
    assert not any(isinstance(op, Norm) for op in ops)
    assert isinstance(next(op for op in ops if op.out == "g_codes"), Codes)


@pytest.mark.parametrize("between, needed", [
    ((Add("x", "x", "y"),), ()),                # the norm's operand changes before the codes
    ((), ("n",)),                               # the norm is used later
])
def test_a_norm_that_is_needed_stays(between, needed):
    ops = fused([Norm("n", "x", "gain"), *between, Codes("codes", "n", "matrix")], needed)
    assert isinstance(ops[0], Norm)
    assert isinstance(ops[-1], Codes if between else NormedCodes)


@pytest.mark.parametrize("parts, message", [
    ([Part((), repeats=1)], "the last part"),
    ([Part((), sampled=True), Part((), sampled=True)], "the last part"),
    ([Part((), sampled=True)], "needs a part that repeats"),
    ([Part((), repeats=2), Part((Scan("h", "a", "b"),), sampled=True)], "nor has states"),
    ([Part((Scan("h", "a", "b", "s"),), repeats=2), Part((), sampled=True)], "each state"),
])
def test_programs_that_cannot_be_lowered_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        LayerProgram(tuple(parts), {}, {}, EPS)


def _changed(**changes):
    """Of an otherwise right program."""
    right = Toy(4, 6, 1, 1, 9).program()
    return replace(right, **{name: change(getattr(right, name))
                             for name, change in changes.items()})


def _with(part, *operations):
    def change(parts):
        return tuple(replace(each, operations=(*each.operations, *operations))
                     if n == part else each for n, each in enumerate(parts))
    return change


@pytest.mark.parametrize("changes, message", [
    ({"parts": _with(2, Mul("x", "x", "zz"))}, r"x = x \* zz: zz has no length"),
    ({"parts": _with(1, Mul("x", "x", "u"))}, "no operation before it gives u"),
    ({"parts": _with(2, Add("x", "x", "u"))}, "lengths differ: x 4, u 6, x 4"),
    ({"parts": _with(2, Map("x", "tanh", "x"))}, "functions are sigmoid, silu"),
    ({"parts": _with(2, Linear("o", "u_codes", "down", 0, 4))}, "u_codes are no codes for down"),
    ({"parts": _with(2, Linear("u", "u_codes", "up", 4, 10))}, "up has 6 rows"),
    ({"parts": _with(2, Linear("u", "u_codes", "up", 0, 4))}, "u has the length 6"),
    ({"lengths": lambda lengths: {k: v for k, v in lengths.items() if k != "o"}}, "o has no len"),
    ({"matrices": lambda found: found | {"up": (6, 5)}}, "up has 5 columns, and u_codes 4"),
    ({"states": lambda found: found | {"slow": 5}}, "slow has the length 5"),
])
def test_a_mistake_in_a_program_is_named_with_its_operation(changes, message):
    with pytest.raises(ValueError, match=message):
        _changed(**changes)


def test_a_program_that_contradicts_the_checkpoint_is_refused(monkeypatch):
    toy = Toy(4, 6, 1, 1, 9)
    right = toy.shapes()
    monkeypatch.setattr(Toy, "shapes", lambda self: right | {"mlps.0.up.weight": (5, 4)})
    with pytest.raises(ValueError, match=r"mlps.0.up.weight of shape \(6, 4\), the checkpoint"):
        plan(toy, CONFIGS["narrow"])


def test_only_its_own_file_knows_an_architecture():
    found = subprocess.run(
        ["git", "grep", "-ilE", "hgrn", "--", "*.py", "*.v", "*.cpp", "*.toml", "Makefile"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout.split()
    assert {name for name in found if not name.startswith("tests/")} == {
        "assembler/models/hgrn.py", "assembler/models/registry.py", "models/network.py"}
