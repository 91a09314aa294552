"""Upload an image to a board's memory. Parts that the memory already holds are not sent.

    python -m firmware upload build/stories --port /dev/ttyUSB0
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.contract import link
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import image as images
from tern_fpga.assembler.files.image import Image, Section
from tern_fpga.firmware import port
from tern_fpga.firmware.board import CHECK_BYTES, Board


__all__ = ["add_arguments", "run", "upload"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("directory", metavar="DIR", type=Path,
                        help="image directory, from the assembler")
    port.add_arguments(parser)


def upload(board: Board, image: Image,
           progress: Callable[[int, int], object] | None = None) -> tuple[int, int]:
    """Write the image to the board's memory. The core is stopped first.

    Parameters
    ----------
    board : firmware.board.Board
    image : assembler.files.image.Image
    progress : function of (bytes sent, bytes to send), or None

    Returns
    -------
    (sent, all) : int
        Bytes that were sent, and bytes of the image. A port with a method ``place``, as that of the
        simulated board, sends nothing: simulating the line would take minutes.

    Raises
    ------
    TernError
        The image is for another machine, the link is broken, or the memory does not hold what was
        written to it.
    """
    board.check(image.config)
    board.stop()
    sections = [(section, section.data) for section in image.sections if section.data is not None]
    # Data of a section; memory word, offset and bytes of a piece of it that the memory lacks.
    pieces: list[tuple[npt.NDArray[np.uint8], int, int, int]] = []
    written: list[tuple[Section, npt.NDArray[np.uint8]]] = []       # what is compared afterwards
    if place := getattr(board.port, "place", None):
        for section, data in sections:
            place(section.address * board.word_bytes, data)
            # The bytes are certain to be right, their address is not: the beginning shows it.
            written.append((section, data[:CHECK_BYTES]))
    else:
        for section, data in sections:
            if differing := board.differing(section.address, data):
                pieces += [(data, *piece) for piece in differing]
                written.append((section, data))
    total, sent = sum(size for *_, size in pieces), 0
    for data, address, offset, size in pieces:
        board.write_memory(address, data[offset:offset + size],
                           progress and (lambda now: progress(sent + now, total)))
        sent += size
    for section, data in written:
        if wrong := board.differing(section.address, data):
            raise TernError(f"{board.port.name}: memory does not keep what is written, first at "
                            f"word {wrong[0][0]} or after ({section.name}); see "
                            f"`python -m firmware selftest`")
    return total, sum(section.size for section, _ in sections)


def show(board: Board, image: Image, name: str) -> None:
    """:func:`upload` with a progress bar and a line about the result. ``name``: of the image."""
    console = Console(stderr=True, highlight=False)
    name, there = terminal.markup(name), terminal.markup(board.name)
    with Progress("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                  TimeRemainingColumn(), console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{name} to {there}", total=None)
        start = board.port.time()
        sent, size = upload(board, image, lambda now, total: bar.update(
            task, completed=now, total=total))
    seconds = board.port.time() - start
    if hasattr(board.port, "place"):
        line = size * 10 / port.BAUD * (link.FRAME_BYTES + 2) / link.DATA_BYTES
        how = (f"put straight into the simulated memory (a board's line takes {line:.2g} s) and "
               f"compared where each part begins")
    else:
        how = f"{sent:,} of them sent now in {seconds:.2f} s"
    console.print(f"{name}: {size:,} bytes are on {there}, {how}, "
                  f"checksums right, {board.link.retries} repeats", soft_wrap=True)


def run(args: argparse.Namespace) -> None:
    """Upload the image that the command line names."""
    image = images.load(args.directory)
    line = port.open_port(args, image.config)
    try:
        show(Board(line), image, args.directory.name)
    finally:
        line.close()
