"""Golden model of the ternary array: exact integer sums."""

import numpy as np
from numpy.typing import NDArray


__all__ = ["matmul"]


def matmul(weights: NDArray[np.int8], codes: NDArray[np.int8]) -> NDArray[np.int64]:
    """Products of a ternary matrix and the code vectors of all positions.

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
    # |sum| <= 65535 * 128 < 2**24, so that float32 sums are exact in any order and BLAS can be
    # used. The converted weights of a slice of rows fit the processor's cache.
    left = np.asarray(codes, np.float32)
    rows = max(1, (1 << 18) // max(1, weights.shape[1]))
    for start in range(0, len(weights), rows):
        part = weights[start:start + rows].astype(np.float32)
        out[:, start:start + rows] = left @ part.T
    return out
