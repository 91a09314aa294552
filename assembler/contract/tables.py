"""Function tables of the machine. Hardware and golden machine both read these.

The sigmoid is a table of straight lines over (-16, 16), ``lines_per_unit(fmt)`` of them per unit
of x. 16 lines are enough for a coarse float. From 15 significand bits on, their error would be the
largest one, so there are more, up to 128. Line ``k`` serves the arguments with ``k = {sign,
min(trunc(|x| * lines_per_unit), lines / 2 - 1)}``. The sign is the top bit of k: the first half of
the table covers x >= 0, from zero outwards, and the second half covers x < 0, from zero outwards.
The last line of a side also serves all larger magnitudes; it is flat, at 1 and at 0.

The machine computes ``sigmoid(x) = round(round(slope[k] * x) + intercept[k])`` and ``silu(x) =
round(x * sigmoid(x))``. Largest errors against the real functions, with all roundings, over all
x of a format of p significand bits (``tests/assembler/test_tables.py`` measures them):

* sigmoid: lines + 1.1 * 2**-p, and results never leave [0, 1];
* silu: lines * 1.7 + |x| * 2**(1 - p), and at most 6.2e-5 more with a 5-bit exponent, where small
  results are flushed to zero.

``lines`` is the error of the lines alone: 6.1e-3 / lines_per_unit**2 (2.4e-5 for 16).

The Gumbel variate ``g = -ln(-ln u)`` of a uniform u in (0, 1) is an integer with
``GUMBEL_FRACTION`` fraction bits. Random bits give u in three independent parts: a side, an octave
and a fraction. With ``w = 2**-(octave + 2) * (1 + (fraction + 1/2) / 2**12)``, u is w (side 0) or
1 - w (side 1). Octave k has a probability of 2**-(k + 1) within its side, so both tails are as fine
as the middle, and the hardware needs no shifter. Each octave has 16 lines, selected by the top 4
bits of the fraction: ``g = intercept + round(slope * low 8 bits / 2**8)``. The largest error is
4.5e-4. The last octave also represents everything beyond it: g exceeds 16.6 with a probability of
6e-8, and is then at most 17.3.
"""

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.contract.formats import Float


__all__ = ["REACH", "lines_per_unit", "lines", "sigmoid", "sigmoid_index", "GUMBEL_FRACTION",
           "GUMBEL_WIDTH", "GUMBEL_OCTAVES", "GUMBEL_BITS", "GUMBEL_STEP_BITS",
           "GUMBEL_SLOPE_WIDTH", "gumbel_lines"]


REACH = 16                 # the lines end at this magnitude

GUMBEL_FRACTION    = 12    # fraction bits of g
GUMBEL_WIDTH       = 18    # of g: -2.9 <= g < 17.4, and the integers are signed
GUMBEL_OCTAVES     = 24
GUMBEL_BITS        = 12    # of the fraction in an octave
GUMBEL_STEP_BITS   = 8     # of these, the low bits that select a point within a line
GUMBEL_SLOPE_WIDTH = 10    # signed


def lines_per_unit(fmt: Float) -> int:
    """Lines per unit of x: 16 to 128, twice as many for every two bits of significand.

    The error of a line is proportional to the square of its width. The limit keeps the table in a
    few block RAMs.
    """
    return 16 << min(max((fmt.significand - 13) // 2, 0), 3)


def lines(fmt: Float) -> int:
    """Lines in the table of a format; a power of two."""
    return 2 * REACH * lines_per_unit(fmt)


def sigmoid_index(fmt: Float, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The line that serves each argument. ``x``: float64, any shape -> int64, same shape."""
    x = np.asarray(x, np.float64)
    side = lines(fmt) // 2
    magnitude = np.minimum(np.trunc(np.abs(x) * lines_per_unit(fmt)), side - 1).astype(np.int64)
    return np.where(x < 0, magnitude + side, magnitude)


def _logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def sigmoid(fmt: Float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The lines for one float format.

    A slope is that of the chord, rounded. The intercept balances the largest errors above and
    below the curve for the rounded slope (minimax), and is then rounded too.

    Parameters
    ----------
    fmt : assembler.contract.formats.Float

    Returns
    -------
    (slope, intercept) : (lines,) float64 each, in line order, values of ``fmt``
    """
    per_unit, side = lines_per_unit(fmt), lines(fmt) // 2
    near = np.arange(side) / per_unit
    far = near + 1 / per_unit
    low, high = np.concatenate([near, -far]), np.concatenate([far, -near])
    slope = fmt.round((_logistic(high) - _logistic(low)) * per_unit)
    # The distance from the curve to the line is largest at an end, or where both have the same
    # slope. There s (1 - s) = slope with s = sigmoid(x), so x = +-2 artanh(sqrt(1 - 4 slope)).
    with np.errstate(divide="ignore"):
        steep = 2 * np.arctanh(np.sqrt(np.maximum(1 - 4 * slope, 0)))
    points = np.stack([low, high, np.clip(steep, low, high), np.clip(-steep, low, high)])
    distance = _logistic(points) - slope * points
    intercept = fmt.round((distance.max(0) + distance.min(0)) / 2)
    slope[[side - 1, -1]] = 0.0
    intercept[[side - 1, -1]] = 1.0, 0.0
    return slope, intercept


def gumbel_lines() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The lines of g.

    Returns
    -------
    (intercept, slope) : (2, GUMBEL_OCTAVES, 16) int64 each, by side, octave and line
        In units of ``2**-GUMBEL_FRACTION``; a slope is the change over the whole line.
    """
    steps = 1 << GUMBEL_STEP_BITS
    fraction = np.arange(1 << GUMBEL_BITS).reshape(-1, steps) + 0.5
    scale = 2.0 ** -(np.arange(GUMBEL_OCTAVES) + 2)
    w = scale[:, None, None] * (1 + fraction / (1 << GUMBEL_BITS))
    g = -np.log(-np.stack([np.log(w), np.log1p(-w)])) * (1 << GUMBEL_FRACTION)
    slope = np.rint((g[..., -1] - g[..., 0]) * steps / (steps - 1)).astype(np.int64)
    distance = g - np.rint(slope[..., None] * np.arange(steps) / steps)
    intercept = np.rint((distance.max(-1) + distance.min(-1)) / 2).astype(np.int64)
    return intercept, slope
