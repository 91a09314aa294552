"""Area and clock of a board's blocks and core, as measured and committed.

example: python -m boards report ulx3s-85f
"""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from assembler.errors import TernError
from boards.parts import BOARDS


__all__ = ["add_arguments", "run", "AREA"]


AREA = Path(__file__).parents[1] / "docs" / "reports" / "area.json"     # written by hw/area.py

# What the chips offer: LUT4, FF, DP16KD, MULT18X18D (Lattice FPGA-DS-02012).
CHIPS = {
    "LFE5U-85F": (83640, 83640, 208, 156),
    "LFE5U-25F": (24288, 24288, 56, 28),
}

COLUMNS = ("lut4", "ff", "dp16kd", "mult18x18d")


def add_arguments(parser):
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")


def load(board):
    """The committed report of ``board``; raises TernError where there is none."""
    if board not in BOARDS:
        raise TernError(f"no board {board!r}; known boards: {', '.join(BOARDS)}")
    reports = json.loads(AREA.read_text()) if AREA.exists() else {}
    if board not in reports:
        having = f"; there are reports of {', '.join(reports)}" if reports else ""
        raise TernError(f"no report of {board} has been committed{having}")
    return reports[board]


def run(arguments):
    found = load(arguments.board)
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    board = BOARDS[arguments.board]
    table = Table(box=None, pad_edge=False)
    table.add_column("block")
    for head in ("LUT4", "FF", "DP16KD", "MULT18X18D", "Fmax MHz"):
        table.add_column(head, justify="right")
    offers = CHIPS[found["device"]]
    for name, row in found["blocks"].items():
        table.add_row(name, *(f"{row[column]:,}" for column in COLUMNS),
                      str(row["fmax_mhz"] or "not routed"))
    core = found["blocks"]["core"]
    table.add_row("core, share of the chip",
                  *(f"{core[column] / offer:.0%}" for column, offer in zip(COLUMNS, offers)),
                  style="bold")
    console = Console()
    console.print(f"{board.title}: {found['device']}-{found['grade']} {found['package']}, each "
                  f"block alone between registers, {found['clock_mhz']} MHz asked for")
    console.print(table)
    console.print(f"commit {found['commit']}, config {found['digest']}, "
                  f"{', '.join(found['tools'])}; again with: {found['command']}", style="dim")
