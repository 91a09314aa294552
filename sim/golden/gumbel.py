"""Golden model of chance: random bits by counter, and Gumbel variates of them."""

import numpy as np

from tern_fpga.assembler.contract import tables


__all__ = ["random_bits", "gumbel"]


# As in hw/sample/gumbel.py, on purpose a second time: a constant that changes on one side only
# shows.
_ROUNDS   = 7
_MULTIPLY = 0x2d9eb
_CONSTANT = 0x1e377
_BITS     = 18
_MASK     = (1 << _BITS) - 1
_OCTAVE_BITS = tables.GUMBEL_OCTAVES - 1


def random_bits(seed, count, row):
    """36 random bits, a function of three numbers of 24 bits (arrays of one shape, or scalars).

    A Philox of two words of 18 bits: ``high, low = (left * constant) halves; left, right = high ^
    right ^ key, low``; seven rounds, of which the first two take a key.
    """
    seed, count, row = (np.asarray(x, np.int64) for x in (seed, count, row))
    left, right = row & _MASK, row >> _BITS | (count & 0xfff) << 6
    keys = [seed & _MASK, seed >> _BITS | count >> 12 << 6,
            *(_CONSTANT * n & _MASK for n in range(3, _ROUNDS + 1))]
    for key in keys:
        product = left * _MULTIPLY
        left, right = product >> _BITS ^ right ^ key, product & _MASK
    return left << _BITS | right


def gumbel(bits):
    """Gumbel variates of 36 random bits each: integers, ``tables.GUMBEL_FRACTION`` bits of them
    behind the point. From the top: octave, counted in zeros; side; fraction."""
    intercept, slope = tables.gumbel_lines()
    fraction = bits & (1 << tables.GUMBEL_BITS) - 1
    side = bits >> tables.GUMBEL_BITS & 1
    # The leading zeros of 23 bits: frexp gives how many bits are not.
    octave = _OCTAVE_BITS - np.frexp((bits >> tables.GUMBEL_BITS + 1).astype(np.float64))[1]
    line, step = fraction >> tables.GUMBEL_STEP_BITS, fraction & (1 << tables.GUMBEL_STEP_BITS) - 1
    half = 1 << tables.GUMBEL_STEP_BITS - 1
    return (intercept[side, octave, line]
            + (slope[side, octave, line] * step + half >> tables.GUMBEL_STEP_BITS))
