"""Figures in README and docs: each comes from the JSON of a report in ``docs/reports``.

    python -m tests.project.figures         write them into the pages again (a part of `make docs`)

A page names a figure by a comment in front of it: ``<!--flips.reported-->500 of 500<!--/-->``. What
stands between the comments is generated. A figure without a report is marked with a dagger and is
historical: it was measured once, as the page says, and no command keeps it true.
"""

import argparse
from functools import cache
import json
from pathlib import Path
import re
import sys

from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import disk


__all__ = ["FIGURES", "PAGES", "MARK", "figure", "filled", "main"]


ROOT    = Path(__file__).parents[2]
REPORTS = ROOT / "docs" / "reports"

# Pages that quote figures. Decisions do not: theirs are of the day of the decision; isa.md is
# generated from tables.
PAGES = (ROOT / "README.md", *sorted(set((ROOT / "docs").glob("*.md")) - {ROOT / "docs/isa.md"}),
         *sorted((ROOT / "models").glob("*/README.md")))

MARK = re.compile(r"<!--([\w.-]+)-->(.*?)<!--/-->", re.S)


@cache
def _read(name):
    return json.loads((REPORTS / f"{name}.json").read_text(encoding="utf-8"))


def _row(name, **wanted):
    """The one row of the report ``name`` that has these values."""
    data = _read(name)
    rows = data if isinstance(data, list) else data["rows"]
    found = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    if len(found) != 1:
        raise LookupError(f"{name}.json has {len(found)} rows with {wanted}")
    return found[0]


def _decode(model, machine):
    """Figures of one stream: cycles a token, useful share, tokens a second."""
    def row():
        return _row("estimator", model=model, machine=machine)
    return {
        "cycles": lambda: f"{row()['cycles']:,.0f}",
        "useful": lambda: _percent(row()["useful"]),
        "rate":   lambda: f"{row()['clock_mhz'] * 1e6 / row()['cycles']:,.0f}",
    }


def _positions(positions):
    def row():
        return _row("positions", model="stories-5m", positions=positions)

    def rate(cycles):
        return f"{row()['clock_mhz'] * 1e6 / row()[cycles]:,.0f}"
    return {
        "prompt":  lambda: rate("prompt"),
        "prefill": lambda: f"{row()['prefill_gain']:.1f}",
        "streams": lambda: rate("streams"),
        "gain":    lambda: f"{row()['streams_gain']:.1f}",
    }


def _board(name):
    def lut():
        return _read(name)["resources"]["LUT4"]

    def clock(net):
        return _read(name)["clocks"][net]["reached_mhz"]
    return {
        "mhz":        lambda: f"{clock('clocks.pll.clock'):.1f}",
        "memory-mhz": lambda: f"{clock('clocks.pll.memory'):.1f}",
        "luts":       lambda: f"{lut()['used']:,}",
        "of-luts":    lambda: f"{lut()['of']:,}",
        "share":      lambda: _percent(lut()["used"] / lut()["of"], 0),
        "bram":       lambda: f"{_read(name)['resources']['block RAM']['used']}",
        "multiplier": lambda: f"{_read(name)['resources']['multiplier']['used']}",
    }


def _shares(streams):
    """What the memory's cycles go to with so many streams, as performance.md groups it, how much
    the array waits for codes, and all streams' tokens a second."""
    def row():
        return _row("roofline", model="stories-5m", target="ulx3s-85f", streams=streams)

    def memory(*names):
        return lambda: _percent(sum(row()["memory_shares"][name] for name in names))
    return {
        "weights":    memory("weights"),
        "parameters": memory("parameters"),
        "loads":      memory("loads"),
        "idle":       memory("refresh", "late"),
        "full":       memory("full"),
        "waits":      lambda: _percent(row()["unit_shares"]["array"]["operand"]),
        "rate":       lambda: f"{streams * row()['clock_mhz'] * 1e6 / row()['cycles']:,.0f}",
    }


def _percent(share, digits=1):
    return f"{100 * share:.{digits}f} %"


def _area():
    """Figures of the core alone on the 85F."""
    def core():
        return _read("area")["ulx3s-85f"]["blocks"]["core"]
    return {key: (lambda key=key: f"{core()[key]:,}")
            for key in ("lut4", "ff", "dp16kd", "mult18x18d", "fmax_mhz")} | {
        "share": lambda: _percent(
            core()["lut4"] / _read("ulx3s-85f")["resources"]["LUT4"]["of"], 0)}


def _perplexity(model):
    def row():
        rows = _read("numerics")["models"][model]["rows"]
        return next(row for row in rows if (row["significand"], row["exponent"]) == (12, 6))
    return {
        "float64": lambda: f"{_read('numerics')['models'][model]['float64']:.2f}",
        "golden":  lambda: f"{row()['perplexity']:.2f}",
        "change":  lambda: f"{100 * row()['change']:+.2f} %",
        "same":    lambda: _percent(row()["same"]),
        "tokens":  lambda: f"{_read('numerics')['models'][model]['tokens']:,}",
    }


