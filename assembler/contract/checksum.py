"""Checksum of the weight stream: shows whether a core read the weights that the image holds.

Standard library only.
"""

from collections.abc import Iterable, Mapping
from typing import Any
import zlib

from tern_fpga.assembler.contract.registers import counted


__all__ = ["SUMS", "WeightCheck", "entry"]


SUMS = ("streams", "stream_words", "stream_sum")    # registers; read `streams` first

_MOST = 1 << 22             # streams between two readings; no prompt needs as many
_WORD = 1 << 32


def entry(name: str, words: int, data: bytes | memoryview) -> dict[str, Any]:
    """Entry of a manifest's ``weight_streams`` for a stream of ``words`` words.

    ``data``: its bytes.
    """
    return {"name": name, "words": words, "crc32": f"{zlib.crc32(data):08x}"}


class WeightCheck:
    """Compares readings of the checksum (see ``hw/memory/stream_sum.py``) with an image's streams.

    Parameters
    ----------
    entries : list of dict
        ``weight_streams`` of a manifest: the one or two kinds of streams that the program reads,
        any number of each, in any order. None: the program is not checked.

    Raises
    ------
    ValueError
        ``entries`` do not describe one or two streams.
    """
    def __init__(self, entries: Iterable[Mapping[str, Any]] | None = None) -> None:
        self._kinds: list[tuple[int, int]] | None = None        # (words, CRC-32) of each kind
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
    def active(self) -> bool:
        """Whether there is anything to check."""
        return self._kinds is not None

    def restart(self) -> None:
        """Begin again from counts of 0, after a reset of the core."""
        self._before = dict.fromkeys(SUMS, 0)

    def agrees(self, sums: Mapping[str, int]) -> bool:
        """Whether all streams since the last reading that agreed were those of the image.

        ``sums``: the registers by name, read at one time. Wrong bits of one stream that lie within
        32 bits are always detected. Other errors are missed with a probability of 2**-32 for each
        combination of the two kinds that has this number of streams and words.
        """
        if self.active and not self._explained(**counted(self._before, sums)):
            return False
        self._before = dict(sums)
        return True

    def _explained(self, streams: int, stream_words: int, stream_sum: int) -> bool:
        assert self._kinds is not None
        (words, crc), (other_words, other_crc) = self._kinds[0], self._kinds[-1]
        return streams <= _MOST and any(
            ((streams - n) * words + n * other_words - stream_words) % _WORD == 0
            and ((streams - n) * crc + n * other_crc - stream_sum) % _WORD == 0
            for n in range(streams + 1))
