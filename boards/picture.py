"""Draw the resources and clocks of all committed bitstreams in one picture."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, BinaryIO

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.boards import results
from tern_fpga.boards.parts import BOARDS


__all__ = ["EXAMPLE", "add_arguments", "run"]


EXAMPLE = "python -m boards picture docs/reports/bitstreams.svg"

_KINDS   = ("LUT4", "flip-flop", "block RAM", "multiplier")
_COLOURS = ("tab:blue", "tab:cyan", "tab:orange", "tab:purple")


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("output", metavar="FILE.svg", type=Path, help="the picture")


def run(arguments: Namespace) -> None:
    reports = {name: found for name in BOARDS if (found := results.committed(name))}
    if not reports:
        raise TernError(f"{results.COMMITTED}: no reports of bitstreams; first python -m boards "
                        f"build BOARD --report {results.COMMITTED}")
    try:
        disk.write(arguments.output, lambda file: _draw(reports, file))
    except ModuleNotFoundError as error:
        raise TernError(f"{error.name} is missing: pip install -e '.[plots]'") from None
    print(arguments.output)


def _draw(reports: dict[str, dict[str, Any]], file: BinaryIO) -> None:
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "tern", "font.size": 9}     # a reproducible file
    clocks = [(f"{name}\n{results.label(clock)}" if len(found["clocks"]) > 1 else name, each)
              for name, found in reports.items() for clock, each in found["clocks"].items()]
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(10, 0.6 + 0.55 * max(len(reports), len(clocks))), layout="constrained")

    height = 0.8 / len(_KINDS)
    for n, (kind, colour) in enumerate(zip(_KINDS, _COLOURS)):
        rows = [found["resources"][kind] for found in reports.values()]
        left.barh([row + (n - (len(_KINDS) - 1) / 2) * height for row in range(len(rows))],
                  [100 * row["used"] / row["of"] for row in rows], height, color=colour, label=kind)
    left.set(title="share of the chip", xlim=(0, 100), xlabel="%",
             yticks=range(len(reports)), yticklabels=reports)
    left.legend(loc="upper right", fontsize=7)

    right.barh(range(len(clocks)), [each["reached_mhz"] for _, each in clocks], 0.5,
               color=["tab:green" if each["slack_ns"] >= 0 else "tab:red" for _, each in clocks])
    for row, (_, each) in enumerate(clocks):
        right.plot([each["asked_mhz"]] * 2, [row - 0.35, row + 0.35], color="black")
        right.annotate(f"{each['reached_mhz']:.1f} of {each['asked_mhz']:.4g}",
                       (max(each["reached_mhz"], each["asked_mhz"]), row), xytext=(4, 0),
                       textcoords="offset points", va="center")
    right.margins(x=0.3)       # room for the label of the longest bar
    right.set(title="clocks reached, and asked (line)", xlabel="MHz", yticks=range(len(clocks)),
              yticklabels=[label for label, _ in clocks])
    for axes in (left, right):
        axes.invert_yaxis()
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)