def _authors(model):
    def row(machine):
        return _row("authors", model=model, machine=machine)
    return {f"{short}.{key}": (lambda machine=machine, key=key:
                               _percent(row(machine)[key]))
            for short, machine in (("golden", "golden, 24 bits"), ("float64", "float64"))
            for key in ("error", "same")}


def _numbers(name, *keys):
    return {key: (lambda key=key: f"{_read(name)[key]:,}") for key in keys}


def _named(prefix, figures):
    return {f"{prefix}.{key}": value for key, value in figures.items()}


def _worst(name, key):
    return lambda: _percent(max(abs(row[key]) for row in _read(name)["rows"]))


def _range(name, key, digits=1):
    def text():
        values = [row[key] for row in _read(name)["rows"]]
        return f"{100 * min(values):.{digits}f} to {100 * max(values):.{digits}f} %"
    return text


FIGURES = {
    **_named("decode.ulx3s-85f", _decode("stories-5m", "ulx3s-85f")),
    **_named("decode.ulx3s-85f-133", _decode("stories-5m", "ulx3s-85f-133")),
    **_named("decode-30m.ulx3s-85f", _decode("stories-30m", "ulx3s-85f")),
    **_named("layer.370m", _decode("370M, one layer", "64-bit memory, 40 lanes")),
    **_named("layer.1.3b", _decode("1.3B, one layer", "64-bit memory, 40 lanes")),
    **_named("layer.370m-128", _decode("370M, one layer", "128-bit memory, 80 lanes")),
    "estimator.worst": _worst("estimator", "error"),
    **_named("positions.8", _positions(8)),
    **_named("positions.4", _positions(4)),
    "sdram.sequential": _range("sdram", "sequential"),
    **{key: value for name in ("ulx3s-85f", "ulx3s-85f-133", "ulx3s-25f", "icepi-zero",
                               "icesugar-pro")
       for key, value in _named(f"board.{name}", _board(name)).items()},
    **{key: value for streams in (1, 4, 8)
       for key, value in _named(f"shares.{streams}", _shares(streams)).items()},
    **_named("area", _area()),
    **_named("perplexity.stories-5m", _perplexity("stories-5m")),
    **_named("perplexity.stories-30m", _perplexity("stories-30m")),
    **_named("authors.a", _authors("mmf-tiny-a")),
    **_named("authors.b", _authors("mmf-tiny-b")),
    **_named("flips", _numbers("flips", "flips", "reported", "patterns", "patterns_reported",
                                "clean", "false_reports")),
    **_named("programs", _numbers("programs", "instructions", "illegal_words", "machines",
                                  "differences")),
    **_named("formal", _numbers("formal", "proofs", "hold")),
    **_named("mutants", _numbers("mutants", "mutants", "caught", "equivalent", "survived")),
    "mutants.real": lambda: f"{_read('mutants')['mutants'] - _read('mutants')['equivalent']}",
    "mutants.share": lambda: _percent(_read("mutants")["caught"] / (
        _read("mutants")["mutants"] - _read("mutants")["equivalent"])),
    **_named("hostile", _numbers("hostile", "inputs", "misbehaved")),
    **_named("noise", _numbers("link", "runs", "conversations", "right")),
    "large.seconds": lambda: f"{_read('large')['seconds']:.1f} s",
    "large.bytes":   lambda: f"{_read('large')['bytes'] / 1e6:.0f} MB",
    "large.token":   lambda: f"{_read('large')['token_seconds']:.2f} s",
    **{f"coverage.{package}.{what}": (lambda package=package, what=what:
                                      _percent(_read("coverage")["shares"][package][what]))
       for package in ("assembler", "firmware", "sim", "all") for what in ("lines", "branches")},
    "draws.one": lambda: _percent(_row("draws", streams=1)["overhead"]),
    "draws.all": lambda: _percent(_row("draws", streams=8)["overhead"]),
}


def figure(name):
    """The text of a figure; TernError if there is none of that name, or its report lacks it."""
    if name not in FIGURES:
        raise TernError(f"no figure {name!r}; tests/project/figures.py lists them")
    try:
        return FIGURES[name]()
    except (OSError, LookupError) as error:
        raise TernError(f"figure {name}: its report lacks it ({error!r}); make the report again"
                        ) from None


def filled(page):
    """The text ``page`` with all its figures as their reports have them."""
    return MARK.sub(lambda match: f"<!--{match[1]}-->{figure(match[1])}<!--/-->", page)


def main(argv=None):
    argparse.ArgumentParser(prog="python -m tests.project.figures", description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(argv)
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            disk.write_text(path, new)
            print(path.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(report(main))
