"""Golden model of the sampler: it chooses tokens among rows that arrive tile by tile."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    """Sampling settings and state of a slot.

    ``inverse``: 1 / temperature in 4096ths; 0 chooses the largest logit. ``seed`` and ``count``,
    the tokens sampled since the seed was set, determine the random bits. ``top_k``: 0 for all.
    ``penalty`` in 1024ths and ``reward``, 1 / penalty, in 4096ths: both are 0 without a penalty.
    ``seen``: (SEEN_TOKENS,) bool, the tokens that the penalty applies to.
    """
    inverse: int = 0
    seed: int = 0
    count: int = 0
    top_k: int = 0
    penalty: int = 0
    reward: int = 0
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(SEEN_TOKENS, bool))

    @property
    def greedy(self) -> bool:
        return not (self.inverse or self.penalty or self.reward)

    def see(self, token: int) -> None:
        """Mark ``token`` as part of the slot's stream."""
        if token < len(self.seen):
            self.seen[token] = True


_MOST = (1 << _FACTOR_BITS) - 1


def factor_of(scale: float, inverse: int) -> int:
    """``|scale| / temperature`` in units of 2**-20, rounded half up, saturated to 17 bits.

    Only the top 16 bits of the scale's significand are used.
    """
    if not inverse:
        return _GREEDY_FACTOR
    fraction, exponent = np.frexp(abs(scale))
    product = int(fraction * (1 << 16)) * inverse   # in units of 2**(exponent - 16 - 12)
    places = 16 + INVERSE_FRACTION - _FACTOR_FRACTION - int(exponent)
    if places < 0:
        return _MOST if product else 0
    return min((product << 1 >> places) + 1 >> 1, _MOST)


def keys_of(sums: NDArray[np.int64], scale: float, setting: Setting,
            start: int = 0) -> NDArray[np.int64]:
    """Keys of rows: penalised logits / temperature, in units of ``2**-GUMBEL_FRACTION``.

    The sampler adds a Gumbel variate to each. ``sums``: (rows,) int64, of the rows from ``start``
    on; ``scale`` times a sum is a logit. Returns (rows,) int64.
    """
    factor = factor_of(scale, setting.inverse)
    if setting.penalty or setting.reward:
        below = min(factor * setting.penalty >> PENALTY_FRACTION, _MOST)
        above = factor * setting.reward >> REWARD_FRACTION
        seen = np.zeros(len(sums), bool)
        known = setting.seen[start:start + len(sums)]
        seen[:len(known)] = known
        return sums * np.where(seen, np.where(sums < 0, below, above), factor) >> _CUT
    return sums * factor >> _CUT


class Sampler:
    """Keeps the row with the largest score for each position; on ties, the lowest row.

    If all positions are greedy, the score is the exact sum. The scale of a position is positive
    and common to all its rows, so that sums and logits have the same order, and sums have no ties
    from rounding. Otherwise the score is that of :class:`hw.sample.draw.Draw`.

    Parameters
    ----------
    positions : int

    Members
    -------
    best, ids : (positions,) int64
        Largest score since ``clear``, and its row.
    rows : int
        Rows taken since ``clear``. Consecutive matmuls continue the count.
    """
    def __init__(self, positions: int) -> None:
        self.positions = positions
        self.clear()

    def clear(self) -> None:
        self.best = np.zeros(self.positions, np.int64)
        self.ids = np.zeros(self.positions, np.int64)
        self.rows = 0
        # By position: keys, variates and rows of the candidates, (3, k), with rows ascending.
        self._candidates: dict[int, NDArray[np.int64]] = {}

    def take(self, sums: NDArray[np.int64], positions: Sequence[int],
             scales: NDArray[np.float64] | None = None,
             settings: list[Setting] | None = None) -> None:
        """Take the sums of the next rows.

        ``sums``: (k, rows) int64, of the k ``positions``. ``scales``, (k,) float64, and
        ``settings``, a list of k, are needed unless all positions are greedy.
        """
        if settings is None or scales is None or all(setting.greedy for setting in settings):
            self._best_of(sums, positions)
        else:
            for position, row, scale, setting in zip(positions, sums, scales, settings):
                self._draw(position, row, scale, setting)
        self.rows += sums.shape[1]

    def _best_of(self, scores: NDArray[np.int64], positions: Sequence[int]) -> None:
        row = scores.argmax(1)
        value = np.take_along_axis(scores, row[:, None], 1)[:, 0]
        better = (value > self.best[positions]) | (self.rows == 0)
        chosen = np.asarray(positions)[better]
        self.best[chosen] = value[better]
        self.ids[chosen] = row[better] + self.rows

    def _draw(self, position: int, sums: NDArray[np.int64], scale: float, setting: Setting) -> None:
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
