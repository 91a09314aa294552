"""A board with a core on it, as a host sees it: memory, registers, programs, conversations."""

import zlib

from tern_fpga.assembler.contract import link, registers
from tern_fpga.assembler.contract.checksum import SUMS, WeightCheck
from tern_fpga.assembler.contract.link import Code, Status
from tern_fpga.assembler.contract.registers import Control, MessageKind, message, register
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware.link import Link, LinkError
from tern_fpga.firmware.streams import StreamError, Streams


__all__ = ["Board", "CHECK_BYTES"]


CHECK_BYTES = 1 << 16      # checked at a time: what the link may wait for

_PATIENCE   = 60           # seconds without a sign of progress, and one more a prompt token

_WORD       = 4
_TOKEN_MASK = (1 << registers.PAYLOAD_BITS) - 1


def _parsed(word):
    """(slot, last, token) of a word to the host."""
    return (word >> registers.TOKEN_SLOT_SHIFT, bool(word & registers.TOKEN_LAST),
            word & _TOKEN_MASK)


class Board:
    """What a host can ask of a board.

    Parameters
    ----------
    port : firmware.port.SerialPort
        Or what has its members.

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
    def __init__(self, port):
        self.port = port
        self.link = Link(port)
        _, _, bits, self.clock_hz, self.name = self.link.identity
        self.word_bytes = bits // 8
        if self.read("id") != registers.ID or self.read("version") != registers.VERSION:
            raise LinkError(f"{port.name}: there is no core of version {registers.VERSION}; "
                            f"build the board's bitstream again")
        self.digest = f"{self.read('digest_high'):08x}{self.read('digest_low'):08x}"
        self._weights = WeightCheck()

    def check(self, config):
        """Raise TernError unless the board's core is of ``config``."""
        if self.digest != config.digest:
            raise TernError(f"{self.port.name}: the board {self.name} has a core of config "
                            f"{self.digest}, the image is for {config.digest}; compile the model "
                            f"for this board (--target, and --set only as its bitstream was built "
                            f"with), or build its bitstream again")

    def _ask(self, code, address=0, operand=0, *, size):
        """The data of the answer to a request that a board cannot refuse."""
        return self._accepted(*self.link.ask(code, address, operand), size)

    def _accepted(self, status, answer, size=0):
        """The data of an answer; ``size``: its bytes, None for any number of words."""
        if status != Status.OK:
            raise LinkError(f"{self.port.name}: the board refused a request (status {status}); "
                            f"is its bitstream of this version?")
        if len(answer) % _WORD if size is None else len(answer) != size:
            raise LinkError(f"{self.port.name}: the board answered {len(answer)} bytes where "
                            f"{'words' if size is None else size} belong; is its bitstream of "
                            f"this version?")
        return answer

    # Registers

    def read(self, name):
        answer = self._ask(Code.READ_REGISTER, register(name).address, size=_WORD)
        return int.from_bytes(answer, "little")

    def write(self, name, value):
        self._ask(Code.WRITE_REGISTER, register(name).address, int(value), size=0)

    def counters(self):
        """All counters by name, as they were in one cycle."""
        names = [counter.name for counter in registers.COUNTERS]
        names.sort(key=lambda name: name != "cycles")       # its read keeps the others
        return {name: self.read(name) for name in names}

    def status(self):
        return registers.Status(self.read("status"))

    # Memory

    def _stretches(self, address, size, most):
        """(address, offset, bytes) of pieces of up to ``most`` bytes; whole words only."""
        if size % self.word_bytes:
            raise ValueError(f"{size} bytes are no whole words of {self.word_bytes}")
        for offset in range(0, size, most):
            yield (address + offset // self.word_bytes, offset, min(most, size - offset))

    def _ask_all(self, requests, sizes, progress=None):
        answers = self.link.ask_all(requests, progress)
        return [self._accepted(*answer, size) for answer, size in zip(answers, sizes)]

    def read_memory(self, address, words):
        """``words`` memory words from ``address`` on, as bytes."""
        pieces = list(self._stretches(address, words * self.word_bytes, link.DATA_BYTES))
        return b"".join(self._ask_all([
            (Code.READ_MEMORY, place, count // self.word_bytes, b"")
            for place, _, count in pieces], [count for *_, count in pieces]))

    def write_memory(self, address, data, progress=None):
        """Write bytes, whole words; ``progress`` is called with the number of bytes so far."""
        requests = [(Code.WRITE_MEMORY, place, count // self.word_bytes,
                     bytes(data[offset:offset + count]))
                    for place, offset, count in self._stretches(address, len(data),
                                                                link.DATA_BYTES)]
        self._ask_all(requests, [0] * len(requests), progress and (
            lambda count: progress(min(count * link.DATA_BYTES, len(data)))))

    def differing(self, address, data):
        """(address, offset, bytes) of the pieces of memory that do not hold ``data``."""
        pieces = list(self._stretches(address, len(data), CHECK_BYTES))
        sums = self._ask_all([(Code.CHECK_MEMORY, place, count // self.word_bytes, b"")
                              for place, _, count in pieces], [_WORD] * len(pieces))
        return [piece for piece, answer in zip(pieces, sums)
                if int.from_bytes(answer, "little")
                != zlib.crc32(data[piece[1]:piece[1] + piece[2]])]

    # Programs and conversations

    def start(self, address, length, weights=None):
        """Run a program from its first instruction; whatever ran is stopped before.

        ``weights``: the :class:`assembler.contract.checksum.WeightCheck` of its image, by which
        every token's weights are checked; None: they are not.
        """
        self.stop()
        self._weights = weights or WeightCheck()
        self._weights.restart()
        self.write("program_address", address)
        self.write("program_length", length)
        self.write("control", Control.START)

    def check_weights(self):
        """Raise TernError unless the weights that the core has read since START, or since this
        was called last, are those of the image."""
        if not self._weights.active:
            return
        answers = self._ask_all([(Code.READ_REGISTER, register(name).address, 0, b"")
                                 for name in SUMS], [_WORD] * len(SUMS))
        if self._weights.agrees({name: int.from_bytes(answer, "little")
                                 for name, answer in zip(SUMS, answers)}):
            return
        # An answer that was lost is asked for again, later than those that it belongs to.
        if not self._weights.agrees({name: self.read(name) for name in SUMS}):
            raise TernError(f"{self.port.name}: the weights that the core reads from the board's "
                            f"memory are not the image's any more, and what they would say is "
                            f"dropped; upload the model again, and if that does not last, run "
                            f"`python -m firmware selftest`")

    def stop(self):
        self.write("control", Control.STOP)

    def send(self, words):
        """Message words, whole messages, when the board has room for them."""
        most = link.DATA_BYTES // _WORD
        for start in range(0, len(words), most):
            part = words[start:start + most]
            data = b"".join(word.to_bytes(_WORD, "little") for word in part)
            end = self.port.time() + _PATIENCE
            while (answer := self.link.ask(Code.MESSAGES, 0, len(part), data))[0] == Status.BUSY:
                self._wait(end, 0.001)
            self._accepted(*answer)

    def _wait(self, end, seconds):
        """Let time go by while a program runs; raise TernError after ``end``."""
        self._running()
        if self.port.time() > end:
            raise TernError(f"{self.port.name}: nothing has come for {_PATIENCE} s, the program is "
                            f"at instruction {self.read('pc')}; upload it again")
        self.port.sleep(seconds)

    def tokens(self):
        """Words that the core has for us by now."""
        data = self._ask(Code.TOKENS, size=None)
        return [int.from_bytes(data[n:n + _WORD], "little") for n in range(0, len(data), _WORD)]

    def _running(self):
        status = self.status()
        if status & registers.Status.FAULT:
            raise TernError(f"{self.port.name}: the program stopped at instruction "
                            f"{self.read('pc')}, which the core does not know; upload it again")
        if not status & registers.Status.RUNNING:
            raise TernError(f"{self.port.name}: no program runs on the board; was it reset?")
        return status

    def end(self, slots=(0,)):
        """End all streams, which are in ``slots``, and drop what they still say."""
        self.send([message(MessageKind.STOP, slot) for slot in slots])
        end = self.port.time() + _PATIENCE
        while True:
            # In this order: a core that waits says nothing more.
            waiting = self._running() & registers.Status.WAITING
            if not self.tokens():
                if waiting:
                    return
                self._wait(end, 0.001)

    def converse(self, config, ids, tokens, *, slot=0, ends=(), sampling=None):
        """Continue ``ids`` by up to ``tokens`` tokens; an iterator of (token, last).

        ``ends``: the stream ends after any of them. ``sampling``: see :meth:`converse_all`.
        """
        for _, token, last in self.converse_all(config, [(ids, tokens)], slots=[slot],
                                                ends=ends, sampling=[sampling]):
            yield token, last

    def converse_all(self, config, prompts, *, slots=None, ends=(), sampling=None, fresh=True,
                     check=lambda: None):
        """Continue prompts independently, each in a slot; those that find none free wait.

        ``prompts``, ``slots``, ``ends``, ``sampling``, ``fresh``: as of
        :class:`firmware.streams.Streams`. ``check`` is called often, between requests, and may
        raise what ends the work. Yields (number of the prompt, token, last), as they come.
        """
        streams = Streams(config, prompts, slots=slots, ends=ends, sampling=sampling, fresh=fresh)
        end = self.port.time() + _PATIENCE + sum(len(ids) for ids, _ in prompts)
        self.send(streams.messages())
        while not streams.done:
            check()
            # In this order: a core that waits says nothing more.
            waiting = streams.stopping and self._running() & registers.Status.WAITING
            words = self.tokens()
            if words:
                self.check_weights()        # before anybody sees them
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
