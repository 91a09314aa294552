"""The float model: computes a checkpoint without the machine's number formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tern_fpga.assembler.compiler.compile import check_tensors
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.ternary import Packed
from tern_fpga.assembler.models import hgrn as model
from tern_fpga.sim.golden import ternary


__all__ = ["BitLinear", "Reference"]


Floats = NDArray[np.floating[Any]]


_EPSILON = 1e-6            # of every RMSNorm: the published code prints 1e-8 but uses 1e-6
_FLOOR = 1e-5              # smallest weight scale and smallest activation maximum


def _rms_norm(x: Floats, gain: Floats) -> Floats:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(_EPSILON)) * gain


def _sigmoid(x: Floats) -> Floats:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def _silu(x: Floats) -> Floats:
    return x * _sigmoid(x)


class BitLinear:
    """``y = (T q) * m / 127 * s``: ternary weights T, int8 activations q of the normed input.

    ``weight``: (rows, columns) as trained, or its rounded form (trits, scale).
    ``dtype``: np.float64 or np.float32.
    """
    def __init__(self, weight: ArrayLike | tuple[NDArray[np.int8], float], gain: ArrayLike,
                 dtype: type[Any]) -> None:
        if isinstance(weight, tuple):
            self.trits, self.scale = weight[0], dtype(weight[1])
        else:
            latent = np.asarray(weight, np.float32).astype(dtype)
            self.scale = max(np.abs(latent).mean(), dtype(_FLOOR))
            self.trits = np.clip(np.rint(latent / self.scale), -1, 1).astype(np.int8)
        self.gain = np.asarray(gain, np.float32).astype(dtype)

    def __call__(self, x: Floats) -> Floats:
        """(..., columns) -> (..., rows)."""
        y = _rms_norm(x, self.gain)
        top = np.maximum(np.abs(y).max(-1, keepdims=True), x.dtype.type(_FLOOR))
        q = np.clip(np.rint(y * 127 / top), -128, 127).astype(np.int8)
        sums = ternary.matmul(self.trits, q.reshape(-1, q.shape[-1]))
        return sums.reshape(*x.shape[:-1], -1).astype(x.dtype) * (top / 127) * self.scale


class Reference:
    """The MatMul-free language model (``model_type: hgrn_bit``), any number of streams.

    Equations: "Scalable MatMul-free Language Modeling" (arXiv 2406.02528), as its published code
    computes them. The ternary products are exact; all other arithmetic is in ``dtype``.

    Parameters
    ----------
    layers : int
    tensor : callable
        ``tensor(name)`` returns the checkpoint's tensor of that name as an array, or (trits,
        scale) for a packed matrix. It is called for the lower bounds only if ``lower_bounds``.
    lower_bounds : bool
        Whether the forget gates have lower bounds (``use_lower_bound``).
    dtype : np.float64 or np.float32

    Members
    -------
    vocabulary, width : int
    """
    def __init__(self, layers: int, tensor: Callable[[str], Any], *, lower_bounds: bool = True,
                 dtype: type[Any] = np.float64) -> None:
        self.dtype = dtype
        self.layers = layers
        self.embedding = np.asarray(tensor("model.embeddings.weight"), np.float32)
        self.vocabulary, self.width = self.embedding.shape
        self.bounds: Floats = np.zeros((layers, self.width), dtype)
        if lower_bounds:
            raw = np.asarray(tensor("model.lower_bounds"), np.float32).astype(dtype)
            share = np.exp(raw - raw.max(0))
            share /= share.sum(0)
            self.bounds = share.cumsum(0) - share[0]
        self._tensor = tensor
        self.blocks = [self._block(f"model.layers.{l}.") for l in range(layers)]
        self.norm = self._vector("model.norm.weight")
        self.head = self._linear("lm_head")

    @classmethod
    def from_checkpoint(cls, path: Path | str, dtype: type[Any] = np.float64) -> Self:
        """The model of a ``model.json``, checkpoint folder or ``config.json``.

        Raises TernError as the compiler does.
        """
        checkpoint = Checkpoint(path)
        shape = model.load(checkpoint.config, checkpoint.path)
        check_tensors(checkpoint, shape)

        def read(name: str) -> Any:
            tensor = checkpoint.tensors[name]
            return tensor.ternary() if isinstance(tensor, Packed) else tensor.array()

        return cls(shape.layers, read, lower_bounds=shape.lower_bounds, dtype=dtype)

    def _vector(self, name: str) -> Floats:
        return np.asarray(self._tensor(name), np.float32).astype(self.dtype)

    def _linear(self, name: str) -> BitLinear:
        return BitLinear(self._tensor(name + ".weight"), self._tensor(name + ".norm.weight"),
                          self.dtype)

    def _block(self, name: str) -> dict[str, Any]:
        norms = {k: self._vector(f"{name}{k}.weight")
                 for k in ("attn_norm", "mlp_norm", "attn.g_norm")}
        linears = {k: self._linear(name + k)
                   for k in ("attn.i_proj", "attn.f_proj", "attn.g_proj", "attn.o_proj",
                             "mlp.gate_proj", "mlp.down_proj")}
        return norms | linears

    def state(self, streams: int) -> Floats:
        """The state before the first token: (layers, streams, width)."""
        return np.zeros((self.layers, streams, self.width), self.dtype)

    def forward(self, ids: ArrayLike, state: Floats, hidden: list[Floats] | None = None) -> Floats:
        """Feed tokens to independent streams.

        Parameters
        ----------
        ids : (streams, t) int
        state : (layers, streams, width)
            From :meth:`state` or from an earlier call; updated in place.
        hidden : list or None
            Receives the residual stream after the embedding and after each layer, (streams, t,
            width) each. The last entry is taken after the final norm, as in the published code.

        Returns
        -------
        (streams, t, vocabulary)
        """
        x = self.embedding[np.asarray(ids)].astype(self.dtype)
        for l, block in enumerate(self.blocks):
            if hidden is not None:
                hidden.append(x)
            x = self._layer(block, x, self.bounds[l], state[l])
        x = _rms_norm(x, self.norm)
        if hidden is not None:
            hidden.append(x)
        return self.head(x)

    def _layer(self, block: dict[str, Any], x: Floats, bound: Floats, h: Floats) -> Floats:
        """One block: (streams, t, width) -> (streams, t, width). Updates ``h``, (streams, width),
        in place."""
        n = _rms_norm(x, block["attn_norm"])
        f = _sigmoid(block["attn.f_proj"](n))
        f = bound + (1 - bound) * f                 # the first layer's bound is 0
        i = _silu(block["attn.i_proj"](n)) * (1 - f)
        states = np.empty_like(i)
        for t in range(x.shape[1]):
            h[:] = f[:, t] * h + i[:, t]
            states[:, t] = h
        u = _rms_norm(block["attn.g_proj"](n), block["attn.g_norm"]) * _silu(states)
        x = x + block["attn.o_proj"](u)
        gate, up = np.split(block["mlp.gate_proj"](_rms_norm(x, block["mlp_norm"])), 2, -1)
        return x + block["mlp.down_proj"](_silu(gate) * up)

    def logits(self, ids: ArrayLike) -> Floats:
        """Logits of whole sequences: (streams, t) int -> (streams, t, vocabulary)."""
        return self.forward(ids, self.state(len(np.asarray(ids))))
