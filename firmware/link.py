"""The host's side of the link: requests that are carried out once, whatever the line does."""

from collections import deque
import os

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.link import Code, Status
from tern_fpga.assembler.errors import TernError


__all__ = ["Link", "LinkError"]


_TRIES      = 10            # without a sign of life, before we give up
_SOON       = 10            # seconds after which a board that never answered gets no further try
_EXECUTION  = 0.003         # seconds that the longest request may take: 64 KB to be checked
_FRAME_BITS = 10 * (link.FRAME_BYTES + 4)       # of the longest frame, on the line
_DONE       = (Status.OK, Status.REFUSED, Status.BUSY)
_LONGEST    = link.FRAME_BYTES + 2              # bytes between two zeros that may be a frame


class LinkError(TernError):
    """The link is broken: the message says what to look at."""


class Link:
    """Requests and answers over a port, see ``docs/link.md``.

    A request that is not answered is sent again under the same number, which the board
    carries out once. After any trouble nothing is sent until the line has been silent, so that
    what is heard then belongs to what was sent then.

    Parameters
    ----------
    port : firmware.port.SerialPort
        Or what has its members.

    Members
    -------
    identity : (version, window, memory bits, clock in Hz, name)
        What the board said of itself.
    retries : int
        Times that something had to be sent again.

    Raises
    ------
    LinkError
        Nobody answers, or somebody who is no board of ours; in every method.
    """
    def __init__(self, port):
        self.port = port
        self.retries = 0
        frame = _FRAME_BITS / port.baud
        self._silence  = port.latency + 2 * frame
        self._patience = 2 * port.latency + 2 * link.WINDOW * frame + _EXECUTION
        self._bytes = b""           # of an answer that has not ended
        self._frames = deque()      # that came and were not looked at
        self._synchronise()

    def _synchronise(self):
        number, start = os.urandom(1)[0], self.port.time()
        for attempt in range(_TRIES):
            if attempt and self.port.time() - start > _SOON:    # of a slow line
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

    def _accept(self, number, identity):
        version = identity[0] if identity else None
        if version != link.VERSION or len(identity) != link.IDENTITY.size:
            raise LinkError(f"{self.port.name}: the board speaks version {version} of the link, "
                            f"we speak {link.VERSION}; build its bitstream again")
        *numbers, name = link.IDENTITY.unpack(identity)
        name = name.rstrip(b"\0").decode("ascii", "replace")
        _, _, bits, clock_hz = numbers
        if bits not in (16, 32, 64, 128) or not clock_hz or not name.isprintable():
            raise LinkError(f"{self.port.name}: the board says that it is {name!r}, with words of "
                            f"{bits} bits at {clock_hz} Hz; build its bitstream again")
        self.identity = (*numbers, name)
        self._number = number + 1 & 0xff

    # Frames

    def _send(self, number, code, address=0, operand=0, data=b"", *, last=True):
        frame = link.encode(link.request(number, code, address, operand, data))
        self.port.write(frame + (link.TAIL if last else link.DELIMITER))

    def _answer(self, seconds):
        """The next answer (number, status, expected, data), () if damaged, None if none comes."""
        end = self.port.time() + seconds
        while not self._frames:
            left = end - self.port.time()
            if left <= 0:
                return None
            *frames, rest = (self._bytes + self.port.read(left)).split(link.DELIMITER)
            self._bytes = rest[:_LONGEST]       # enough to see that it is no frame
            self._frames.extend(frame for frame in frames if frame)
        payload = link.decode(self._frames.popleft())
        if payload is None or len(payload) < link.ANSWER.size:
            return ()
        return *link.ANSWER.unpack_from(payload), payload[link.ANSWER.size:]

    # Requests

    def ask(self, code, address=0, operand=0, data=b""):
        """One request; returns (status, data of the answer)."""
        return self.ask_all([(code, address, operand, data)])[0]

    def ask_all(self, requests, progress=None):
        """Several, in order, and all of their answers.

        Parameters
        ----------
        requests : list of (code, address, operand, data)
            If more than one, of commands that are ``parallel``, and none may need another's
            effect: one whose answer was lost is asked again later.
        progress : function of an int, or None
            Called with the number of answers so far.
        """
        assert len(requests) < 2 or all(link.command(code).parallel for code, *_ in requests)
        answers  = [None] * len(requests)
        answered = 0
        waiting  = deque(range(len(requests)))
        flight   = deque()          # (number, index) of what was sent and not answered, in order
        failures = 0

        def take(answer):
            """Note an answer; returns the number that the board expects, or None."""
            if not answer:
                return None
            nonlocal answered
            number, status, expected, data = answer
            if status == Status.CLOSED:
                raise LinkError(f"{self.port.name}: the board was reset in between; start again")
            if status in _DONE and number in [n for n, _ in flight]:
                while flight[0][0] != number:       # their answers were lost
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
                # Let everything that is under way arrive; a line full of noise is never silent.
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
        return answers

    def _resend(self, requests, flight, waiting, expected):
        """Send again what is in flight; ``expected``: by the board, None if it said nothing."""
        if flight and expected is not None:
            done = expected - flight[0][0] & 0xff
            if done <= len(flight):
                # The answer to the newest that was carried out can be had again, the others' not.
                for _ in range(done - 1):
                    waiting.appendleft(flight.popleft()[1])
        for n, (number, index) in enumerate(flight):
            self._send(number, *requests[index], last=n == len(flight) - 1)
