"""The boards, their machines and what fits.

example: python -m boards list
"""

from rich.console import Console
from rich.table import Table

from assembler.config import PRESETS
from assembler.formats import TRITS_PER_BYTE
from boards.parts import BOARDS, fitting


__all__ = ["add_arguments", "run", "rows"]


HEADS = ("board", "FPGA", "memory", "lanes", "pos.", "MHz", "MB/s", "Mtrits", "fits")

NOTES = """\
lanes   trits that the array takes in a cycle
pos.    positions: tokens that share one pass over the weights
MHz     core clock that the blocks are written for
MB/s    the memory port's peak at that clock
Mtrits  millions of weights that fill the memory, at 1.6 bits each
fits    published MatMul-free LM checkpoints, with their embedding"""


def add_arguments(parser):
    """None."""


def rows():
    """One tuple of strings per board, in the order of ``HEADS``."""
    for name, board in BOARDS.items():
        config = PRESETS[name]
        yield (name, board.device, f"{config.memory_bytes >> 20} MB {board.memory}",
               str(config.lanes), str(config.positions), str(board.clock),
               str(config.word_bytes * board.clock),
               f"{config.memory_bytes * TRITS_PER_BYTE / 1e6:.0f}", " ".join(fitting(name)) or "-")


def run(arguments):
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="right" if head in HEADS[3:-1] else "left")
    for row in rows():
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    console.print(NOTES, style="dim")
