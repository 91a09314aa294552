"""Ports to a board: a serial port, or a simulated board."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
import errno
import json
from pathlib import Path
import struct
import subprocess
import sys
import tempfile
import time
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import serial
from serial.tools import list_ports

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware.link import Port


try:
    import termios
    _TERMINAL: tuple[type[Exception], ...] = (termios.error,)
except ImportError:         # Windows
    _TERMINAL = ()


__all__ = ["SerialPort", "SimPort", "open_port", "add_arguments", "SIM", "BAUD"]


SIM  = "sim"
BAUD = 3_000_000

_SLOWEST, _FASTEST = 9_600, 25_000_000      # speeds that a board's UART may reasonably have

# All exceptions of pyserial: for ports that are gone or are not serial ports, and for bad speeds.
_ERRORS: tuple[type[Exception], ...] = (OSError, ValueError, OverflowError, struct.error,
                                       *_TERMINAL)
_NOT_SUPPORTED: tuple[type[Exception], ...] = (AttributeError, NotImplementedError, *_ERRORS)

_LATENCY = 0.03             # seconds that USB, driver and operating system add to an answer


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
        Seconds that an answer may take in addition to the time of the line and of the board.

    Raises
    ------
    TernError
        The speed is out of range, there is no such port, it cannot be opened, or it is unplugged.
    """
    latency = _LATENCY

    def __init__(self, name: str, baud: int = BAUD) -> None:
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
        except _NOT_SUPPORTED:
            pass            # only Linux has this, for some adapters; without it, answers are slower
        try:
            self._port.reset_input_buffer()
        except _ERRORS as error:
            self.close()
            self._lost(error)

    def _lost(self, error: Exception) -> NoReturn:
        """Raise the TernError for an error of the open port."""
        if isinstance(error, serial.SerialTimeoutException):
            raise TernError(f"{self.name}: takes no bytes; is that the serial port of a board?"
                            ) from None
        raise TernError(f"{self.name}: the port went away ({error}); plug the adapter in again, "
                        f"then run the same again") from None

    def time(self) -> float:
        """Seconds since an arbitrary moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._port.write_timeout = 1 + 20 * len(data) / self.baud
            self._port.write(data)
        except _ERRORS as error:
            self._lost(error)

    def read(self, seconds: float) -> bytes:
        """The bytes received so far. If there are none, waits up to ``seconds`` for the first."""
        try:
            self._port.timeout = seconds
            first: bytes = self._port.read(1)
            return first + self._port.read(self._port.in_waiting) if first else b""
        except _ERRORS as error:
            self._lost(error)

    def close(self) -> None:
        """Close the port."""
        try:
            self._port.close()
        except _ERRORS:
            pass            # unplugged, which has already been reported


def _refusal(error: Exception, baud: int) -> str:
    """Why pyserial did not open a port, and what to do."""
    # pyserial replaces a termios.error, which is not an OSError, by its own exception.
    context = error.__context__
    cause  = context if context is not None and isinstance(context, _TERMINAL) else error
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


def _ports() -> str:
    """A clause that names the serial ports of this machine."""
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
    """The serial line of ``python -m sim board``. Its members are those of :class:`SerialPort`.

    Its time is that of the simulated board, and passes only in ``read``.

    Parameters
    ----------
    config : assembler.contract.config.Config
        The machine to simulate.
    options : list of str
        Further arguments of ``python -m sim board``.
    """
    name    = SIM
    latency = 0.0

    _count = struct.Struct("<I")
    _came  = struct.Struct("<QI")
    _place = struct.Struct("<Q")

    def __init__(self, config: Config, options: Sequence[str] = ()) -> None:
        self._now = 0               # simulated time in nanoseconds
        self._early = b""           # bytes received in `sleep`
        # The file is needed only until the board has read it. So nothing is left behind however
        # this program ends.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "config.json"
            file.write_text(json.dumps(asdict(config)), encoding="utf-8")
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tern_fpga.sim", "board", "--config", file, *options],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                start_new_session=True)     # Ctrl-C is only for us; the end of its input ends it
            assert self._process.stdin is not None and self._process.stdout is not None
            self._input, self._output = self._process.stdin, self._process.stdout
            try:
                hello = self._output.readline()
            except BaseException:           # Ctrl-C while the simulator is built
                self.close()
                raise
        if not hello:
            self.close()
            raise TernError("the simulated board could not be built, see above")
        self.baud = json.loads(hello)["baud"]

    def time(self) -> float:
        """Seconds of simulated time."""
        return self._now / 1e9

    def sleep(self, seconds: float) -> None:
        """Let simulated time pass."""
        end = self.time() + seconds
        while (remaining := end - self.time()) > 0:
            self._early += self._read(remaining)

    def _lost(self) -> NoReturn:
        raise TernError("the simulated board ended, see above") from None

    def write(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._input.write(b"w" + self._count.pack(len(data)) + data)
        except BrokenPipeError:
            self._lost()

    def place(self, address: int,
              data: bytes | bytearray | memoryview | npt.NDArray[np.uint8]) -> None:
        """Write bytes directly to the board's memory, without the line. ``address``: in bytes."""
        try:
            self._input.write(b"m" + self._count.pack(len(data)) + self._place.pack(address))
            self._input.write(data.data if isinstance(data, np.ndarray) else data)
        except BrokenPipeError:
            self._lost()

    def read(self, seconds: float) -> bytes:
        """The bytes received so far. If there are none, waits up to ``seconds`` for the first."""
        early, self._early = self._early, b""
        return early or self._read(seconds)

    def _read(self, seconds: float) -> bytes:
        try:
            self._input.write(b"r" + self._count.pack(max(1, round(seconds * 1e6))))
            self._input.flush()
        except BrokenPipeError:
            self._lost()
        head = self._output.read(self._came.size)
        if len(head) < self._came.size:
            self._lost()
        self._now, count = self._came.unpack(head)
        return self._output.read(count)

    def close(self) -> None:
        """End the simulation."""
        for pipe in (self._input, self._output):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self._process.wait()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a board."""
    parser.add_argument("--port", required=True, metavar="PORT",
                        help=f"serial port of the board, such as /dev/ttyUSB0; {SIM}: a "
                             f"simulated board")
    parser.add_argument("--baud", type=int, default=BAUD, metavar="BAUD",
                        help=f"speed of the line, as the board was built (default: {BAUD})")


def open_port(args: argparse.Namespace, config: Config) -> Port:
    """The port that the command line names. ``config``: the machine, if it is to be simulated."""
    if args.port == SIM:
        return SimPort(config)
    return SerialPort(args.port, args.baud)
