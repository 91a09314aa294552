"""Errors of float formats: the golden machine against float64, as a table and a picture."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
import importlib.util
from pathlib import Path
import shlex
from typing import Any, BinaryIO

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.console.commit import made_by, write_report
from tern_fpga.assembler.contract.config import PRESETS, Config, preset
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, tokenizer
from tern_fpga.sim.commands import perplexity
from tern_fpga.sim.host import progress_bar


__all__ = ["HELP", "EXAMPLE", "FORMATS", "Row", "measure", "add_arguments", "run"]


HELP = "perplexity and top-1 agreement of several float formats"
EXAMPLE = ("python -m sim numerics models/stories-5m --text models/data/harbour-tales.txt "
           "--limit 2000")

FORMATS = ((8, 6), (9, 6), (10, 6), (11, 6), (12, 5), (12, 6), (12, 8), (14, 6), (16, 6),
           (20, 6), (24, 8))    # bits of significand and exponent
# The picture shows the formats of this exponent and the widest format; the table shows all.
_PICTURE_EXPONENT = 6

# Of each model, by name: `tokens`, `float64`, its perplexity in float64, and `rows`.
Results = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """Results of one format of one model.

    ``change``: relative change of the perplexity from float64. ``same``: share of tokens with the
    same top-1 as float64.
    """
    model: str
    significand: int
    exponent: int
    perplexity: float
    change: float
    same: float


def measure(model: Path | str, text: Path | str, formats: Iterable[tuple[int, int]], *,
            target: str, limit: int | None = None,
            progress: Callable[[str, int, int], object] = lambda what, n, of: None
            ) -> tuple[int, float, list[Row]]:
    """Measure formats with a checkpoint on a text file.

    Parameters
    ----------
    model, text : path
    formats : iterable of (significand, exponent)
    target : str
        Preset whose float format is replaced. Its other parameters do not change the results.
    limit : int or None
        Tokens to read; None: all.
    progress : callable
        Called as ``progress(what, tokens done, tokens in total)``.

    Returns
    -------
    (tokens, perplexity in float64, list of Row)
    """
    name = Path(model).resolve().name
    image = compile_model(model, preset(target), target)
    words = tokenizer.load(image)
    if words is None:
        raise TernError(f"{model}: the model has no tokenizer")
    inputs, targets = perplexity.windows(perplexity.read_ids(text, words)[:limit])

    def counted(what: str) -> Callable[[int], None]:
        done = 0

        def advance(tokens: int) -> None:
            nonlocal done
            done += tokens
            progress(f"{name}, {what}", done, inputs.size)
        return advance

    exact = perplexity.of_reference(model, inputs, targets, counted("float64"))
    rows = []
    for significand, exponent in formats:
        config = replace(preset(target), significand=significand, exponent=exponent)
        image = compile_model(model, config, target)
        score = perplexity.of_engine(image, "golden", inputs, targets,
                                     counted(f"{significand} bits"))
        rows.append(Row(name, significand, exponent, score.perplexity,
                        score.perplexity / exact.perplexity - 1, score.agreement(exact)))
    return inputs.size, exact.perplexity, rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", metavar="MODEL", nargs="+", help="checkpoints")
    parser.add_argument("--text", required=True, metavar="FILE", help="UTF-8 text")
    parser.add_argument("--limit", type=int, metavar="N",
                        help="read only the first N tokens (default: all)")
    parser.add_argument("--target", default="ulx3s-85f", choices=PRESETS,
                        help="machine that the formats are put into (default: ulx3s-85f)")
    parser.add_argument("--report", type=Path, metavar="FILE.md",
                        help="write the table there, the picture beside it as FILE.svg and the "
                             "numbers as FILE.json (needs the extra `plots`)")


def _table(results: Results) -> list[str]:
    """Lines of a Markdown table: a row for each format, three columns for each model."""
    names = list(results)
    lines = ["| significand, exponent | word |" + "".join(
                 f" {name}: perplexity | change | same top-1 |" for name in names),
             "| --- | --- |" + " --- | --- | --- |" * len(names),
             "| float64 | |" + "".join(
                 f" {results[name]['float64']:.3f} | | |" for name in names)]
    default = Config()
    for rows in zip(*(results[name]["rows"] for name in names)):
        first = rows[0]
        bold = "**" if (first.significand, first.exponent) == (
            default.significand, default.exponent) else ""
        lines.append(f"| {bold}{first.significand}, {first.exponent}{bold} | "
                     f"{first.significand + first.exponent} bits |" + "".join(
                         f" {row.perplexity:.3f} | {row.change:+.3%} | {row.same:.2%} |"
                         for row in rows))
    return lines


def _draw(results: Results, file: BinaryIO) -> None:
    """Plot both measures over the bits of the significand, with a line for each model."""
    import matplotlib
    matplotlib.use("svg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "tern", "font.size": 9}     # a reproducible file
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    widest = max(row.significand for result in results.values() for row in result["rows"])
    for name, result in results.items():
        rows = [row for row in result["rows"]
                if row.exponent == _PICTURE_EXPONENT or row.significand == widest]
        bits = [row.significand for row in rows]
        axes[0].plot(bits, [100 * row.change for row in rows], "o-", label=name)
        axes[1].plot(bits, [100 * row.same for row in rows], "o-", label=name)
    for axis, title in zip(axes, ("perplexity against float64, %", "same top-1 as float64, %")):
        axis.set_title(title)
        axis.set_xlabel("bits of significand")
        axis.axvline(Config().significand, color="grey", linestyle=":")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(file, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _report(args: argparse.Namespace, results: Results) -> None:
    tokens = next(iter(results.values()))["tokens"]
    words = ["python", "-m", "sim", "numerics", *map(str, args.models), "--text",
             str(args.text), *(["--limit", str(args.limit)] if args.limit else []),
             "--report", str(args.report)]
    lines = ["# Float formats", "",
             f"Golden machine against the float64 model on {tokens:,} tokens of "
             f"`{Path(args.text).name}`, in windows of {perplexity.CONTEXT}. Bold: the default.",
             made_by(shlex.join(words)), "", *_table(results), "",
             f"![Perplexity and top-1 agreement over the bits of the significand]"
             f"({args.report.with_suffix('.svg').name})", ""]
    disk.write(args.report.with_suffix(".svg"), lambda file: _draw(results, file))
    numbers = {name: result | {"rows": [asdict(row) for row in result["rows"]]}
               for name, result in results.items()}
    write_report(args.report, "\n".join(lines), command=shlex.join(words), text=str(args.text),
                 models=numbers)


def run(args: argparse.Namespace) -> None:
    if args.limit is not None and args.limit < 2:
        raise TernError(f"--limit must be at least 2, not {args.limit}")
    if args.report:
        disk.has_folder(args.report)
        if importlib.util.find_spec("matplotlib") is None:
            raise TernError("--report: needs matplotlib: pip install '.[plots]'")
    results: Results = {}
    try:
        with progress_bar() as bar:
            task = bar.add_task("")
            for model in args.models:
                tokens, exact, rows = measure(
                    model, args.text, FORMATS, target=args.target, limit=args.limit,
                    progress=lambda what, done, of: bar.update(task, description=what,
                                                               completed=done, total=of))
                results[rows[0].model] = {"tokens": tokens, "float64": exact, "rows": rows}
    finally:                # print what was measured, even after an error
        if results:
            print(terminal.shown("\n".join(_table(results))))
    if args.report:
        _report(args, results)
