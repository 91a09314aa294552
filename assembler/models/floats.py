"""What float references of architectures are made of: the published equations in NumPy."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt


__all__ = ["Array", "FloatModel", "BitLinear", "rms_norm", "sigmoid", "silu"]


Array = npt.NDArray[np.floating[Any]]

_FLOOR = 1e-5              # smallest weight scale and smallest activation maximum


def rms_norm(x: Array, gain: Array, eps: float) -> Array:
    """RMSNorm over the last axis, times ``gain``."""
    mean = (x * x).mean(-1, keepdims=True)
    normed: Array = x / np.sqrt(mean + x.dtype.type(eps)) * gain
    return normed


def sigmoid(x: Array) -> Array:
    """1 / (1 + e**-x), without overflow."""
    small = np.exp(-np.abs(x))
    shown: Array = np.where(x < 0, small, 1) / (1 + small)
    return shown


def silu(x: Array) -> Array:
    """x * sigmoid(x)."""
    product: Array = x * sigmoid(x)
    return product



class BitLinear:
    """``y = (T q) * m / 127 * s``: ternary weights T, int8 activations q of the normed input.

    ``weight``: (rows, columns) as trained; or what it is rounded to, (trits, scale). ``gain``: of
    the norm; None: the input is not normed.
    """
    def __init__(self, weight: Any, gain: Any, dtype: Any, eps: float) -> None:
        if isinstance(weight, tuple):
            self.trits, self.scale = weight[0], dtype(weight[1])
        else:
            weight = np.asarray(weight, np.float32).astype(dtype)
            self.scale = max(np.abs(weight).mean(), dtype(_FLOOR))
            self.trits = np.clip(np.rint(weight / self.scale), -1, 1).astype(np.int8)
        self.gain = None if gain is None else np.asarray(gain, np.float32).astype(dtype)
        self.eps = eps

    def __call__(self, x: Array) -> Array:
        """(..., columns) -> (..., rows)."""
        y = x if self.gain is None else rms_norm(x, self.gain, self.eps)
        top = np.maximum(np.abs(y).max(-1, keepdims=True), x.dtype.type(_FLOOR))
        q = np.clip(np.rint(y * 127 / top), -128, 127).astype(np.int8)
        # |sum| <= 65535 * 128 < 2**24: float32 is exact in any order.
        sums = q.astype(np.float32) @ self.trits.astype(np.float32).T
        scaled: Array = sums.astype(x.dtype) * (top / 127) * self.scale
        return scaled


class FloatModel(ABC):
    """A model without any of the machine's number formats, for any number of streams.

    Members
    -------
    vocabulary, width : int
    """
    vocabulary: int
    width: int

    @abstractmethod
    def state(self, streams: int) -> Any:
        """The state before the first token, of that many streams."""

    @abstractmethod
    def forward(self, ids: npt.ArrayLike, state: Any,
                hidden: list[Array] | None = None) -> Array:
        """Feed tokens to independent streams.

        Parameters
        ----------
        ids : (streams, t) int
        state
            Of :meth:`state` or of an earlier call; changed in place.
        hidden : list
            Takes the residual stream after the embedding and after each layer, each (streams, t,
            width); the last one after the final norm, as the published code reports it.

        Returns
        -------
        (streams, t, vocabulary)
        """

    def logits(self, ids: Any) -> Array:
        """Whole sequences at once: (streams, t) int -> (streams, t, vocabulary)."""
        return self.forward(ids, self.state(len(ids)))
