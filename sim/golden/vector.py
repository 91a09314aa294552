"""Golden model of the vector unit's arithmetic: a float64 formula and a rounding for each."""

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract import formats, tables
from tern_fpga.assembler.contract.formats import Float


__all__ = ["VectorUnit"]


_SLACK = 2.0 ** -36        # of a sum of 65535 numbers, whose additions err by 2**-53 at most
_HALF_BITS = 24            # squares of 24-bit significands are summed as two halves of 24 bits


class VectorUnit:
    """Every operation of the vector unit and of the drain, element by element.

    Arguments and results are float64 arrays that hold values of ``fmt``. The arguments of an
    operation have equal shapes, or shapes that broadcast. A statistic is taken over the last axis.

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Members
    -------
    saturated : bool
        Sticky: a result was larger than the format holds.
    """
    def __init__(self, fmt: Float) -> None:
        self.fmt = fmt
        self.saturated = False
        self._slope, self._intercept = tables.sigmoid(fmt)

    def round(self, x: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        """The rounded result of an operation whose exact (or float64) value is ``x``."""
        if np.abs(x).max(initial=0.0) > self.fmt.max and self.fmt.saturates(x):
            self.saturated = True
        return self.fmt.round(x)

    def mul(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.round(a * b)

    def add(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.round(a + b)

    def fma(self, a: NDArray[np.float64], b: NDArray[np.float64],
            c: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.round(self.round(a * b) + c)

    def sigmoid(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        line = tables.sigmoid_index(self.fmt, a)
        return self.fma(self._slope[line], a, self._intercept[line])

    def silu(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.round(a * self.sigmoid(a))

    def div(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.round(np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0))

    def sqrt(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.round(np.sqrt(np.maximum(a, 0.0)))

    def quant(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.int8]:
        """The product, exact in float64, rounded once to an int8 code."""
        code = formats.round_half_even(a * b)
        return np.clip(code, formats.CODE.min, formats.CODE.max).astype(np.int8)

    def absmax(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.abs(x).max(-1, initial=0.0)

    def sumsq(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of squares, exact, rounded once. ``x``: (..., n) -> (...)."""
        x = np.asarray(x)
        rows = x.reshape(-1, x.shape[-1])
        # Squares are exact in float64, and their sum is within _SLACK of the exact sum in any
        # order. If both ends of that range round to the same number, that number is the result.
        # Otherwise the sum is computed again in exact arithmetic (Ziv, 1991).
        sums = (rows * rows).sum(-1)
        low, high = sums * (1 - _SLACK), sums * (1 + _SLACK)
        unsure = (self.fmt.round(low) != self.fmt.round(high)) | (high > self.fmt.max)
        for n in np.flatnonzero(unsure):
            sums[n] = self._sumsq(rows[n])
        return self.round(sums.reshape(x.shape[:-1]))

    def _sumsq(self, x: NDArray[np.float64]) -> float:
        """(n,) -> the exact sum of squares, rounded to the significand but with an unbounded
        exponent."""
        fraction, exponent = np.frexp(x)
        low = int(exponent.min(initial=0))
        mantissa = np.abs(fraction * (1 << self.fmt.significand)).astype(np.int64)
        square = mantissa * mantissa                            # below 2**48
        bucket = exponent - low
        # Sums of 65535 halves of 24 bits stay below 2**40, so float64 bins are exact.
        highs = np.bincount(bucket, square >> _HALF_BITS)
        lows = np.bincount(bucket, square & (1 << _HALF_BITS) - 1)
        total = sum((int(h) << _HALF_BITS) + int(l) << 2 * k
                    for k, (h, l) in enumerate(zip(highs, lows)))
        extra = max(0, total.bit_length() - self.fmt.significand)
        if extra:
            half = 1 << extra - 1
            quotient, rest = total >> extra, total & (1 << extra) - 1
            total = quotient + (rest > half or rest == half and quotient & 1)
        return np.ldexp(float(total), extra + 2 * (low - self.fmt.significand))
