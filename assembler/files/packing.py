"""Trits and floats as bytes in memory.

See "Matmul and the weight stream" and "Memory" in ``docs/architecture.md``.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.config import Config


__all__ = ["pack", "unpack", "is_code", "blocks", "matrix_words", "tile", "untile", "pack_vector",
           "unpack_vector"]


_DIGITS = 3 ** np.arange(formats.TRITS_PER_BYTE)[::-1]      # the first trit is most significant
_CODES = 3 ** formats.TRITS_PER_BYTE
_TO_BYTE = ((256 * np.arange(_CODES) + _CODES - 1) // _CODES).astype(np.uint8)
_IS_CODE = np.isin(np.arange(256), _TO_BYTE)
_TO_TRITS = np.zeros((256, formats.TRITS_PER_BYTE), np.int8)
for _n in range(formats.TRITS_PER_BYTE):
    # By the decoding rule, not as the inverse of _TO_BYTE: the hardware decodes all 256 bytes.
    _TO_TRITS[:, _n] = (3 * (np.arange(256) * 3 ** _n & 0xff) >> 8) - 1

_CHUNK = 1 << 18           # elements processed at a time: keeps the temporaries in the cache


def pack(trits: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Trits to bytes, five in each.

    Parameters
    ----------
    trits : (n,) int8
        -1, 0 or 1; n is a multiple of 5.

    Returns
    -------
    (n / 5,) uint8

    Raises
    ------
    ValueError
        n is no multiple of 5.
    """
    trits = np.asarray(trits, np.int8)
    if trits.size % formats.TRITS_PER_BYTE:
        raise ValueError(f"the number of trits must be a multiple of {formats.TRITS_PER_BYTE}, "
                         f"not {trits.size}")
    digits = (trits.reshape(-1, formats.TRITS_PER_BYTE) + np.int8(1)).view(np.uint8)
    number = np.zeros(len(digits), np.uint8)
    for n, weight in enumerate(_DIGITS):
        number += digits[:, n] * np.uint8(weight)
    return _TO_BYTE[number]


def unpack(data: npt.ArrayLike) -> npt.NDArray[np.int8]:
    """Bytes to trits: (n,) uint8 -> (5 n,) int8."""
    return _TO_TRITS[np.asarray(data, np.uint8)].reshape(-1)


