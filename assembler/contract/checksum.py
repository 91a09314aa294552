"""Checksum of the weight stream: whether what a core read is what the image put there.

Standard library only.
"""

import zlib

from tern_fpga.assembler.contract.registers import counted


__all__ = ["SUMS", "WeightCheck", "entry"]


SUMS = ("streams", "stream_words", "stream_sum")    # registers; the first is to be read first

_MOST = 1 << 22             # streams between two readings: no prompt takes as many
_WORD = 1 << 32


def entry(name, words, data):
    """Entry of a manifest's ``weight_streams``: a stream of ``words`` words that are ``data``."""
    return {"name": name, "words": words, "crc32": f"{zlib.crc32(data):08x}"}


class WeightCheck:
    """Compares readings of the checksum (see ``hw/memory/stream_sum.py``) with an image's streams.

    Parameters
    ----------
    entries : list of dict
        ``weight_streams`` of a manifest: the one or two kinds of streams that the program asks for,
        any number of each, in any order. None: a program that is not checked.

    Raises
    ------
    ValueError
        That is not what it is.
    """
    def __init__(self, entries=None):
        self._kinds = None
        if entries is not None:
            try:
                self._kinds = [(entry["words"], int(entry["crc32"], 16)) for entry in entries]
            except (TypeError, KeyError) as error:
                raise ValueError(f"weight_streams: {error!r}") from None
            if not 1 <= len(self._kinds) <= 2 or not all(
                    type(words) is int and words > 0 <= crc < _WORD for words, crc in self._kinds):
                raise ValueError("weight_streams do not describe one or two streams")
        self.restart()

    @property
    def active(self):
        return self._kinds is not None

    def restart(self):
        """The core was reset."""
        self._before = dict.fromkeys(SUMS, 0)

    def agrees(self, sums):
        """Whether the streams since the last reading that agreed were the image's.

        ``sums``: the registers by name, read at one time. Wrong bits within 32 of each other in one
        stream are always seen, others but for a chance of one in 2**32 for each way in which that
        many streams of these lengths can be made up.
        """
        if self.active and not self._explained(**counted(self._before, sums)):
            return False
        self._before = dict(sums)
        return True

    def _explained(self, streams, stream_words, stream_sum):
        (words, crc), (other_words, other_crc) = self._kinds[0], self._kinds[-1]
        return streams <= _MOST and any(
            ((streams - n) * words + n * other_words - stream_words) % _WORD == 0
            and ((streams - n) * crc + n * other_crc - stream_sum) % _WORD == 0
            for n in range(streams + 1))
