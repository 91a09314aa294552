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

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.contract import link
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import image as images
from tern_fpga.firmware import port
from tern_fpga.firmware.board import CHECK_BYTES, Board


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
    image : assembler.files.image.Image
    progress : function of (bytes sent, bytes to send), or None

    Returns
    -------
    (sent, all) : int
        Bytes that were sent, and of the image. If the port has ``place``, as that of the
        simulated board, nothing is sent: simulating the line would take minutes.

    Raises
    ------
    TernError
        The image is for another machine, the link broke, or the memory does not keep what it
        was given.
    """
    board.check(image.config)
    board.stop()
    sections = [section for section in image.sections if section.data is not None]
    if place := getattr(board.port, "place", None):
        pieces = []
        for section in sections:
            place(section.address * board.word_bytes, section.data)
        # Where it went can be wrong, what it is cannot: the beginnings show the first.
        written = [(section, section.data[:CHECK_BYTES]) for section in sections]
    else:
        pieces = [(section, *piece) for section in sections
                  for piece in board.differing(section.address, section.data)]
        written = [(section, section.data) for section in sections
                   if any(section is changed for changed, *_ in pieces)]
    total, sent = sum(size for *_, size in pieces), 0
    for section, address, offset, size in pieces:
        board.write_memory(address, section.data[offset:offset + size],
                           progress and (lambda now: progress(sent + now, total)))
        sent += size
    for section, data in written:
        if wrong := board.differing(section.address, data):
            raise TernError(f"{board.port.name}: memory does not keep what is written, first at "
                            f"word {wrong[0][0]} or after ({section.name}); see "
                            f"`python -m firmware selftest`")
    return total, sum(section.size for section in sections)


def show(board, image, name):
    """:func:`upload` with a progress bar; says what was done. ``name``: of the image."""
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


def run(args):
    image = images.load(args.directory)
    line = port.open_port(args, image.config)
    try:
        show(Board(line), image, args.directory.name)
    finally:
        line.close()
