"""Golden model of the sampler: the choice of tokens over rows that arrive tile by tile."""

from dataclasses import dataclass

import numpy as np

from assembler import tables
from assembler.sampling import INVERSE_FRACTION
from sim.golden.gumbel import gumbel, random_bits


__all__ = ["Setting", "Sampler", "factor_of"]


_FACTOR_BITS, _FACTOR_FRACTION = 17, 20
_GREEDY_FACTOR = 1 << 15
_CUT = _FACTOR_FRACTION - tables.GUMBEL_FRACTION


@dataclass
class Setting:
    """How a slot's tokens are chosen.

    ``inverse``: 1 / temperature in 4096ths, 0 for the largest logit. ``seed`` and ``count``, the
    tokens sampled since it was set, say what chance is.
    """
    inverse: int = 0
    seed: int = 0
    count: int = 0


def factor_of(scale, inverse):
    """``scale / temperature`` in units of 2**-20, rounded half up, at most 17 bits.

    Of the scale's significand, the top 16 bits count, and its sign does not.
    """
    if not inverse:
        return _GREEDY_FACTOR
    fraction, exponent = np.frexp(abs(scale))
    product = int(fraction * (1 << 16)) * inverse   # of units 2**(exponent - 16 - 12)
    places = 16 + INVERSE_FRACTION - _FACTOR_FRACTION - int(exponent)
    most = (1 << _FACTOR_BITS) - 1
    if places < 0:
        return most if product else 0
    return min((product << 1 >> places) + 1 >> 1, most)


class Sampler:
    """Per position, the row with the largest score so far, the lowest first on ties.

    Where all positions are greedy the score is the sum: comparing the exact sums rather than the
    rounded logits leaves no ties to rounding; a row's scale is common to all rows of a position
    and positive. Otherwise it is as :class:`hw.draw.Draw` says.

    Parameters
    ----------
    positions : int

    Members
    -------
    best, ids : (positions,) int64
        Largest score and its row since ``clear``.
    rows : int
        Rows since ``clear``; rows count on over consecutive matmuls.
    """
    def __init__(self, positions):
        self.positions = positions
        self.clear()

    def clear(self):
        self.best = np.zeros(self.positions, np.int64)
        self.ids = np.zeros(self.positions, np.int64)
        self.rows = 0

    def take(self, sums, positions, scales=None, settings=None):
        """Sums of the next rows.

        ``sums``: (k, rows) int64; ``positions``: (k,) int. ``scales`` (k,) float64 and
        ``settings``, a list of k, if not all positions are greedy.
        """
        scores = sums
        if settings and any(setting.inverse for setting in settings):
            scores = self._scores(sums, scales, settings)
        row = scores.argmax(1)
        value = np.take_along_axis(scores, row[:, None], 1)[:, 0]
        better = (value > self.best[positions]) | (self.rows == 0)
        chosen = np.asarray(positions)[better]
        self.best[chosen] = value[better]
        self.ids[chosen] = row[better] + self.rows
        self.rows += sums.shape[1]

    def _scores(self, sums, scales, settings):
        factors = [factor_of(scale, s.inverse) for scale, s in zip(scales, settings)]
        scores = sums * np.array(factors)[:, None] >> _CUT
        rows = np.arange(self.rows, self.rows + sums.shape[1])
        for score, setting in zip(scores, settings):
            if setting.inverse:
                score += gumbel(random_bits(setting.seed, setting.count, rows))
        return scores
