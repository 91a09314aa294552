"""Area, clock and critical path of a board's bitstream: of the last build, or as committed."""

import json
import sys

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from tern_fpga.assembler.errors import TernError
from tern_fpga.boards import results
from tern_fpga.boards.parts import BOARDS, named


__all__ = ["EXAMPLE", "add_arguments", "run", "AREA"]


EXAMPLE = "python -m boards report ulx3s-85f"
AREA    = results.ROOT / "docs" / "reports" / "area.json"     # of hw/tools/area.py

# What the chips offer: LUT4, FF, DP16KD, MULT18X18D (Lattice FPGA-DS-02012).
CHIPS = {
    "LFE5U-85F": (83640, 83640, 208, 156),
    "LFE5U-25F": (24288, 24288, 56, 28),
}

COLUMNS = ("lut4", "ff", "dp16kd", "mult18x18d")


def add_arguments(parser):
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    parser.add_argument("--blocks", action="store_true",
                        help="the blocks of the core instead, each placed alone")
    parser.add_argument("--committed", action="store_true",
                        help="what is committed, even if there is a build")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")


def _bitstream(board, committed):
    """The report of a board's bitstream, and where it is from."""
    found = None if committed else results.built(board)
    if found:
        return found, f"the last build, {results.BUILT / board}"
    found = results.committed(board)
    if found:
        return found, f"as committed, {results.COMMITTED / board}.md"
    raise TernError(f"no report of {board}: first python -m boards build {board}")


def _blocks(board):
    """The committed areas of the blocks of ``board``."""
    reports = json.loads(AREA.read_text(encoding="utf-8")) if AREA.exists() else {}
    if board not in reports:
        having = f"; there are reports of {', '.join(reports)}" if reports else ""
        raise TernError(f"no areas of blocks of {board} have been committed{having}")
    return reports[board]


def run(arguments):
    board = arguments.board
    named(board)
    if arguments.blocks:
        found = _blocks(board)
        show  = _show_blocks
    else:
        found, origin = _bitstream(board, arguments.committed)
        show = lambda board, found: _show_bitstream(found, origin)
    if arguments.json:
        print(json.dumps(found, indent=1))
    else:
        show(board, found)


def _show_bitstream(found, origin):
    text = results.page(found)
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print(_shown(text, sys.stdout))
    print(f"({origin})")


def _shown(text, stream):
    """The text with bars that the stream's encoding has."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.replace(results.FULL, "#").replace(results.EMPTY, ".")
    return text


def _show_blocks(board, found):
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
    title = BOARDS[board].title
    console.print(f"{title}: {found['device']}-{found['grade']} {found['package']}, each block "
                  f"alone between registers, {found['clock_mhz']} MHz asked for")
    console.print(table)
    console.print(f"commit {found['commit']}, config {found['digest']}, "
                  f"{', '.join(found['tools'])}; again with: {found['command']}", style="dim")
