"""Number formats of the whole machine; see ``docs/numerics.md`` for the choice of widths.

A format defines its number of bits, how a value is rounded to it, and what happens to a value that
does not fit. Only this module defines these.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


__all__ = ["Fixed", "Float", "CODE", "CODE_MAX", "ACC", "TRITS_PER_BYTE", "MAX_LENGTH",
           "round_half_even"]


@dataclass(frozen=True)
class Fixed:
    """Two's complement integer of ``width`` bits."""
    width: int

    @property
    def min(self) -> int:
        return -(1 << self.width - 1)

    @property
    def max(self) -> int:
        return (1 << self.width - 1) - 1


MAX_LENGTH = 65535         # elements of a vector, rows or columns of a matrix: 16-bit fields

CODE     = Fixed(8)        # int8 activation codes of a BitLinear
CODE_MAX = 127             # absmax quantisation maps max|v| to this code
ACC      = Fixed(24)       # |sum| <= 65535 * 128 < 2**23, and -(-128) = +128 counts

_FLOAT64_BITS = 53         # of its significand

TRITS_PER_BYTE = 5         # 3**5 = 243 <= 256: 1.6 bits a trit


def round_half_even(x: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Nearest integer, ties to even: the only rounding rule in the machine. ``x``: float64."""
    return np.rint(x)


@dataclass(frozen=True)
class Float:
    """Floating point of the vector unit: sign, ``exponent`` bits, ``significand - 1`` bits.

    The value of a word is ``(-1)**s * 1.m * 2**(e - bias)`` for ``e > 0``; the word 0 is zero.
    There are no subnormals, no infinities, no NaNs and no negative zero: the largest exponent
    has no special meaning. Results are rounded to nearest even with an unbounded exponent. Then a
    magnitude below ``tiny`` becomes zero (flush), and one above ``max`` becomes ``max``
    (saturate, which sets the machine's sticky flag).

    A sum or product of two such numbers may be computed in float64 and then rounded to this
    format. The result is the correctly rounded one, because 53 >= 2 * 24 + 2 (Figueroa, "When is
    double rounding innocuous?", 1995).

    Parameters
    ----------
    significand : int
        Bits of the significand, the hidden one included, 8 to 24.
    exponent : int
        Bits of the exponent, 5 to 8.
    """
    significand: int
    exponent: int

    def __post_init__(self) -> None:
        if self.significand not in range(8, 25):
            raise ValueError(f"significand must be 8 to 24 bits, not {self.significand!r}")
        if self.exponent not in range(5, 9):
            raise ValueError(f"exponent must be 5 to 8 bits, not {self.exponent!r}")

    @property
    def mantissa(self) -> int:
        """Stored bits of the significand."""
        return self.significand - 1

    @property
    def width(self) -> int:
        """Bits of a word: sign, exponent, mantissa, from the most significant bit down."""
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        return (1 << self.exponent - 1) - 1

    @property
    def tiny(self) -> float:
        """Smallest positive value."""
        return 2.0 ** (1 - self.bias)

    @property
    def max(self) -> float:
        """Largest value."""
        return (2 - 2.0 ** -self.mantissa) * 2.0 ** ((1 << self.exponent) - 1 - self.bias)

    def round(self, x: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Nearest value of this format. ``x``: float64, any shape -> float64, same shape."""
        y = np.array(x, np.float64)
        # Works on the bits of float64, which is ten times as fast as frexp and ldexp. Add one less
        # than half a unit of the last kept place, or exactly half if that place is odd; then clear
        # the bits below. A carry out of the significand correctly increments the exponent.
        bits = y.view(np.int64)
        cut = _FLOAT64_BITS - self.significand
        carry = (bits >> cut & 1) + ((1 << cut - 1) - 1)
        bits += carry
        bits &= -1 << cut
        np.clip(y, -self.max, self.max, out=y)
        y[np.abs(y) < self.tiny] = 0.0
        return y

    def saturates(self, x: npt.ArrayLike) -> bool:
        """Whether rounding ``x`` (float64, any shape) would saturate any of its elements."""
        significand, exponent = np.frexp(np.asarray(x, np.float64))
        scale = 1 << self.significand
        y = np.ldexp(round_half_even(significand * scale), exponent - self.significand)
        return bool((np.abs(y) > self.max).any())

    def encode(self, x: npt.ArrayLike) -> npt.NDArray[np.uint32]:
        """Words of values of this format. ``x``: float64, already rounded -> uint32."""
        x = np.asarray(x, np.float64)
        significand, exponent = np.frexp(np.abs(x))     # significand in [0.5, 1)
        mantissa = np.ldexp(significand, self.significand).astype(np.int64)
        words = (np.asarray(x < 0, np.int64) << self.width - 1
                 | (exponent.astype(np.int64) - 1 + self.bias) << self.mantissa
                 | mantissa & (1 << self.mantissa) - 1)
        return np.where(x == 0, 0, words).astype(np.uint32)

    def decode(self, words: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Values of words. ``words``: integers -> float64. Exponent 0 reads as zero."""
        words = np.asarray(words, np.int64)
        exponent = words >> self.mantissa & (1 << self.exponent) - 1
        mantissa = words & (1 << self.mantissa) - 1 | 1 << self.mantissa
        magnitude = np.ldexp(mantissa.astype(np.float64), exponent - self.bias - self.mantissa)
        signed = np.where(words >> self.width - 1 & 1, -magnitude, magnitude)
        return np.where(exponent == 0, 0.0, signed)