def is_code(data: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether each byte is one that :func:`pack` writes: uint8 -> bool, same shape."""
    return _IS_CODE[np.asarray(data, np.uint8)]


def blocks(columns: int, config: Config) -> int:
    """Column blocks, of ``lanes`` columns each, of a matrix with ``columns`` columns."""
    return -(-columns // config.lanes)


def matrix_words(rows: int, columns: int, config: Config) -> int:
    """Memory words of a packed matrix."""
    return rows * blocks(columns, config) * config.beat_words


def _tiles(rows: int, config: Config) -> Iterator[slice]:
    for start in range(0, rows, config.accumulator_rows):
        yield slice(start, min(start + config.accumulator_rows, rows))


def tile(matrix: npt.NDArray[np.int8], config: Config) -> npt.NDArray[np.uint8]:
    """A ternary matrix as the bytes of the weight stream.

    Parameters
    ----------
    matrix : (rows, columns) int8, row-major
        -1, 0 or 1.

    Returns
    -------
    (matrix_words * word_bytes,) uint8
        For each tile of ``accumulator_rows`` rows, for each block of ``lanes`` columns, for
        each row of the tile: one beat of ``lanes`` trits.
    """
    rows, columns = matrix.shape
    width = blocks(columns, config)
    beat_bytes = config.lanes // formats.TRITS_PER_BYTE
    out = np.empty(rows * width * beat_bytes, np.uint8)
    for part in _tiles(rows, config):
        height = part.stop - part.start
        padded = np.zeros((height, width * config.lanes), np.int8)
        padded[:, :columns] = matrix[part]
        beats = pack(padded.reshape(-1)).reshape(height, width, beat_bytes)
        place = slice(part.start * width * beat_bytes, part.stop * width * beat_bytes)
        out[place].reshape(width, height, beat_bytes)[...] = beats.swapaxes(0, 1)
    return out


def untile(data: npt.ArrayLike, rows: int, columns: int, config: Config) -> npt.NDArray[np.int8]:
    """The matrix that :func:`tile` packed: bytes -> (rows, columns) int8, row-major."""
    width = blocks(columns, config)
    beat_bytes = config.lanes // formats.TRITS_PER_BYTE
    data = np.asarray(data, np.uint8)
    if data.size != rows * width * beat_bytes:
        raise ValueError(f"a packed {rows} x {columns} matrix has {rows * width * beat_bytes} "
                         f"bytes, not {data.size}")
    out = np.empty((rows, columns), np.int8)
    for part in _tiles(rows, config):
        height = part.stop - part.start
        place = slice(part.start * width * beat_bytes, part.stop * width * beat_bytes)
        beats = data[place].reshape(width, height, beat_bytes).swapaxes(0, 1)
        out[part] = unpack(beats).reshape(height, width * config.lanes)[:, :columns]
    return out


def _pack_words(words: npt.NDArray[np.uint32], width: int) -> npt.NDArray[np.uint8]:
    """Words of ``width`` bits without gaps: (8 n,) uint -> (n * width,) uint8."""
    groups = words.reshape(-1, 8).astype(np.uint64)        # eight words fill `width` bytes
    out = np.zeros((len(groups), width), np.uint8)
    for k in range(8):
        first, shift = divmod(k * width, 8)
        bits = groups[:, k] << np.uint64(shift)
        for j in range(-(-(shift + width) // 8)):
            out[:, first + j] |= (bits >> np.uint64(8 * j)).astype(np.uint8)
    return out.reshape(-1)


def _unpack_words(data: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.int64]:
    """(n * width,) uint8 -> (8 n,) int64."""
    groups = data.reshape(-1, width).astype(np.int64)
    first, shift = np.divmod(np.arange(8) * width, 8)
    out = np.zeros((len(groups), 8), np.int64)
    for j in range(-(-(7 + width) // 8)):       # the mask below removes bytes after the word
        out |= groups[:, np.minimum(first + j, width - 1)] << 8 * j
    return (out >> shift & (1 << width) - 1).reshape(-1)


def pack_vector(x: npt.ArrayLike, config: Config) -> npt.NDArray[np.uint8]:
    """Vectors as they are stored in memory.

    Parameters
    ----------
    x : (..., n) floating
        Values, which this function rounds to the machine's float.

    Returns
    -------
    (..., vector_words(n) * word_bytes) uint8
        Each vector starts at a memory word. The unused bits of the last row and of the last word
        are 0.
    """
    x = np.asarray(x)
    n = x.shape[-1]
    vectors = x.reshape(-1, n)
    size = config.vector_words(n) * config.word_bytes
    width = config.float.width
    padded = -(-size // width) * 8      # elements, whole groups of eight, at least `size` bytes
    out = np.empty((len(vectors), size), np.uint8)
    step = max(1, _CHUNK // padded)
    for start in range(0, len(vectors), step):
        part = vectors[start:start + step].astype(np.float64)
        words = np.zeros((len(part), padded), np.uint32)
        words[:, :n] = config.float.encode(config.float.round(part))
        packed = _pack_words(words.reshape(-1), width)
        out[start:start + step] = packed.reshape(len(part), -1)[:, :size]
    return out.reshape(*x.shape[:-1], size)


def unpack_vector(data: npt.ArrayLike, elements: int, config: Config) -> npt.NDArray[np.float64]:
    """Inverse of :func:`pack_vector`: (..., bytes) uint8 -> (..., elements) float64."""
    data = np.asarray(data, np.uint8)
    width = config.float.width
    size = -(-elements // 8) * width
    vectors = data.reshape(-1, data.shape[-1])[:, :size]
    padded = np.zeros((len(vectors), size), np.uint8)
    padded[:, :vectors.shape[1]] = vectors
    words = _unpack_words(padded.reshape(-1), width).reshape(len(vectors), -1)[:, :elements]
    return config.float.decode(words).reshape(*data.shape[:-1], elements)
