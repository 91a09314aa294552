"""The host's side of the link. Each request is carried out once, even on a faulty line."""

from collections import deque
from collections.abc import Callable, Sequence
import os
from typing import Protocol

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.link import Code, Status
from tern_fpga.assembler.errors import TernError


__all__ = ["Link", "LinkError", "Port", "Request"]


_TRIES      = 10            # attempts without an answer before the link counts as broken
_SOON       = 10            # seconds after which a silent board gets no further attempt
_EXECUTION  = 0.003         # seconds that the longest request may take: a check of 64 KB
_FRAME_BITS = 10 * (link.FRAME_BYTES + 4)       # bits of the longest frame on the line
_DONE       = (Status.OK, Status.REFUSED, Status.BUSY)
_LONGEST    = link.FRAME_BYTES + 2              # most bytes of a frame between two zeros

Request = tuple[Code, int, int, bytes]          # code, address, operand, data
_Answer = tuple[int, int, int, bytes] | tuple[()]       # number, status, expected, data


class Port(Protocol):
    """A line to a board: see :class:`firmware.port.SerialPort`."""
    name: str
    baud: int
    latency: float

    def time(self) -> float: ...
    def sleep(self, seconds: float) -> None: ...
    def write(self, data: bytes) -> None: ...
    def read(self, seconds: float) -> bytes: ...
    def close(self) -> None: ...


class LinkError(TernError):
    """The link is broken. The message says what to check."""


