"""Models as layer programs: a few operations over named values, without an instruction set.

A value is a vector per token. A parameter has the name of its tensor in the checkpoint; in the
operations of a layer, the name is relative to ``model.layers.N.``. ``assembler.compiler.lower``
turns the operations into instructions in the order of the program, so this order is also the
schedule: after each matrix comes vector work on the results of the matrix before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tern_fpga.assembler.errors import TernError


__all__ = ["Embed", "Codes", "Linear", "Map", "Lerp", "Complement", "Mul", "Add", "Scan",
           "Operation", "LayerProgram", "Hgrn", "check_type", "load"]


@dataclass(frozen=True)
class Embed:
    """out = the row of ``table`` that belongs to the token."""
    out: str
    table: str

    def __str__(self) -> str:
        return f"{self.out} = row of {self.table}"


@dataclass(frozen=True)
class Codes:
    """out = int8 codes of ``RMSNorm(RMSNorm(a, outer) * b, inner)``, for the product with
    ``matrix``. ``outer`` None: no outer norm; ``b`` None: no factor. Of the operands, ``a`` becomes
    available last."""
    out: str
    a: str
    b: str | None
    outer: str | None
    inner: str
    matrix: str

    def __str__(self) -> str:
        value = f"norm({self.a}, {self.outer})" if self.outer else self.a
        value += f" * {self.b}" if self.b else ""
        return f"{self.out} = codes of norm({value}, {self.inner})"


@dataclass(frozen=True)
class Linear:
    """out = rows ``start`` to ``stop`` of ``matrix`` times ``codes``, rescaled. ``out`` None: the
    result is the logits."""
    out: str | None
    codes: str
    matrix: str
    start: int
    stop: int

    def __str__(self) -> str:
        rows = f"{self.matrix}[{self.start}:{self.stop}]"
        return f"{self.out or 'logits'} = {rows} {self.codes}"


@dataclass(frozen=True)
class Map:
    """out = function(a); ``function`` is ``sigmoid`` or ``silu``."""
    out: str
    function: str
    a: str

    def __str__(self) -> str:
        return f"{self.out} = {self.function}({self.a})"


@dataclass(frozen=True)
class Lerp:
    """out = floor + (1 - floor) * a, where ``floor`` is a parameter."""
    out: str
    a: str
    floor: str

    def __str__(self) -> str:
        return f"{self.out} = lerp({self.floor}, 1, {self.a})"


@dataclass(frozen=True)
class Complement:
    """out = 1 - a."""
    out: str
    a: str

    def __str__(self) -> str:
        return f"{self.out} = 1 - {self.a}"


@dataclass(frozen=True)
class Mul:
    """out = a * b."""
    out: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.out} = {self.a} * {self.b}"


@dataclass(frozen=True)
class Add:
    """out = a + b."""
    out: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.out} = {self.a} + {self.b}"


@dataclass(frozen=True)
class Scan:
    """out = decay * state + a, and the new state is out. Each layer has one state per stream."""
    out: str
    decay: str
    a: str

    def __str__(self) -> str:
        return f"{self.out} = state = {self.decay} * state + {self.a}"


Operation = Embed | Codes | Linear | Map | Lerp | Complement | Mul | Add | Scan


@dataclass(frozen=True)
class LayerProgram:
    """The operations of a model. ``start`` runs once a token, ``layer`` runs ``layers`` times, and
    ``head`` runs when a token is sampled.

    ``lengths``: elements of each value. ``matrices``: name -> (rows, columns).
    """
    layers: int
    start: tuple[Operation, ...]
    layer: tuple[Operation, ...]
    head: tuple[Operation, ...]
    lengths: dict[str, int]
    matrices: dict[str, tuple[int, int]]


_MAX_SIZE = 65535          # elements of a vector, a 16-bit field of the instruction set
_MAX_VOCAB = 1 << 24       # a token is 24 bits
_MAX_LAYERS = 4096


@dataclass(frozen=True)
class Hgrn:
    """The MatMul-free LM (arXiv 2406.02528), ``model_type: hgrn_bit``.

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

    EPS = 1e-6             # of every RMSNorm, in the code that trained the checkpoints

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of all tensors of the checkpoint."""
        d = (self.hidden,)
        out: dict[str, tuple[int, ...]] = {
            "model.embeddings.weight": (self.vocab, *d), "model.norm.weight": d,
            "lm_head.weight": (self.vocab, *d), "lm_head.norm.weight": d}
        if self.lower_bounds:
            out["model.lower_bounds"] = (self.layers, *d)
        program = self.program()
        for n in range(self.layers):
            prefix = f"model.layers.{n}."
            for name in ("attn_norm", "mlp_norm", "attn.g_norm"):
                out[f"{prefix}{name}.weight"] = d
            for name, (rows, columns) in program.matrices.items():
                if name != "lm_head":
                    out[f"{prefix}{name}.weight"] = (rows, columns)
                    out[f"{prefix}{name}.norm.weight"] = (columns,)
        return out

    def matrices(self) -> list[str]:
        """Names of the tensors that are ternary matrices."""
        names = [name for name in self.program().matrices if name != "lm_head"]
        return [f"model.layers.{n}.{name}.weight" for n in range(self.layers)
                for name in names] + ["lm_head.weight"]

    def program(self) -> LayerProgram:
        """The model as a :class:`LayerProgram`."""
        d, inner = self.hidden, self.inner

        def codes(out: str, a: str, outer: str | None, matrix: str, b: str | None = None) -> Codes:
            return Codes(out, a, b, outer, f"{matrix}.norm", matrix)

        lerp = (Lerp("f", "f", "lower_bounds"),) if self.lower_bounds else ()
        layer = (
            # f and i first: the vector work on them runs while the weights of g are streamed.
            codes("f_codes", "x", "attn_norm", "attn.f_proj"),
            Linear("f", "f_codes", "attn.f_proj", 0, d),
            codes("i_codes", "x", "attn_norm", "attn.i_proj"),
            Linear("i", "i_codes", "attn.i_proj", 0, d),
            codes("g_codes", "x", "attn_norm", "attn.g_proj"),
            Linear("g", "g_codes", "attn.g_proj", 0, d),
            Map("f", "sigmoid", "f"),
            *lerp,
            Complement("not_f", "f"),
            Map("i", "silu", "i"),
            Mul("i", "i", "not_f"),
            Scan("h", "f", "i"),
            Map("swish", "silu", "h"),
            codes("o_codes", "g", "attn.g_norm", "attn.o_proj", b="swish"),
            Linear("o", "o_codes", "attn.o_proj", 0, d),
            Add("x", "x", "o"),
            codes("m_codes", "x", "mlp_norm", "mlp.gate_proj"),
            Linear("gate", "m_codes", "mlp.gate_proj", 0, inner),
            Linear("up", "m_codes", "mlp.gate_proj", inner, 2 * inner),
            Map("gate", "silu", "gate"),
            codes("z_codes", "up", None, "mlp.down_proj", b="gate"),
            Linear("down", "z_codes", "mlp.down_proj", 0, d),
            Add("x", "x", "down"),
        )
        values = dict.fromkeys(("x", "f", "i", "g", "not_f", "h", "swish", "o", "down"), d)
        values |= dict.fromkeys(("gate", "up"), inner)
        values |= dict.fromkeys(("f_codes", "i_codes", "g_codes", "o_codes", "m_codes",
                                 "head_codes"), d) | {"z_codes": inner}
        matrices = {f"attn.{n}_proj": (d, d) for n in "figo"}
        matrices |= {"mlp.gate_proj": (2 * inner, d), "mlp.down_proj": (d, inner),
                     "lm_head": (self.vocab, d)}
        head = (codes("head_codes", "x", "model.norm", "lm_head"),
                Linear(None, "head_codes", "lm_head", 0, self.vocab))
        return LayerProgram(self.layers, (Embed("x", "model.embeddings"),), layer, head, values,
                            matrices)


def _size(config: Mapping[str, Any], key: str, limit: int, where: Path | str) -> int:
    value = config.get(key)
    if type(value) is not int or not 1 <= value <= limit:
        raise TernError(f"{where}: {key} must be a whole number from 1 to {limit}, "
                        f"not {value!r}")
    return value


def check_type(config: Mapping[str, Any], where: Path | str) -> None:
    """Raise TernError unless the config's ``model_type`` is supported."""
    kind = config.get("model_type")
    if kind != "hgrn_bit":
        raise TernError(f"{where}: model_type {kind!r} is not supported; supported: hgrn_bit")


