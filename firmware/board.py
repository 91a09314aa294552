"""The host's access to a board with a core: memory, registers, programs, conversations."""

from collections.abc import Callable, Iterable, Iterator, Sequence
import zlib

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.contract import link, registers
from tern_fpga.assembler.contract.checksum import SUMS, WeightCheck
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.link import Code, Status
from tern_fpga.assembler.contract.registers import Control, MessageKind, message, register
from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware.link import Link, LinkError, Port, Request
from tern_fpga.firmware.streams import StreamError, Streams


__all__ = ["Board", "CHECK_BYTES"]


CHECK_BYTES = 1 << 16      # checked by one request: the longest that the link waits for

_PATIENCE   = 60           # seconds without progress, plus one for each token of the prompts

_Piece      = tuple[int, int, int]              # memory word, offset in bytes, bytes
_Bytes      = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

_WORD       = 4
_TOKEN_MASK = (1 << registers.PAYLOAD_BITS) - 1


def _parsed(word: int) -> tuple[int, bool, int]:
    """(slot, last, token) of a word to the host."""
    return (word >> registers.TOKEN_SLOT_SHIFT, bool(word & registers.TOKEN_LAST),
            word & _TOKEN_MASK)


class Board:
    """Access to a board.

    Parameters
    ----------
    port : firmware.link.Port
        Such as :class:`firmware.port.SerialPort`.

    Members
    -------
    link : Link
    name : str
    clock_hz : int
    word_bytes : int
        Of a memory word.
    digest : str
        Of the core's config: see :class:`assembler.contract.config.Config`.

    Raises
    ------
    LinkError
        The link is broken; in every method.
    """
    def __init__(self, port: Port) -> None:
        self.port = port
        self.link = Link(port)
        _, _, bits, self.clock_hz, self.name = self.link.identity
        self.word_bytes = bits // 8
        if self.read("id") != registers.ID or self.read("version") != registers.VERSION:
            raise LinkError(f"{port.name}: there is no core of version {registers.VERSION}; "
                            f"build the board's bitstream again")
        self.digest = f"{self.read('digest_high'):08x}{self.read('digest_low'):08x}"
        self._weights = WeightCheck()

    def check(self, config: Config) -> None:
        """Raise TernError unless the board's core is of ``config``."""
        if self.digest != config.digest:
            raise TernError(f"{self.port.name}: the board {self.name} has a core of config "
                            f"{self.digest}, the image is for {config.digest}; compile the model "
                            f"for this board (--target, and --set only as its bitstream was built "
                            f"with), or build its bitstream again")

    def _ask(self, code: Code, address: int = 0, operand: int = 0, *, size: int | None) -> bytes:
        """The data of the answer to a request that a board cannot refuse."""
        return self._accepted(*self.link.ask(code, address, operand), size)

    def _accepted(self, status: Status, answer: bytes, size: int | None = 0) -> bytes:
        """The data of an answer, of ``size`` bytes. None: any number of 4-byte words."""
        if status != Status.OK:
            raise LinkError(f"{self.port.name}: the board refused a request (status {status}); "
                            f"is its bitstream of this version?")
        if len(answer) % _WORD if size is None else len(answer) != size:
            raise LinkError(f"{self.port.name}: the board answered {len(answer)} bytes where "
                            f"{'words' if size is None else size} belong; is its bitstream of "
                            f"this version?")
        return answer

    # Registers

    def read(self, name: str) -> int:
        """The value of the register ``name``."""
        answer = self._ask(Code.READ_REGISTER, register(name).address, size=_WORD)
        return int.from_bytes(answer, "little")

    def write(self, name: str, value: int) -> None:
        """Write the register ``name``."""
        self._ask(Code.WRITE_REGISTER, register(name).address, int(value), size=0)

    def counters(self) -> dict[str, int]:
        """All counters by name, as they were in one cycle."""
        names = [counter.name for counter in registers.COUNTERS]
        names.sort(key=lambda name: name != "cycles")       # reading it freezes the others
        return {name: self.read(name) for name in names}

    def status(self) -> registers.Status:
        """The status register."""
        return registers.Status(self.read("status"))

    # Memory

    def _stretches(self, address: int, size: int, most: int) -> Iterator[_Piece]:
        """(memory word, offset, bytes) of pieces of up to ``most`` bytes of a stretch of memory.

        Raises ValueError if ``size`` is not a whole number of words.
        """
        if size % self.word_bytes:
            raise ValueError(f"{size} bytes are no whole words of {self.word_bytes}")
        for offset in range(0, size, most):
            yield (address + offset // self.word_bytes, offset, min(most, size - offset))

    def _ask_all(self, requests: Sequence[Request], sizes: Iterable[int],
                 progress: Callable[[int], object] | None = None) -> list[bytes]:
        """The data of the answers, of ``sizes`` bytes, to requests that a board cannot refuse."""
        answers = self.link.ask_all(requests, progress)
        return [self._accepted(*answer, size) for answer, size in zip(answers, sizes)]

    def read_memory(self, address: int, words: int) -> bytes:
        """``words`` memory words from ``address`` on, as bytes."""
        pieces = list(self._stretches(address, words * self.word_bytes, link.DATA_BYTES))
        return b"".join(self._ask_all([
            (Code.READ_MEMORY, place, count // self.word_bytes, b"")
            for place, _, count in pieces], [count for *_, count in pieces]))

    def write_memory(self, address: int, data: _Bytes,
                     progress: Callable[[int], object] | None = None) -> None:
        """Write bytes, whole words; ``progress`` is called with the number of bytes so far."""
        requests = [(Code.WRITE_MEMORY, place, count // self.word_bytes,
                     bytes(data[offset:offset + count]))
                    for place, offset, count in self._stretches(address, len(data),
                                                                link.DATA_BYTES)]
        self._ask_all(requests, [0] * len(requests), progress and (
            lambda count: progress(min(count * link.DATA_BYTES, len(data)))))

    def differing(self, address: int, data: _Bytes) -> list[_Piece]:
        """(memory word, offset, bytes) of the pieces of memory that do not hold ``data``."""
        pieces = list(self._stretches(address, len(data), CHECK_BYTES))
        sums = self._ask_all([(Code.CHECK_MEMORY, place, count // self.word_bytes, b"")
                              for place, _, count in pieces], [_WORD] * len(pieces))
        view = data.data if isinstance(data, np.ndarray) else data
        return [piece for piece, answer in zip(pieces, sums)
                if int.from_bytes(answer, "little")
                != zlib.crc32(view[piece[1]:piece[1] + piece[2]])]

    # Programs and conversations

    def start(self, address: int, length: int, weights: WeightCheck | None = None) -> None:
        """Run a program from its first instruction. A running program is stopped first.

        ``weights``: the :class:`assembler.contract.checksum.WeightCheck` of the image, which checks
        the weights of every token. None: the weights are not checked.
        """
        self.stop()
        self._weights = weights or WeightCheck()
        self._weights.restart()
        self.write("program_address", address)
        self.write("program_length", length)
        self.write("control", Control.START)

    def check_weights(self) -> None:
        """Raise TernError unless the weights that the core has read since START, or since the last
        call, are those of the image."""
        if not self._weights.active:
            return
        answers = self._ask_all([(Code.READ_REGISTER, register(name).address, 0, b"")
                                 for name in SUMS], [_WORD] * len(SUMS))
        if self._weights.agrees({name: int.from_bytes(answer, "little")
                                 for name, answer in zip(SUMS, answers)}):
            return
        # If an answer was lost, its register was read again later than the other two.
        if not self._weights.agrees({name: self.read(name) for name in SUMS}):
            raise TernError(f"{self.port.name}: the weights that the core reads from the board's "
                            f"memory are not the image's any more, and what they would say is "
                            f"dropped; upload the model again, and if that does not last, run "
                            f"`python -m firmware selftest`")

    def stop(self) -> None:
        """Stop the program and reset the core."""
        self.write("control", Control.STOP)

    def send(self, words: Sequence[int]) -> None:
        """Send message words, which are whole messages; waits while the board has no room."""
        most = link.DATA_BYTES // _WORD
        for start in range(0, len(words), most):
            part = words[start:start + most]
            data = b"".join(word.to_bytes(_WORD, "little") for word in part)
            end = self.port.time() + _PATIENCE
            while (answer := self.link.ask(Code.MESSAGES, 0, len(part), data))[0] == Status.BUSY:
                self._wait(end, 0.001)
            self._accepted(*answer)

    def _wait(self, end: float, seconds: float) -> None:
        """Sleep while a program runs. Raises TernError after the time ``end``."""
        self._running()
        if self.port.time() > end:
            raise TernError(f"{self.port.name}: nothing has come for {_PATIENCE} s, the program is "
                            f"at instruction {self.read('pc')}; upload it again")
        self.port.sleep(seconds)

    def tokens(self) -> list[int]:
        """Words that the core has sent since the last call."""
        data = self._ask(Code.TOKENS, size=None)
        return [int.from_bytes(data[n:n + _WORD], "little") for n in range(0, len(data), _WORD)]

    def _running(self) -> registers.Status:
        """The status. Raises TernError unless a program runs."""
        status = self.status()
        if status & registers.Status.FAULT:
            raise TernError(f"{self.port.name}: the program stopped at instruction "
                            f"{self.read('pc')}, which the core does not know; upload it again")
        if not status & registers.Status.RUNNING:
            raise TernError(f"{self.port.name}: no program runs on the board; was it reset?")
        return status

    def end(self, slots: Iterable[int] = (0,)) -> None:
        """End all streams, which run in ``slots``, and drop their remaining tokens."""
        self.send([message(MessageKind.STOP, slot) for slot in slots])
        end = self.port.time() + _PATIENCE
        while True:
            # First the status, then the tokens: a core that waits sends no further token.
            waiting = self._running() & registers.Status.WAITING
            if not self.tokens():
                if waiting:
                    return
                self._wait(end, 0.001)

    def converse(self, config: Config, ids: Sequence[int], tokens: int, *, slot: int = 0,
                 ends: Sequence[int] = (),
                 sampling: Sampling | None = None) -> Iterator[tuple[int, bool]]:
        """Continue ``ids`` by up to ``tokens`` tokens; yields (token, last).

        ``ends``: ids after which the stream ends. ``sampling``: how its tokens are chosen.
        """
        for _, token, last in self.converse_all(config, [(ids, tokens)], slots=[slot],
                                                ends=ends, sampling=[sampling]):
            yield token, last

    def converse_all(self, config: Config, prompts: Sequence[tuple[Sequence[int], int]], *,
                     slots: Iterable[int] | None = None, ends: Sequence[int] = (),
                     sampling: Sequence[Sampling | None] | None = None, fresh: bool = True,
                     check: Callable[[], object] = lambda: None) -> Iterator[tuple[int, int, bool]]:
        """Continue prompts independently, each in a slot. If all slots are in use, prompts wait.

        Yields (number of the prompt, token, last) as tokens arrive. ``prompts``, ``slots``,
        ``ends``, ``sampling``, ``fresh``: see :class:`firmware.streams.Streams`. ``check`` is
        called often, between requests; it may raise an exception to end the work.
        """
        streams = Streams(config, prompts, slots=slots, ends=ends, sampling=sampling, fresh=fresh)
        end = self.port.time() + _PATIENCE + sum(len(ids) for ids, _ in prompts)
        self.send(streams.messages())
        while not streams.done:
            check()
            # First the status, then the tokens: a core that waits sends no further token.
            waiting = streams.stopping and self._running() & registers.Status.WAITING
            words = self.tokens()
            if words:
                self.check_weights()        # before the tokens are shown
                end = max(end, self.port.time() + _PATIENCE)
            elif waiting:
                streams.idle()
            else:
                self._wait(end, 0.0005)
            try:
                tokens = streams.take(map(_parsed, words))
            except StreamError as error:
                raise LinkError(f"{self.port.name}: the board {error}; upload the program again"
                                ) from None
            self.send(streams.messages())
            yield from tokens
