"""The MatMul-free LM (arXiv 2406.02528), ``model_type: hgrn_bit``: HGRN with BitLinears."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.models.architecture import (
    MAX_LAYERS,
    MAX_SIZE,
    MAX_VOCAB,
    Architecture,
    Read,
    check_tokens,
    choice,
    size,
)
from tern_fpga.assembler.models.floats import Array, BitLinear, FloatModel, rms_norm, sigmoid, silu
from tern_fpga.assembler.models.program import (
    Add,
    Codes,
    Complement,
    Embed,
    LayerProgram,
    Lerp,
    Linear,
    Map,
    Mul,
    Norm,
    Operation,
    Part,
    Scan,
)


__all__ = ["Hgrn", "HgrnReference"]


_EPS = 1e-6                # of every norm; the published code prints 1e-8 and computes this
_BOUNDS = "lower_bounds"   # the parameter that the checkpoint has for all layers together
_PREFIX = "model.layers.{}."


@dataclass(frozen=True)
class Hgrn(Architecture):
    """The MatMul-free LM.

    Parameters
    ----------
    hidden, inner, layers, vocab : int
        Width of the residual stream and of the MLP, number of layers and of tokens.
    lower_bounds : bool
        Whether the forget gates have lower bounds, which rise with the layer.
    """
    hidden: int
    inner: int
    layers: int
    vocab: int
    lower_bounds: bool

    model_type = "hgrn_bit"

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: Path | str) -> Self:
        for key, good, shown in (
                ("use_short_conv", (False, None), "false (it is broken upstream)"),
                ("expand_ratio", (1, 1.0, None), "1"),
                ("hidden_act", ("swish", "silu", None), "swish or silu"),
                ("tie_word_embeddings", (False, None), "false"),
                ("rms_norm_eps", (_EPS, None), f"{_EPS}")):
            choice(config, key, good, shown, where)
        hidden = size(config, "hidden_size", MAX_SIZE, where)
        if config.get("intermediate_size") is None:
            ratio = config.get("hidden_ratio")
            ratio = 4 if ratio is None else ratio
            if type(ratio) not in (int, float) or not 0 < ratio <= 64:
                raise TernError(f"{where}: hidden_ratio must be a number up to 64, not {ratio!r}")
            inner = 256 * -(-int(hidden * ratio * 2 / 3) // 256)
            config = {**config, "intermediate_size": inner}
        lower_bounds = config.get("use_lower_bound", True)
        if type(lower_bounds) is not bool:
            raise TernError(f"{where}: use_lower_bound must be true or false, not {lower_bounds!r}")
        vocab = size(config, "vocab_size", MAX_VOCAB, where)
        check_tokens(config, vocab, where)
        return cls(hidden, size(config, "intermediate_size", MAX_SIZE, where),
                   size(config, "num_hidden_layers", MAX_LAYERS, where), vocab, lower_bounds)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        d = (self.hidden,)
        out: dict[str, tuple[int, ...]] = {
            "model.embeddings.weight": (self.vocab, *d), "model.norm.weight": d,
            "lm_head.weight": (self.vocab, *d), "lm_head.norm.weight": d}
        if self.lower_bounds:
            out[f"model.{_BOUNDS}"] = (self.layers, *d)
        matrices = self.program().matrices
        for n in range(self.layers):
            prefix = _PREFIX.format(n)
            for name in ("attn_norm", "mlp_norm", "attn.g_norm"):
                out[f"{prefix}{name}.weight"] = d
            for name, (rows, columns) in matrices.items():
                if name != "lm_head":
                    out[f"{prefix}{name}.weight"] = (rows, columns)
                    out[f"{prefix}{name}.norm.weight"] = (columns,)
        return out

    def program(self) -> LayerProgram:
        d, inner = self.hidden, self.inner

        def codes(name: str, a: str, matrix: str) -> tuple[Operation, ...]:
            """The input of a BitLinear: normed, then int8."""
            return Norm(f"{name}_in", a, f"{matrix}.norm"), Codes(f"{name}_codes", f"{name}_in",
                                                                 matrix)

        lerp = (Lerp("f", "f", _BOUNDS),) if self.lower_bounds else ()
        layer = (
            # f and i first: the vector work on them runs while the weights of g are streamed.
            Norm("n", "x", "attn_norm"),
            *codes("f", "n", "attn.f_proj"),
            Linear("f", "f_codes", "attn.f_proj", 0, d),
            *codes("i", "n", "attn.i_proj"),
            Linear("i", "i_codes", "attn.i_proj", 0, d),
            *codes("g", "n", "attn.g_proj"),
            Linear("g", "g_codes", "attn.g_proj", 0, d),
            Map("f", "sigmoid", "f"),
            *lerp,
            Complement("not_f", "f"),
            Map("i", "silu", "i"),
            Mul("i", "i", "not_f"),
            Scan("h", "f", "i"),
            Map("swish", "silu", "h"),
            Norm("g_normed", "g", "attn.g_norm"),
            Mul("u", "g_normed", "swish"),
            *codes("o", "u", "attn.o_proj"),
            Linear("o", "o_codes", "attn.o_proj", 0, d),
            Add("x", "x", "o"),
            Norm("n", "x", "mlp_norm"),
            *codes("m", "n", "mlp.gate_proj"),
            Linear("gate", "m_codes", "mlp.gate_proj", 0, inner),
            Linear("up", "m_codes", "mlp.gate_proj", inner, 2 * inner),
            Map("gate", "silu", "gate"),
            Mul("z", "up", "gate"),
            *codes("z", "z", "mlp.down_proj"),
            Linear("down", "z_codes", "mlp.down_proj", 0, d),
            Add("x", "x", "down"),
        )
        head = (Norm("n", "x", "model.norm"), *codes("head", "n", "lm_head"),
                Linear(None, "head_codes", "lm_head", 0, self.vocab))
        wide = ("gate", "up", "z", "z_in", "z_codes")
        names = {op.out for op in (*layer, *head) if op.out is not None}
        matrices = {f"attn.{n}_proj": (d, d) for n in "figo"}
        matrices |= {"mlp.gate_proj": (2 * inner, d), "mlp.down_proj": (d, inner),
                     "lm_head": (self.vocab, d)}
        return LayerProgram(
            (Part((Embed("x", "model.embeddings"),)),
             Part(layer, repeats=self.layers, prefix=_PREFIX), Part(head, sampled=True)),
            lengths={name: inner if name in wide else d for name in names},
            matrices=matrices, eps=_EPS, states={"state": d})

    def manifest(self) -> dict[str, Any]:
        return {"intermediate_size": self.inner, "use_lower_bound": self.lower_bounds}

    def parameter(self, name: str, repetition: int, prefix: str,
                  read: Read) -> npt.NDArray[np.float64]:
        if name != _BOUNDS:
            return super().parameter(name, repetition, prefix, read)
        bound: npt.NDArray[np.float64] = _bounds(read(f"model.{_BOUNDS}"))[repetition]
        return bound

    def reference(self, tensor: Callable[[str], Any],
                  dtype: type[np.floating[Any]] = np.float64) -> "HgrnReference":
        return HgrnReference(self.layers, tensor, lower_bounds=self.lower_bounds, dtype=dtype)


def _bounds(x: Array) -> Array:
    """(layers, d): the softmax over the layers, summed up to each layer; row 0 is 0."""
    share = np.exp(x - x.max(0))
    share /= share.sum(0)
    bounds: Array = share.cumsum(0) - share[0]
    return bounds


class HgrnReference(FloatModel):
    """The MatMul-free language model (``model_type: hgrn_bit``), any number of streams.

    Equations: "Scalable MatMul-free Language Modeling" (arXiv 2406.02528) as its published code
    computes them. The ternary products are exact, all else is in ``dtype``.

    Parameters
    ----------
    layers : int
    tensor : callable
        See :meth:`assembler.models.architecture.Architecture.reference`. Lower bounds are read
        only if ``lower_bounds``.
    lower_bounds : bool
        Whether the forget gates have one (``use_lower_bound``).
    dtype : np.float64 or np.float32
    """
    def __init__(self, layers: int, tensor: Callable[[str], Any], *, lower_bounds: bool = True,
                 dtype: type[np.floating[Any]] = np.float64) -> None:
        self.dtype = dtype
        self.layers = layers
        self.embedding = np.asarray(tensor("model.embeddings.weight"), np.float32)
        self.vocabulary, self.width = self.embedding.shape
        self.bounds: Array = np.zeros((layers, self.width), dtype)
        if lower_bounds:
            self.bounds = _bounds(np.asarray(tensor(f"model.{_BOUNDS}"), np.float32).astype(dtype))
        self._tensor = tensor
        self.blocks = [self._block(_PREFIX.format(n)) for n in range(layers)]
        self.norm = self._vector("model.norm.weight")
        self.head = self._linear("lm_head")

    def _vector(self, name: str) -> Array:
        return np.asarray(self._tensor(name), np.float32).astype(self.dtype)

    def _linear(self, name: str) -> BitLinear:
        return BitLinear(self._tensor(name + ".weight"), self._tensor(name + ".norm.weight"),
                         self.dtype, _EPS)

    def _block(self, name: str) -> dict[str, Any]:
        norms = {k: self._vector(f"{name}{k}.weight")
                 for k in ("attn_norm", "mlp_norm", "attn.g_norm")}
        linears = {k: self._linear(name + k)
                   for k in ("attn.i_proj", "attn.f_proj", "attn.g_proj", "attn.o_proj",
                             "mlp.gate_proj", "mlp.down_proj")}
        return {**norms, **linears}

    def state(self, streams: int) -> Array:
        """The state before the first token: (layers, streams, width)."""
        return np.zeros((self.layers, streams, self.width), self.dtype)

    def forward(self, ids: npt.ArrayLike, state: Any,
                hidden: list[Array] | None = None) -> Array:
        x = self.embedding[np.asarray(ids)].astype(self.dtype)
        for n, block in enumerate(self.blocks):
            if hidden is not None:
                hidden.append(x)
            x = self._layer(block, x, self.bounds[n], state[n])
        x = rms_norm(x, self.norm, _EPS)
        if hidden is not None:
            hidden.append(x)
        return self.head(x)

    def _layer(self, block: dict[str, Any], x: Array, bound: Array, h: Array) -> Array:
        """One block: (streams, t, width) -> the same; ``h`` (streams, width) in place."""
        n = rms_norm(x, block["attn_norm"], _EPS)
        f = sigmoid(block["attn.f_proj"](n))
        f = bound + (1 - bound) * f                 # the first layer's bound is 0
        i = silu(block["attn.i_proj"](n)) * (1 - f)
        states = np.empty_like(i)
        for t in range(x.shape[1]):
            h[:] = f[:, t] * h + i[:, t]
            states[:, t] = h
        u = rms_norm(block["attn.g_proj"](n), block["attn.g_norm"], _EPS) * silu(states)
        x = x + block["attn.o_proj"](u)
        gate, up = np.split(block["mlp.gate_proj"](rms_norm(x, block["mlp_norm"], _EPS)), 2, -1)
        down: Array = x + block["mlp.down_proj"](silu(gate) * up)
        return down