class Link:
    """Requests and answers over a port, see ``docs/link.md``.

    A request without an answer is sent again under the same number; the board carries it out only
    once. After an error, nothing is sent until the line has been silent, so that later answers
    belong to later requests.

    Parameters
    ----------
    port : Port
        Such as :class:`firmware.port.SerialPort`.

    Members
    -------
    identity : (version, window, memory bits, clock in Hz, name)
        As the board reports them.
    retries : int
        Number of times that requests had to be sent again.

    Raises
    ------
    LinkError
        No board answers, or the answers are not those of a Tern board; in every method.
    """
    identity: tuple[int, int, int, int, str]

    def __init__(self, port: Port) -> None:
        self.port = port
        self.retries = 0
        frame = _FRAME_BITS / port.baud
        self._silence  = port.latency + 2 * frame
        self._patience = 2 * port.latency + 2 * link.WINDOW * frame + _EXECUTION
        self._bytes = b""           # of an incomplete frame
        self._frames: deque[bytes] = deque()    # received, not decoded yet
        self._synchronise()

    def _synchronise(self) -> None:
        number, start = os.urandom(1)[0], self.port.time()
        for attempt in range(_TRIES):
            if attempt and self.port.time() - start > _SOON:    # the line is slow
                break
            nonce = os.urandom(4)
            self.port.write(link.DELIMITER)
            self._send(number, Code.SYNC, int.from_bytes(nonce, "little"))
            end = self.port.time() + self._patience
            while (answer := self._answer(end - self.port.time())) is not None:
                if answer and answer[:2] == (number, Status.OK) and answer[3][:4] == nonce:
                    return self._accept(number, answer[3][4:])
            number = number + 1 & 0xff
        raise LinkError(f"{self.port.name}: no board answers at {self.port.baud} baud; is it "
                        f"powered, is it configured with Tern, and are this its port and its "
                        f"speed (--baud)?")

    def _accept(self, number: int, identity: bytes) -> None:
        version = identity[0] if identity else None
        if version != link.VERSION or len(identity) != link.IDENTITY.size:
            raise LinkError(f"{self.port.name}: the board speaks version {version} of the link, "
                            f"we speak {link.VERSION}; build its bitstream again")
        _, window, bits, clock_hz, padded = link.IDENTITY.unpack(identity)
        name = padded.rstrip(b"\0").decode("ascii", "replace")
        if bits not in (16, 32, 64, 128) or not clock_hz or not name.isprintable():
            raise LinkError(f"{self.port.name}: the board says that it is {name!r}, with words of "
                            f"{bits} bits at {clock_hz} Hz; build its bitstream again")
        self.identity = (version, window, bits, clock_hz, name)
        self._number = number + 1 & 0xff

    # Frames

    def _send(self, number: int, code: Code, address: int = 0, operand: int = 0, data: bytes = b"",
              *, last: bool = True) -> None:
        frame = link.encode(link.request(number, code, address, operand, data))
        self.port.write(frame + (link.TAIL if last else link.DELIMITER))

    def _answer(self, seconds: float) -> _Answer | None:
        """The next answer: (number, status, expected, data). () if it is damaged, None if no answer
        arrives in time."""
        end = self.port.time() + seconds
        while not self._frames:
            remaining = end - self.port.time()
            if remaining <= 0:
                return None
            *frames, rest = (self._bytes + self.port.read(remaining)).split(link.DELIMITER)
            self._bytes = rest[:_LONGEST]       # if it is longer, it is not a frame
            self._frames.extend(frame for frame in frames if frame)
        payload = link.decode(self._frames.popleft())
        if payload is None or len(payload) < link.ANSWER.size:
            return ()
        number, status, expected = link.ANSWER.unpack_from(payload)
        return number, status, expected, payload[link.ANSWER.size:]

    # Requests

    def ask(self, code: Code, address: int = 0, operand: int = 0,
            data: bytes = b"") -> tuple[Status, bytes]:
        """Make one request; returns (status, data of the answer)."""
        return self.ask_all([(code, address, operand, data)])[0]

    def ask_all(self, requests: Sequence[Request],
                progress: Callable[[int], object] | None = None) -> list[tuple[Status, bytes]]:
        """Make requests in order; returns (status, data) of each answer.

        Parameters
        ----------
        requests : list of (code, address, operand, data)
            If there are several, their commands must be ``parallel``, and no request may depend on
            the effect of another: a request whose answer was lost is made again later.
        progress : function of an int, or None
            Called with the number of answers so far.
        """
        assert len(requests) < 2 or all(link.command(code).parallel for code, *_ in requests)
        answers: dict[int, tuple[Status, bytes]] = {}   # by index of the request
        flight: deque[tuple[int, int]] = deque()        # (number, index) in flight, in order
        answered = 0
        waiting  = deque(range(len(requests)))
        failures = 0

        def take(answer: _Answer | None) -> int | None:
            """Note an answer; returns the number that the board expects, or None."""
            if not answer:
                return None
            nonlocal answered
            number, status, expected, data = answer
            if status == Status.CLOSED:
                raise LinkError(f"{self.port.name}: the board was reset in between; start again")
            if status in _DONE and number in [n for n, _ in flight]:
                while flight[0][0] != number:       # answers to earlier requests were lost
                    waiting.appendleft(flight.popleft()[1])
                answers[flight.popleft()[1]] = Status(status), data
                answered += 1
            return expected

        while waiting or flight:
            while waiting and len(flight) < link.WINDOW:
                flight.append((self._number, waiting.popleft()))
                last = not waiting or len(flight) == link.WINDOW
                self._send(self._number, *requests[flight[-1][1]], last=last)
                self._number = self._number + 1 & 0xff
            before = answered
            answer = self._answer(self._patience)
            expected = take(answer)
            if answered == before:
                self.retries += 1
                # Wait until the line is silent, but not for ever: it may be full of noise.
                end = self.port.time() + self._patience
                while answer is not None and self.port.time() < end:
                    expected = take(answer) if answer else expected
                    answer = self._answer(self._silence)
                self._resend(requests, flight, waiting, expected)
            failures = failures + 1 if answered == before else 0
            if failures > _TRIES:
                raise LinkError(f"{self.port.name}: the board does not answer any more; check "
                                f"cable and power, then run the same again: what has arrived "
                                f"is not sent twice")
            if progress is not None:
                progress(answered)
        return [answers[n] for n in range(len(requests))]

    def _resend(self, requests: Sequence[Request], flight: deque[tuple[int, int]],
                waiting: deque[int], expected: int | None) -> None:
        """Send the requests in flight again. ``expected``: the number that the board expects next,
        None if it is not known."""
        if flight and expected is not None:
            done = expected - flight[0][0] & 0xff
            if done <= len(flight):
                # The board repeats its answer only to the last request that it carried out.
                for _ in range(done - 1):
                    waiting.appendleft(flight.popleft()[1])
        for n, (number, index) in enumerate(flight):
            self._send(number, *requests[index], last=n == len(flight) - 1)
