"""Golden twin of ``hw/link/link.py``: the bytes that a board answers to those of the line."""

from typing import Protocol
import zlib

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.link import Code, Status


__all__ = ["HostLink", "LinkCore"]


_WORD = 4
_WORDS = 256               # message words that the queue holds: hw.link.link.WORDS
_REGISTERS = 256


class LinkCore(Protocol):
    """Interface of a core to the link.

    ``memory``: (bytes,) uint8. ``messages`` and ``tokens``: words to and from the core, oldest
    first.
    """
    memory: NDArray[np.uint8]
    messages: list[int]
    tokens: list[int]

    def read(self, address: int) -> int:
        """Value of the register at ``address``."""

    def write(self, address: int, value: int) -> None:
        """Write ``value`` to the register at ``address``."""


class HostLink:
    """The board's side of the link.

    Parameters
    ----------
    config : assembler.contract.config.Config
    clock_hz : int
    name : str
        The board's name in its identity.
    core : LinkCore
    """
    def __init__(self, *, config: Config, clock_hz: int, name: str, core: LinkCore) -> None:
        self.config = config
        self.core = core
        self.identity = link.IDENTITY.pack(link.VERSION, link.WINDOW, config.memory_bits,
                                           clock_hz, name.encode())
        self._open = False
        self._expected = 0
        self._kept = b""
        self._line = b""

    def receive(self, data: bytes) -> bytes:
        """The bytes that answer ``data``, which the host has sent."""
        *frames, self._line = (self._line + data).split(link.DELIMITER)
        return b"".join(self._frame(frame) for frame in frames if frame)

    def _answer(self, number: int, status: Status, data: bytes = b"") -> bytes:
        return link.encode(link.ANSWER.pack(number, status, self._expected) + data) + link.TAIL

    def _frame(self, frame: bytes) -> bytes:
        payload = link.decode(frame)
        if payload is None or len(payload) < link.REQUEST.size:
            return self._answer(0, Status.DAMAGED)
        number, code, address, operand = link.REQUEST.unpack_from(payload)
        data = payload[link.REQUEST.size:]
        if code == Code.SYNC and not data:
            self._open, self._expected = True, number + 1 & 0xff
            nonce = address.to_bytes(_WORD, "little")
            self._kept = self._answer(number, Status.OK, nonce + self.identity)
        elif not self._open:
            return self._answer(number, Status.CLOSED)
        elif number == self._expected:
            self._expected = number + 1 & 0xff
            self._kept = self._answer(number, *self._carry_out(code, address, operand, data))
        elif number != self._expected - 1 & 0xff:
            return self._answer(number, Status.ORDER)
        return self._kept

    def _carry_out(self, code: int, address: int, operand: int,
                   data: bytes) -> tuple[Status, bytes]:
        """(status, data of the answer) of a request with the expected number."""
        config, core = self.config, self.core
        start, size = address * config.word_bytes, operand * config.word_bytes
        inside = operand and start + size <= config.memory_bytes
        stretch = slice(start, start + size)
        match code:
            case Code.READ_REGISTER if not data and address < _REGISTERS:
                return Status.OK, core.read(address).to_bytes(_WORD, "little")
            case Code.WRITE_REGISTER if not data and address < _REGISTERS:
                core.write(address, operand)
                return Status.OK, b""
            case Code.READ_MEMORY if not data and inside and size <= link.DATA_BYTES:
                return Status.OK, bytes(core.memory[stretch])
            case Code.CHECK_MEMORY if not data and inside:
                return Status.OK, link.CRC.pack(zlib.crc32(core.memory[stretch].data))
            case Code.WRITE_MEMORY if len(data) == size and inside:
                core.memory[stretch] = list(data)
                return Status.OK, b""
            case Code.MESSAGES if len(data) == operand * _WORD and operand:
                if len(core.messages) + operand > _WORDS:
                    return Status.BUSY, b""
                core.messages += [int.from_bytes(data[n:n + _WORD], "little")
                                  for n in range(0, len(data), _WORD)]
                return Status.OK, b""
            case Code.TOKENS if not data:
                words = core.tokens[:link.DATA_BYTES // _WORD]
                del core.tokens[:len(words)]
                return Status.OK, b"".join(word.to_bytes(_WORD, "little") for word in words)
        return Status.REFUSED, b""
