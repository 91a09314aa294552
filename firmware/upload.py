"""Bring an image into the memory of a board; what is there already is not sent.

    python -m firmware upload build/stories --port /dev/ttyUSB0
"""

from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from assembler import image as images
from assembler.errors import TernError
from firmware import port
from firmware.board import Board


__all__ = ["add_arguments", "run", "upload"]


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", type=Path,
                        help="image directory, from the assembler")
    port.add_arguments(parser)


def upload(board, image, progress=None):
    """Make the board's memory hold the image; the core is stopped.

    Parameters
    ----------
    board : firmware.board.Board
    image : assembler.image.Image
    progress : function of (bytes sent, bytes to send), or None

    Returns
    -------
    (sent, all) : int
        Bytes that were sent, and of the image.

    Raises
    ------
    TernError
        The image is for another machine, the link broke, or the memory does not keep what it
        was given.
    """
    board.check(image.config)
    board.stop()
    sections = [section for section in image.sections if section.data is not None]
    pieces = [(section, *piece) for section in sections
              for piece in board.differing(section.address, section.data)]
    total, sent = sum(size for *_, size in pieces), 0
    for section, address, offset, size in pieces:
        board.write_memory(address, section.data[offset:offset + size],
                           progress and (lambda now: progress(sent + now, total)))
        sent += size
    for section in dict.fromkeys(section.name for section, *_ in pieces):
        if wrong := board.differing(image.section(section).address, image.section(section).data):
            raise TernError(f"{board.port.name}: memory does not keep what is written, first at "
                            f"word {wrong[0][0]} or after ({section}); see `python -m firmware "
                            f"selftest`")
    return total, sum(section.size for section in sections)


def show(board, image, name):
    """:func:`upload` with a progress bar; says what was done."""
    console = Console(stderr=True)
    with Progress("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(),
                  TimeRemainingColumn(), console=console, transient=True,
                  disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{name} to {board.name}", total=None)
        start = board.port.time()
        sent, size = upload(board, image, lambda now, total: bar.update(
            task, completed=now, total=total))
    seconds = board.port.time() - start
    console.print(f"{name}: {size:,} bytes are on {board.name}, {sent:,} of them sent now in "
                  f"{seconds:.2f} s, checksums right, {board.link.retries} repeats",
                  highlight=False)


def run(args):
    image = images.load(args.directory)
    line = port.open_port(args, image.config)
    try:
        show(Board(line), image, args.directory.name)
    finally:
        line.close()
