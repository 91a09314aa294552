"""Function tables of the machine, made here once: hardware and golden machine read these.

The sigmoid is 512 straight lines of width 1/16 over (-16, 16). Line ``k`` (9 bits) serves the
arguments with ``k = {sign, min(trunc(|x| * 16), 255)}``: the sign is the top bit, so lines 0 to
255 go outwards from zero on the positive side and lines 256 to 511 on the negative side. The
last line of a side also serves all larger magnitudes; it is flat, at 1 and at 0.

The machine computes ``sigmoid(x) = round(round(slope[k] * x) + intercept[k])`` and ``silu(x) =
round(x * sigmoid(x))``. Largest errors against the real functions, with all roundings, over all
x of a format of p significand bits (``tests/test_tables.py`` measures them):

* sigmoid: 2.4e-5 (the lines alone) + 1.1 * 2**-p, and results never leave [0, 1];
* silu: 6.2e-5 + |x| * 2**(1 - p).
"""

import numpy as np


__all__ = ["LINES", "LINES_PER_UNIT", "sigmoid", "sigmoid_index"]


LINES = 512                # 9-bit index: sign, then 8 bits of magnitude
LINES_PER_UNIT = 16        # lines per unit of x
_SIDE = LINES // 2


def sigmoid_index(x):
    """The line that serves each argument. ``x``: float64, any shape -> int64 in [0, 512)."""
    x = np.asarray(x, np.float64)
    magnitude = np.minimum(np.trunc(np.abs(x) * LINES_PER_UNIT), _SIDE - 1).astype(np.int64)
    return np.where(x < 0, magnitude + _SIDE, magnitude)


def _logistic(x):
    return 1 / (1 + np.exp(-x))


def sigmoid(fmt):
    """The lines for one float format.

    A slope is the chord's, rounded; the intercept then balances the largest errors above and
    below the curve for that rounded slope (minimax), and is rounded.

    Parameters
    ----------
    fmt : assembler.formats.Float

    Returns
    -------
    (slope, intercept) : (512,) float64 each, in line order, values of ``fmt``
    """
    near = np.arange(_SIDE) / LINES_PER_UNIT
    far = near + 1 / LINES_PER_UNIT
    low, high = np.concatenate([near, -far]), np.concatenate([far, -near])
    slope = fmt.round((_logistic(high) - _logistic(low)) * LINES_PER_UNIT)
    # The curve leaves the line most at an end, or where it is as steep as the line: there
    # s (1 - s) = slope with s = sigmoid(x), and x = +-2 artanh(sqrt(1 - 4 slope)).
    with np.errstate(divide="ignore"):
        steep = 2 * np.arctanh(np.sqrt(np.maximum(1 - 4 * slope, 0)))
    points = np.stack([low, high, np.clip(steep, low, high), np.clip(-steep, low, high)])
    distance = _logistic(points) - slope * points
    intercept = fmt.round((distance.max(0) + distance.min(0)) / 2)
    slope[[_SIDE - 1, LINES - 1]] = 0.0
    intercept[[_SIDE - 1, LINES - 1]] = 1.0, 0.0
    return slope, intercept
