"""Golden model of the sampler: the choice of tokens over rows that arrive tile by tile."""

from dataclasses import dataclass, field

import numpy as np

from tern_fpga.assembler.contract import tables
from tern_fpga.assembler.contract.sampling import (
    INVERSE_FRACTION,
    PENALTY_FRACTION,
    REWARD_FRACTION,
    SEEN_TOKENS,
)
from tern_fpga.sim.golden.gumbel import gumbel, random_bits


__all__ = ["Setting", "Sampler", "factor_of", "keys_of"]


_FACTOR_BITS, _FACTOR_FRACTION = 17, 20
_GREEDY_FACTOR = 1 << 15
_CUT = _FACTOR_FRACTION - tables.GUMBEL_FRACTION


@dataclass
class Setting:
    """How a slot's tokens are chosen.

    ``inverse``: 1 / temperature in 4096ths, 0 for the largest logit. ``seed`` and ``count``, the
    tokens sampled since it was set, say what chance is. ``top_k``: 0 for all. ``penalty`` in
    1024ths and ``reward``, 1 / penalty in 4096ths: both 0 for none. ``seen``: (SEEN_TOKENS,) bool.
    """
    inverse: int = 0
    seed: int = 0
    count: int = 0
    top_k: int = 0
    penalty: int = 0
    reward: int = 0
    seen: np.ndarray = field(default_factory=lambda: np.zeros(SEEN_TOKENS, bool))

    @property
    def greedy(self):
        return not (self.inverse or self.penalty or self.reward)

    def see(self, token):
        """A token joined the slot's stream."""
        if token < len(self.seen):
            self.seen[token] = True


_MOST = (1 << _FACTOR_BITS) - 1


def factor_of(scale, inverse):
    """``scale / temperature`` in units of 2**-20, rounded half up, at most 17 bits.

    Of the scale's significand, the top 16 bits count, and its sign does not.
    """
    if not inverse:
        return _GREEDY_FACTOR
    fraction, exponent = np.frexp(abs(scale))
    product = int(fraction * (1 << 16)) * inverse   # of units 2**(exponent - 16 - 12)
    places = 16 + INVERSE_FRACTION - _FACTOR_FRACTION - int(exponent)
    if places < 0:
        return _MOST if product else 0
    return min((product << 1 >> places) + 1 >> 1, _MOST)


def keys_of(sums, scale, setting, start=0):
    """Penalised sums / temperature, in units of ``2**-GUMBEL_FRACTION`` of a logit: what a variate
    is added to. ``sums``: (rows,) int64, of the rows from ``start`` on."""
    factor = factors = factor_of(scale, setting.inverse)
    if setting.penalty or setting.reward:
        below = min(factor * setting.penalty >> PENALTY_FRACTION, _MOST)
        above = factor * setting.reward >> REWARD_FRACTION
        seen = np.zeros(len(sums), bool)
        known = setting.seen[start:start + len(sums)]
        seen[:len(known)] = known
        factors = np.where(seen, np.where(sums < 0, below, above), factor)
    return sums * factors >> _CUT


class Sampler:
    """Per position, the row with the largest score so far, the lowest first on ties.

    Where all positions are greedy the score is the sum: comparing the exact sums rather than the
    rounded logits leaves no ties to rounding; a row's scale is common to all rows of a position
    and positive. Otherwise it is as :class:`hw.sample.draw.Draw` says.

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
        self._candidates = {}           # position: (3, k) keys, variates and rows, rows ascending

    def take(self, sums, positions, scales=None, settings=None):
        """Sums of the next rows.

        ``sums``: (k, rows) int64; ``positions``: (k,) int. ``scales`` (k,) float64 and
        ``settings``, a list of k, if not all positions are greedy.
        """
        if settings is None or all(setting.greedy for setting in settings):
            self._best_of(sums, positions)
        else:
            for position, row, scale, setting in zip(positions, sums, scales, settings):
                self._draw(position, row, scale, setting)
        self.rows += sums.shape[1]

    def _best_of(self, scores, positions):
        row = scores.argmax(1)
        value = np.take_along_axis(scores, row[:, None], 1)[:, 0]
        better = (value > self.best[positions]) | (self.rows == 0)
        chosen = np.asarray(positions)[better]
        self.best[chosen] = value[better]
        self.ids[chosen] = row[better] + self.rows

    def _draw(self, position, sums, scale, setting):
        rows = np.arange(self.rows, self.rows + len(sums))
        keys = keys_of(sums, scale, setting, self.rows)
        if not setting.inverse:
            self._best_of(keys[None], [position])
            return
        variates = gumbel(random_bits(setting.seed, setting.count, rows))
        if not setting.top_k:
            self._best_of((keys + variates)[None], [position])
            return
        new = np.stack([keys, variates, rows])
        all_ = np.concatenate([self._candidates.get(position, new[:, :0]), new], 1)
        kept = np.sort(np.argsort(-all_[0], kind="stable")[:setting.top_k])
        keys, variates, rows = self._candidates[position] = all_[:, kept]
        self.ids[position] = rows[(keys + variates).argmax()]