def load(config: dict[str, Any], where: Path | str) -> Hgrn:
    """The model that a Hugging Face config describes.

    Raises TernError on anything that is not supported. The message begins with ``where``.
    """
    check_type(config, where)
    for key, good, shown in (
            ("use_short_conv", (False, None), "false (it is broken upstream)"),
            ("expand_ratio", (1, 1.0, None), "1"),
            ("hidden_act", ("swish", "silu", None), "swish or silu"),
            ("tie_word_embeddings", (False, None), "false"),
            ("rms_norm_eps", (Hgrn.EPS, None), f"{Hgrn.EPS}")):
        if not any(value is config.get(key) or value == config.get(key) for value in good):
            raise TernError(f"{where}: {key} {config[key]!r} is not supported; supported: {shown}")
    hidden = _size(config, "hidden_size", _MAX_SIZE, where)
    if config.get("intermediate_size") is None:
        ratio = config.get("hidden_ratio")
        ratio = 4 if ratio is None else ratio
        if type(ratio) not in (int, float) or not 0 < ratio <= 64:
            raise TernError(f"{where}: hidden_ratio must be a number up to 64, not {ratio!r}")
        inner = 256 * -(-int(hidden * ratio * 2 / 3) // 256)
        config = config | {"intermediate_size": inner}
    lower_bounds = config.get("use_lower_bound", True)
    if type(lower_bounds) is not bool:
        raise TernError(f"{where}: use_lower_bound must be true or false, not {lower_bounds!r}")
    vocab = _size(config, "vocab_size", _MAX_VOCAB, where)
    for key in ("bos_token_id", "eos_token_id"):
        value = config.get(key)
        ids = value if isinstance(value, list) else [value]
        if not all(n is None or type(n) is int and 0 <= n < vocab for n in ids):
            raise TernError(f"{where}: {key} must be a token from 0 to {vocab - 1}, or several, "
                            f"not {value!r}")
    return Hgrn(hidden, _size(config, "intermediate_size", _MAX_SIZE, where),
                _size(config, "num_hidden_layers", _MAX_LAYERS, where), vocab, lower_bounds)
