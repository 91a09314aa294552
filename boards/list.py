"""The boards, their machines and the models that fit."""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.compiler.estimate import memory_of
from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.assembler.contract.formats import TRITS_PER_BYTE
from tern_fpga.boards.parts import BOARDS, PUBLISHED, fitting
from tern_fpga.boards.recommend import prediction


__all__ = ["EXAMPLE", "add_arguments", "run", "rows", "speeds"]


EXAMPLE = "python -m boards list"
MODELS  = Path(__file__).resolve().parents[1] / "models"

HEADS = ("board", "FPGA", "memory", "lanes", "pos.", "MHz", "MB/s", "Mtrits", "published")

NOTES = f"""\
lanes      trits that the array takes in a cycle
pos.       positions: tokens that share one pass over the weights
MHz        core clock; `report` says what the board's bitstream reaches
MB/s       peak of the memory's pins, whose clock may be another than the core's
Mtrits     millions of weights that fill the memory, at 1.6 bits each
published  which of the published MatMul-free LM checkpoints fit, of
           {', '.join(PUBLISHED)}; the shipped models are below"""

SPEEDS = """
Tokens/s of one stream of the shipped models, estimated. As many streams as
positions run side by side at nearly that speed each. Boards with DDR3 have no
bitstreams yet."""


def add_arguments(parser: ArgumentParser) -> None:
    """There are no arguments."""


def rows() -> Iterator[tuple[str, ...]]:
    """A tuple of strings for each board, in the order of ``HEADS``."""
    for name, board in BOARDS.items():
        config = PRESETS[name]
        yield (name, board.device, f"{config.memory_bytes >> 20} MiB {board.memory}",
               str(config.lanes), str(config.positions), str(board.clock),
               f"{config.word_bytes * board.clock * memory_of(name).peak:.0f}",
               f"{config.memory_bytes * TRITS_PER_BYTE / 1e6:.0f}",
               " ".join(fitting(name)) or "none")


def speeds() -> tuple[list[str], list[list[str]]]:
    """``(heads, rows)`` of a table with the speed of each shipped model on each board."""
    models = sorted(path.parent for path in MODELS.glob("*/config.json"))
    found = []
    for name, board in BOARDS.items():
        row = [name]
        for model in models:
            result, _ = prediction(model, PRESETS[name], memory_of(name))
            row.append(f"{board.clock * 1e6 / result.cycles:.0f}"
                       if result and result.cycles else "-")
        found.append(row)
    return ["board", *(model.name for model in models)], found


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str]) -> Table:
    """A table in which the columns of ``left`` are left-aligned, the others right-aligned."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        table.add_column(head, justify="left" if head in left else "right")
    for row in rows:
        table.add_row(*row)
    return table


def run(arguments: Namespace) -> None:
    console = Console(highlight=False)
    console.print(_table(HEADS, rows(), (*HEADS[:3], HEADS[-1])))
    console.print(NOTES, style="dim")
    console.print(SPEEDS)
    console.print(_table(*speeds(), ("board",)))
