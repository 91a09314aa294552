"""Golden model of the ternary array: exact integer sums."""

import numpy as np


__all__ = ["matmul"]


def matmul(weights, codes):
    """Sums of a ternary matrix times the code vectors of all positions.

    Parameters
    ----------
    weights : (rows, columns) int8, row-major
        -1, 0 or 1.
    codes : (positions, columns) int8

    Returns
    -------
    (positions, rows) int64
    """
    out = np.empty((len(codes), len(weights)), np.int64)
    # |sum| <= 65535 * 128 < 2**24: float32 is exact in any order, and BLAS is fast. Slices of
    # rows keep the converted weights in the cache.
    left = np.asarray(codes, np.float32)
    rows = max(1, (1 << 18) // max(1, weights.shape[1]))
    for start in range(0, len(weights), rows):
        part = weights[start:start + rows].astype(np.float32)
        out[:, start:start + rows] = left @ part.T
    return out
