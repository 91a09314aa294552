"""Golden model of the weight stream: the weight DMA fetches it and the unpacker decodes it."""

from collections import deque
from collections.abc import Callable
import zlib

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.files import packing


__all__ = ["WeightStream"]


_CACHE_BYTES = 1 << 30     # size of the cache of unpacked weights; those of a 370M model fit


class WeightStream:
    """Memory words in the order of the ``stream`` instructions, taken as tiles.

    Parameters
    ----------
    config : assembler.contract.config.Config
    read : callable
        ``read(address, words)`` returns the bytes of memory words, uint8.

    Members
    -------
    queue : deque of (address, words)
        Descriptors, or rests of them, that no matmul has taken yet.
    words, beats : int
        Memory words and beats taken so far.
    sums : dict
        ``streams``, ``stream_words``, ``stream_sum``: number of descriptors taken completely, the
        words in them, and the sum of their CRC-32, each modulo 2**32.
    """
    def __init__(self, config: Config, read: Callable[[int, int], NDArray[np.uint8]]) -> None:
        self.config = config
        self.queue: deque[tuple[int, int]] = deque()
        self.words = self.beats = 0
        self.sums = dict.fromkeys(("streams", "stream_words", "stream_sum"), 0)
        # (address, words) of a descriptor that is taken in part.
        self._begun: tuple[int, int] | None = None
        self._crcs: dict[tuple[int, int], int] = {}     # by (address, words)
        self._read = read
        # Unpacked weights by (address, rows, blocks).
        self._kept: dict[tuple[int, int, int], NDArray[np.int8]] = {}
        self._kept_bytes = 0

    def append(self, address: int, words: int) -> None:
        """Add a descriptor of ``words`` memory words at ``address`` to the queue."""
        if words:
            self.queue.append((address, words))

    def _pieces(self, words: int) -> list[tuple[int, int]]:
        """Take ``words`` memory words from the queue: [(address, words)]."""
        pieces = []
        while words:
            if not self.queue:
                raise ValueError(f"the weight stream lacks {words} words")
            address, size = self.queue.popleft()
            self._begun = self._begun or (address, size)
            if size > words:
                self.queue.appendleft((address + words, size - words))
                size = words
            else:
                self._sum(*self._begun)
                self._begun = None
            pieces.append((address, size))
            words -= size
        return pieces

    def _sum(self, address: int, words: int) -> None:
        self.sums = self._with(self.sums, address, words)

    def _with(self, sums: dict[str, int], address: int, words: int) -> dict[str, int]:
        """``sums`` with one more descriptor."""
        if (address, words) not in self._crcs:
            self._crcs[address, words] = zlib.crc32(self._read(address, words).data)
        more = (1, words, self._crcs[address, words])
        return {name: (sums[name] + one) % (1 << 32) for name, one in zip(sums, more)}

    def sums_ahead(self) -> list[dict[str, int]]:
        """``sums`` of a core that has fetched 0, 1, ... descriptors of the queue."""
        queue = [*self.queue]
        if self._begun:
            queue[0] = self._begun
        sums = [self.sums]
        for descriptor in queue:
            sums.append(self._with(sums[-1], *descriptor))
        return sums

    def take(self, rows: int, blocks: int) -> NDArray[np.int8]:
        """The next ``rows * blocks`` beats as (rows, blocks * lanes) int8, row-major.

        Raises ValueError if the stream holds fewer.
        """
        words = rows * blocks * self.config.beat_words
        pieces = self._pieces(words)
        self.words += words
        self.beats += rows * blocks
        key = (pieces[0][0], rows, blocks) if len(pieces) == 1 else None
        if key is not None and key in self._kept:
            return self._kept[key]
        data = np.concatenate([np.zeros(0, np.uint8), *(self._read(*piece) for piece in pieces)])
        matrix = packing.untile(data, rows, blocks * self.config.lanes, self.config)
        if key is not None and self._kept_bytes + matrix.size <= _CACHE_BYTES:
            self._kept[key] = matrix
            self._kept_bytes += matrix.size
        return matrix

    def written(self, address: int, words: int) -> None:
        """Forget what was unpacked from these memory words, which have changed."""
        stale = [(start, rows, blocks) for start, rows, blocks in self._kept
                 if start < address + words
                 and address < start + rows * blocks * self.config.beat_words]
        for key in stale:
            self._kept_bytes -= self._kept.pop(key).size
        for start, size in [*self._crcs]:
            if start < address + words and address < start + size:
                del self._crcs[start, size]
