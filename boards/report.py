"""Area, clock and critical path of a board's bitstream, from the last build or as committed."""

from argparse import ArgumentParser, Namespace
import json
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from tern_fpga.assembler.errors import TernError
from tern_fpga.boards import results
from tern_fpga.boards.parts import BOARDS, named


__all__ = ["EXAMPLE", "add_arguments", "run", "AREA"]


EXAMPLE = "python -m boards report ulx3s-85f"
AREA    = results.ROOT / "docs" / "reports" / "area.json"     # written by hw/tools/area.py

# Resources of the chips: LUT4, FF, DP16KD, MULT18X18D (Lattice FPGA-DS-02012).
CHIPS = {
    "LFE5U-85F": (83640, 83640, 208, 156),
    "LFE5U-25F": (24288, 24288, 56, 28),
}

COLUMNS = ("lut4", "ff", "dp16kd", "mult18x18d")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    parser.add_argument("--blocks", action="store_true",
                        help="the blocks of the core instead, each placed alone")
    parser.add_argument("--committed", action="store_true",
                        help="what is committed, even if there is a build")
    parser.add_argument("--json", action="store_true", help="the numbers as JSON")


def _bitstream(board: str, committed: bool) -> tuple[dict[str, Any], str]:
    """(the report of a board's bitstream, its origin); TernError if there is none."""
    found = None if committed else results.built(board)
    if found:
        return found, f"the last build, {results.BUILT / board}"
    found = results.committed(board)
    if found:
        return found, f"as committed, {results.COMMITTED / board}.md"
    raise TernError(f"no report of {board}: first python -m boards build {board}")


def _blocks(board: str) -> dict[str, Any]:
    """The committed areas of the blocks of ``board``; TernError if there are none."""
    reports = json.loads(AREA.read_text(encoding="utf-8")) if AREA.exists() else {}
    if board not in reports:
        having = f"; there are reports of {', '.join(reports)}" if reports else ""
        raise TernError(f"no areas of blocks of {board} have been committed{having}")
    return reports[board]


def run(arguments: Namespace) -> None:
    board = arguments.board
    named(board)
    if arguments.blocks:
        found, origin = _blocks(board), ""
    else:
        found, origin = _bitstream(board, arguments.committed)
    if arguments.json:
        print(json.dumps(found, indent=1))
    elif arguments.blocks:
        _show_blocks(board, found)
    else:
        _show_bitstream(found, origin)


def _show_bitstream(found: dict[str, Any], origin: str) -> None:
    """Print the page of a bitstream."""
    text = results.page(found)
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        print(_shown(text, sys.stdout))
    print(f"({origin})")


def _shown(text: str, stream: TextIO) -> str:
    """The text, with other bars if the stream's encoding lacks their characters."""
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.replace(results.FULL, "#").replace(results.EMPTY, ".")
    return text


def _show_blocks(board: str, found: dict[str, Any]) -> None:
    """Print the table of a core's blocks."""
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
