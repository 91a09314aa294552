"""Plot measured speeds of models below the ceilings of memory and array."""

import argparse
from collections.abc import Iterable
import json
from math import atan2, degrees
from pathlib import Path
from typing import Any, BinaryIO

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.console.commit import made_by
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk


__all__ = ["HELP", "EXAMPLE", "Point", "read", "table", "draw", "add_arguments", "run"]


HELP = "draw measurements under the ceilings of memory and array"
EXAMPLE = ("python -m sim perf build/stories-5m --json > one.json && "
           "python -m sim roofline one.json --report docs/reports/roofline.md")

_NEEDED = ("model", "target", "lanes", "positions", "memory", "streams", "cycles", "bytes_read",
           "bytes_written", "adds", "clock_mhz", "peak_bytes")
_KEPT = "memory_shares", "unit_shares"      # figures of docs/performance.md
_ENDS = 1, 100      # limits of the plots, in additions a byte


class Point:
    """A result of ``sim perf --json`` in additions. One trit times one code is an addition, also
    if the trit is 0.

    Parameters
    ----------
    values : dict
        The result.

    Members
    -------
    values : dict
        The measured numbers that the plot needs, and the breakdown of the cycles.
    intensity : float
        Additions for each byte that crossed the memory port. With nothing but trits it would be 5
        for each stream.
    rate, memory, array : float
        Additions a second: as measured; at the memory's peak with this intensity; and of an array
        that takes a beat in every cycle.

    Raises
    ------
    KeyError, TypeError, ZeroDivisionError
        ``values`` is no such result.
    """
    def __init__(self, values: dict[str, Any]) -> None:
        self.values = {name: values[name] for name in _NEEDED} | {
            name: values[name] for name in _KEPT if name in values}
        v = self.values
        hertz = v["clock_mhz"] * 1e6
        self.intensity = v["adds"] / (v["bytes_read"] + v["bytes_written"])
        self.rate   = v["adds"] * hertz / v["cycles"]
        self.memory = self.intensity * v["peak_bytes"]
        self.array  = v["lanes"] * v["streams"] * hertz

    @property
    def name(self) -> str:
        streams = self.values["streams"]
        return f"{streams} stream{'s' * (streams > 1)}"


def read(paths: Iterable[Path | str]) -> list[Point]:
    """Points of files, in order. Each file holds a result or a list of them; TernError if not."""
    points = []
    for path in paths:
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            for values in found if isinstance(found, list) else [found]:
                points.append(Point(values))
        except OSError as error:
            raise TernError(f"{path}: cannot read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, ZeroDivisionError):
            raise TernError(f"{path}: no result of `python -m sim perf DIR --json`") from None
    if not points:
        raise TernError("no results in these files")
    return points


def table(points: list[Point]) -> list[str]:
    """Lines of a Markdown table, with a row for each point."""
    lines = ["| board | model | streams | adds a byte | adds/s | of the memory's ceiling | of the "
             "array's |", "| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
    for point in points:
        v = point.values
        lines.append(f"| {v['target']} | {v['model']} | {v['streams']} | {point.intensity:.2f} | "
                     f"{point.rate / 1e9:.2f} G | {point.rate / point.memory:.1%} | "
                     f"{point.rate / point.array:.1%} |")
    return lines


def draw(points: list[Point], path: Path | BinaryIO) -> None:
    """Draw a picture with a row of plots for each board and a column for each model."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "tern", "font.size": 9}     # a reproducible file
    boards, models = (list(dict.fromkeys(point.values[name] for point in points))
                      for name in ("target", "model"))
    figure, grid = pyplot.subplots(
        len(boards), len(models), figsize=(6.2 * len(models), 3.8 * len(boards)),
        layout="constrained", squeeze=False, sharex=True, sharey=True)
    for board, row in zip(boards, grid):
        for model, axes in zip(models, row):
            here = [point for point in points
                    if (point.values["target"], point.values["model"]) == (board, model)]
            if not here:
                axes.set_axis_off()
                continue
            axes.set(title=f"{model} on {board}", xscale="log", yscale="log", xlim=_ENDS)
            axes.grid(alpha=0.3, which="both")
            _ceilings(axes, here[0].values)
            for point in here:
                at = point.intensity, point.rate / 1e9
                axes.plot(*at, "o", color="tab:blue", zorder=3)
                axes.annotate(point.name, at, color="tab:blue", xytext=(6, -10),
                              textcoords="offset points")
    figure.supxlabel("additions a byte of memory")
    figure.supylabel("additions, 10⁹ a second")
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _ceilings(axes: Any, v: dict[str, Any]) -> None:
    """Draw the ceilings of the memory, and of the array for 1, 2, 4, ... positions."""
    def memory(x: float) -> float:
        return x * v["peak_bytes"] / 1e9

    axes.plot(_ENDS, [memory(x) for x in _ENDS], "-", color="black", linewidth=1)
    x, y = 1.5, memory(1.75)
    axes.text(x, y, f"memory: {v['peak_bytes'] / 1e6:.0f} MB/s", rotation=degrees(atan2(y, x)),
              rotation_mode="anchor", transform_rotates_text=True)  # parallel to the line
    positions = 1
    while positions <= v["positions"]:
        height = v["lanes"] * positions * v["clock_mhz"] / 1e3
        axes.plot(_ENDS, (height, height), "--", color="grey", linewidth=1)
        text = f"array, {positions} position{'s' * (positions > 1)}"
        axes.annotate(text, (_ENDS[0], height), xytext=(3, 2), textcoords="offset points",
                      color="grey")
        positions *= 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", metavar="RESULT.json", nargs="+", type=Path,
                        help="what `python -m sim perf DIR --json` printed")
    parser.add_argument("--report", type=Path, metavar="FILE.md",
                        help="write the table there, the picture beside it as FILE.svg and the "
                             "numbers, which may be given again, as FILE.json (needs the extra "
                             "`plots`)")


_PAGE = """\
# Roofline

{made} The numbers are in [{json}]({json}).

Additions are the matrices' trits times the streams that share them. A byte of memory holds 5
trits, so a stream alone cannot do more than 5 additions a byte: the memory is its ceiling, and
streams lift it until the array is. Bytes are all that crossed the memory port, measured in RTL with
the board's SDRAM, its controller and refreshes; the memory's ceiling is its pins' peak. Each point
is a `python -m sim perf DIR --streams N --json`.

![Additions a second over additions a byte]({svg})

{table}
"""


def run(args: argparse.Namespace) -> None:
    if args.report:
        disk.has_folder(args.report)
    points = read(args.results)
    lines = table(points)
    print(terminal.shown("\n".join(lines)))
    if not args.report:
        return
    picture, numbers = args.report.with_suffix(".svg"), args.report.with_suffix(".json")
    try:
        disk.write(picture, lambda file: draw(points, file))
    except ImportError:
        raise TernError("--report: needs matplotlib: pip install '.[plots]'") from None
    values = [point.values for point in points]
    disk.write_text(numbers, json.dumps(values, indent=1) + "\n")
    disk.write_text(args.report, _PAGE.format(made=made_by("make roofline"), json=numbers.name,
                                          svg=picture.name, table="\n".join(lines)))
