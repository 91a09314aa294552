"""Where a board is: a serial port, or a simulation of it."""

from dataclasses import asdict
import errno
import json
from pathlib import Path
import struct
import subprocess
import sys
import tempfile
import time

import serial
from serial.tools import list_ports

from tern_fpga.assembler.errors import TernError


try:
    import termios
    _TERMINAL: tuple = (termios.error,)
except ImportError:         # Windows
    _TERMINAL = ()


__all__ = ["SerialPort", "SimPort", "open_port", "add_arguments", "SIM", "BAUD"]


SIM  = "sim"
BAUD = 3_000_000

_SLOWEST, _FASTEST = 9_600, 25_000_000      # of a board's UART with which a word is worth sending

# All that pyserial lets through: of ports that are gone, that are none, and of speeds.
_ERRORS = OSError, ValueError, OverflowError, struct.error, *_TERMINAL

_LATENCY = 0.03             # that USB, driver and operating system add to an answer, in seconds


class SerialPort:
    """A serial port of this machine.

    Parameters
    ----------
    name : str
        Such as ``/dev/ttyUSB0``.
    baud : int

    Members
    -------
    name : str
    baud : int
    latency : float
        Seconds that an answer may take longer than the line and the board need.

    Raises
    ------
    TernError
        No board has this speed, there is no such port, or it cannot be opened or goes away.
    """
    latency = _LATENCY

    def __init__(self, name, baud=BAUD):
        if not _SLOWEST <= baud <= _FASTEST:
            raise TernError(f"--baud {baud}: a board's line has {_SLOWEST} to {_FASTEST} baud, "
                            f"most have {BAUD}; docs/boards.md says which")
        self.name, self.baud = name, baud
        try:
            self._port = serial.Serial(name, baud, timeout=0, exclusive=True)
        except _ERRORS as error:
            raise TernError(f"{name}: cannot open: {_refusal(error, baud)}") from None
        try:
            self._port.set_low_latency_mode(True)
        except (AttributeError, NotImplementedError, *_ERRORS):
            pass            # only Linux has it, and not for every adapter: answers take longer
        try:
            self._port.reset_input_buffer()
        except _ERRORS as error:
            self.close()
            self._lost(error)

    def _lost(self, error):
        if isinstance(error, serial.SerialTimeoutException):
            raise TernError(f"{self.name}: takes no bytes; is that the serial port of a board?"
                            ) from None
        raise TernError(f"{self.name}: the port went away ({error}); plug the adapter in again, "
                        f"then run the same again") from None

    def time(self):
        """Seconds, from anywhere."""
        return time.monotonic()

    def sleep(self, seconds):
        """Let time go by."""
        time.sleep(seconds)

    def write(self, data):
        try:
            self._port.write_timeout = 1 + 20 * len(data) / self.baud
            self._port.write(data)
        except _ERRORS as error:
            self._lost(error)

    def read(self, seconds):
        """Bytes that came, at least one unless none comes within so many seconds."""
        try:
            self._port.timeout = seconds
            first = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except _ERRORS as error:
            self._lost(error)

    def close(self):
        try:
            self._port.close()
        except _ERRORS:
            pass            # it went away: that has been told


def _refusal(error, baud):
    """Why pyserial did not open a port, and what to do."""
    # It puts termios.error, which is no OSError, into the text of its own.
    cause  = error.__context__ if isinstance(error.__context__, _TERMINAL) else error
    number = getattr(cause, "errno", None) or next(
        (value for value in cause.args if isinstance(value, int)), None)
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return f"there is no such port; {_ports()}"
    if number in (errno.EACCES, errno.EPERM):
        return ("permission denied; on Linux, join the group that the port belongs to (most often "
                "`sudo usermod -a -G dialout $USER`) and log in again")
    if number in (errno.EBUSY, errno.EAGAIN):
        return "another program uses it: end that first"
    if number in (errno.ENOTTY, errno.EISDIR, errno.ENOTDIR):
        return f"that is no serial port; {_ports()}"
    if isinstance(error, (ValueError, OverflowError, struct.error)):
        return f"it cannot be set to {baud} baud ({error})"
    return f"{error}; {_ports()}"


def _ports():
    """The ports that there are, as a clause."""
    try:
        found = sorted(list_ports.comports())
    except _ERRORS:
        found = []
    names = ", ".join(f"{port.device} ({port.description})" if port.vid else port.device
                      for port in found)
    if any(port.vid for port in found):
        return f"there {'is' if len(found) == 1 else 'are'} {names}"
    return (f"there is no USB adapter{f', only {names}' if found else ''}: is the board plugged "
            f"in, with a cable that carries data, at the USB port that docs/boards.md names?")


class SimPort:
    """The serial line of ``python -m sim board``; members as of :class:`SerialPort`.

    Time is the board's: it passes only in ``read``.

    Parameters
    ----------
    config : assembler.contract.config.Config
        The machine to simulate.
    options : list of str
        More arguments of ``python -m sim board``.
    """
    name    = SIM
    latency = 0.0

    _count = struct.Struct("<I")
    _came  = struct.Struct("<QI")
    _place = struct.Struct("<Q")

    def __init__(self, config, options=()):
        self._now = 0
        self._early = b""           # bytes that came while we slept
        # Until it has read the config: what ends us later leaves nothing behind.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.json"
            file.write_text(json.dumps(asdict(config)), encoding="utf-8")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tern_fpga.sim", "board", "--config", file, *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                start_new_session=True)     # Ctrl-C is for us, as with a board; its input ends it
            try:
                hello = self._process.stdout.readline()
            except BaseException:           # Ctrl-C, while it is built
                self.close()
                raise
        if not hello:
            self.close()
            raise TernError("the simulated board could not be built, see above")
        self.baud = json.loads(hello)["baud"]

    def time(self):
        return self._now / 1e9

    def sleep(self, seconds):
        end = self.time() + seconds
        while (left := end - self.time()) > 0:
            self._early += self._read(left)

    def _lost(self):
        raise TernError("the simulated board ended, see above") from None

    def write(self, data):
        try:
            self._process.stdin.write(b"w" + self._count.pack(len(data)) + data)
        except BrokenPipeError:
            self._lost()

    def place(self, address, data):
        """Put bytes into the board's memory at once, past its line. ``address``: in bytes."""
        try:
            self._process.stdin.write(b"m" + self._count.pack(len(data))
                                      + self._place.pack(address))
            self._process.stdin.write(data)
        except BrokenPipeError:
            self._lost()

    def read(self, seconds):
        early, self._early = self._early, b""
        return early or self._read(seconds)

    def _read(self, seconds):
        try:
            self._process.stdin.write(b"r" + self._count.pack(max(1, round(seconds * 1e6))))
            self._process.stdin.flush()
        except BrokenPipeError:
            self._lost()
        head = self._process.stdout.read(self._came.size)
        if len(head) < self._came.size:
            self._lost()
        self._now, count = self._came.unpack(head)
        return self._process.stdout.read(count)

    def close(self):
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self._process.wait()


def add_arguments(parser):
    parser.add_argument("--port", required=True, metavar="PORT",
                        help=f"serial port of the board, such as /dev/ttyUSB0; {SIM}: a "
                             f"simulated board")
    parser.add_argument("--baud", type=int, default=BAUD, metavar="BAUD",
                        help=f"speed of the line, as the board was built (default: {BAUD})")


def open_port(args, config):
    """The port that the command line names; ``config``: of the machine to simulate."""
    if args.port == SIM:
        return SimPort(config)
    return SerialPort(args.port, args.baud)
