"""Golden model of the weight stream: what the weight DMA fetches and the unpacker decodes."""

from collections import deque
import zlib

import numpy as np

from tern_fpga.assembler.files import packing


__all__ = ["WeightStream"]


_CACHE_BYTES = 1 << 30     # unpacked weights that are kept: a 370M model's fit


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
        What no matmul has taken yet.
    words, beats : int
        Taken so far.
    sums : dict
        ``streams``, ``stream_words``, ``stream_sum``: descriptors that were taken whole, the words
        in them and the sum of their CRC-32, modulo 2**32.
    """
    def __init__(self, config, read):
        self.config = config
        self.queue = deque()
        self.words = self.beats = 0
        self.sums = dict.fromkeys(("streams", "stream_words", "stream_sum"), 0)
        self._begun = None          # (address, words) of the descriptor that is being taken
        self._crcs = {}             # (address, words): CRC-32 of these words
        self._read = read
        self._kept = {}             # (address, rows, blocks): unpacked
        self._kept_bytes = 0

    def append(self, address, words):
        if words:
            self.queue.append((address, words))

    def _pieces(self, words):
        """Take ``words`` from the queue: [(address, words)]."""
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

    def _sum(self, address, words):
        self.sums = self._with(self.sums, address, words)

    def _with(self, sums, address, words):
        """``sums`` and one more descriptor."""
        if (address, words) not in self._crcs:
            self._crcs[address, words] = zlib.crc32(self._read(address, words))
        more = (1, words, self._crcs[address, words])
        return {name: (sums[name] + one) % (1 << 32) for name, one in zip(sums, more)}

    def sums_ahead(self):
        """``sums`` of a core that has fetched none, one, ... of the descriptors in the queue."""
        queue = [*self.queue]
        if self._begun:
            queue[0] = self._begun
        sums = [self.sums]
        for descriptor in queue:
            sums.append(self._with(sums[-1], *descriptor))
        return sums

    def take(self, rows, blocks):
        """The next ``rows * blocks`` beats as (rows, blocks * lanes) int8, row-major.

        Raises ValueError if the stream is shorter.
        """
        words = rows * blocks * self.config.beat_words
        pieces = self._pieces(words)
        self.words += words
        self.beats += rows * blocks
        key = (pieces[0][0], rows, blocks) if len(pieces) == 1 else None
        if key in self._kept:
            return self._kept[key]
        data = np.concatenate([np.zeros(0, np.uint8), *(self._read(*piece) for piece in pieces)])
        matrix = packing.untile(data, rows, blocks * self.config.lanes, self.config)
        if key and self._kept_bytes + matrix.size <= _CACHE_BYTES:
            self._kept[key] = matrix
            self._kept_bytes += matrix.size
        return matrix

    def written(self, address, words):
        """Memory has changed there: forget what was unpacked from it."""
        stale = [(start, rows, blocks) for start, rows, blocks in self._kept
                 if start < address + words
                 and address < start + rows * blocks * self.config.beat_words]
        for key in stale:
            self._kept_bytes -= self._kept.pop(key).size
        for start, size in [*self._crcs]:
            if start < address + words and address < start + size:
                del self._crcs[start, size]
