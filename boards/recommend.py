"""The boards that a model fits, its estimated speed on each, and what limits that speed."""

from argparse import ArgumentParser, Namespace
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.compiler.estimate import Memory, memory_of
from tern_fpga.assembler.compiler.predict import Prediction, predicted
from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.boards.parts import BOARDS


__all__ = ["EXAMPLE", "HEADS", "prediction", "add_arguments", "rows", "run"]


EXAMPLE = "python -m boards recommend models/stories-5m"

HEADS = ("board", "MiB", "of", "tokens/s", "streams", "in all", "limit")

NOTES = """
MiB       what the compiled model takes, of the memory that there is
tokens/s  of one stream, estimated
streams   at most at a time: the positions of the machine
in all    tokens/s of that many streams, estimated
limit     memory, and the share of its peak that is used; or the core: vector
          instructions and drains, for which memory waits"""

_BOUND = 0.95               # share of the memory's peak from which on the memory is the limit


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path,
                        help="folder of a checkpoint: config.json and safetensors")


@cache                      # several boards have the same machine
def prediction(model: Path, config: Config, memory: Memory) -> tuple[Prediction | None, str]:
    """(the :class:`assembler.compiler.predict.Prediction`, ""), or (None, the reason why there is
    none)."""
    try:
        return predicted(model, config, memory), ""
    except TernError as error:
        return None, str(error).partition(": ")[2]


def rows(model: Path) -> list[tuple[tuple[bool, int, int], tuple[str, ...]]]:
    """``((has a bitstream, tokens/s, tokens/s of all streams), row)`` for each board, best first.

    Speeds are rounded as in the row, so that equal text sorts as equal. They are 0 where the model
    does not fit.
    """
    predicted(model, next(iter(PRESETS.values())))      # raises TernError if it is no model
    found: list[tuple[tuple[bool, int, int], tuple[str, ...]]] = []
    for name, board in BOARDS.items():
        config = PRESETS[name]
        result, why = prediction(model, config, memory_of(name))
        size   = f"{result.bytes / 2 ** 20:.1f}" if result else "-"
        memory = f"{config.memory_bytes >> 20}"
        if result is None or not (result.cycles and result.words and result.together):
            if result is not None:
                why = f"{result.bytes - config.memory_bytes:,} bytes too large"
            found.append(((bool(board.platform), 0, 0), (name, size, memory, "-", "-", "-", why)))
            continue
        clock = board.clock * 1e6
        share = result.words / (result.cycles * memory_of(name).peak)
        alone = round(clock / result.cycles)
        all_  = round(config.positions * clock / result.together)
        limit = f"{'memory' if share >= _BOUND else 'core'} ({share:.0%})"
        found.append(((bool(board.platform), alone, all_), (
            name, size, memory, f"{alone}", str(config.positions), f"{all_}",
            limit if board.platform else f"{limit}, no bitstream yet")))
    return sorted(found, key=lambda each: each[0], reverse=True)


def run(arguments: Namespace) -> None:
    found = rows(arguments.model)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="left" if head in ("board", "limit") else "right")
    for _, row in found:
        table.add_row(*row)
    console = Console(highlight=False)
    console.print(table)
    console.print(NOTES, style="dim")
    (able, speed, _), (best, *_) = found[0]
    console.print(f"Take {best}." if able and speed else
                  "It fits no board that bitstreams are made for.")
