"""Golden model of the sampler: greedy choice over rows that arrive tile by tile."""

import numpy as np


__all__ = ["Sampler"]


class Sampler:
    """Per position, the largest sum so far and its row number, the lowest first on ties.

    Comparing the exact sums rather than the rounded logits leaves no ties to rounding; a row's
    scale is common to all rows of a position and positive.

    Parameters
    ----------
    positions : int

    Members
    -------
    best, ids : (positions,) int64
        Largest sum and its row since ``clear``.
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

    def take(self, sums, positions):
        """Sums of the next rows. ``sums``: (k, rows) int64; ``positions``: (k,) int."""
        row = sums.argmax(1)
        value = np.take_along_axis(sums, row[:, None], 1)[:, 0]
        better = (value > self.best[positions]) | (self.rows == 0)
        chosen = np.asarray(positions)[better]
        self.best[chosen] = value[better]
        self.ids[chosen] = row[better] + self.rows
        self.rows += sums.shape[1]
