"""Golden model of the random numbers: bits from counters, and Gumbel variates made of them."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tern_fpga.assembler.contract import tables


__all__ = ["random_bits", "gumbel"]


# The constants of hw/sample/gumbel.py are repeated on purpose: a test fails if only one copy
# changes.
_ROUNDS   = 7
_MULTIPLY = 0x2d9eb
_CONSTANT = 0x1e377
_BITS     = 18
_MASK     = (1 << _BITS) - 1
_OCTAVE_BITS = tables.GUMBEL_OCTAVES - 1


def random_bits(seed: ArrayLike, count: ArrayLike, row: ArrayLike) -> NDArray[np.int64]:
    """36 random bits for each (seed, count, row), which have 24 bits each.

    The arguments are arrays of one shape, or scalars. The function is a Philox of two 18-bit
    words. Each of its seven rounds computes ``high, low`` as the halves of ``left * constant``,
    then ``left, right = high ^ right ^ key, low``. The keys of the first two rounds come from
    ``seed`` and ``count``; those of the others are constants.
    """
    s, c, r = (np.asarray(x, np.int64) for x in (seed, count, row))
    left, right = r & _MASK, r >> _BITS | (c & 0xfff) << 6
    keys: list[NDArray[np.int64] | int] = [
        s & _MASK, s >> _BITS | c >> 12 << 6,
        *(_CONSTANT * n & _MASK for n in range(3, _ROUNDS + 1))]
    for key in keys:
        product = left * _MULTIPLY
        left, right = product >> _BITS ^ right ^ key, product & _MASK
    return left << _BITS | right


def gumbel(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Gumbel variates of 36 random bits each: integers with ``tables.GUMBEL_FRACTION`` fraction
    bits. The random bits hold, from the top, the octave (a number of leading zeros), the side and
    the fraction."""
    intercept, slope = tables.gumbel_lines()
    fraction = bits & (1 << tables.GUMBEL_BITS) - 1
    side = bits >> tables.GUMBEL_BITS & 1
    # Leading zeros of a 23-bit number: 23 minus its bit length, which is frexp's exponent.
    octave = _OCTAVE_BITS - np.frexp((bits >> tables.GUMBEL_BITS + 1).astype(np.float64))[1]
    line, step = fraction >> tables.GUMBEL_STEP_BITS, fraction & (1 << tables.GUMBEL_STEP_BITS) - 1
    half = 1 << tables.GUMBEL_STEP_BITS - 1
    return (intercept[side, octave, line]
            + (slope[side, octave, line] * step + half >> tables.GUMBEL_STEP_BITS))
