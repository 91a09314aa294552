"""Which lines and branches of the Python the tests reach.

    python -m tests.campaigns.cover -o docs/reports/coverage.md
    python -m tests.campaigns.cover -k compile        of some tests
"""

import argparse
import json
from pathlib import Path
import shlex
import subprocess
import sys

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk


ROOT = Path(__file__).parents[2]
DATA = ROOT / "build" / "coverage.json"
MOST = 12                   # places of a module that are named


def _share(part, whole):
    return f"{part / whole:.1%}" if whole else "-"


def _missing(module):
    """Lines that were not reached, as ranges, then branches that never went one way."""
    ranges = []
    for line in module["missing_lines"]:
        if ranges and line == ranges[-1][1] + 1:
            ranges[-1][1] = line
        else:
            ranges.append([line, line])
    lines = set(module["missing_lines"])
    jumps = [f"{start}→{'out' if end < 0 else end}" for start, end in module["missing_branches"]
             if start not in lines and abs(end) not in lines]
    names = [str(a) if a == b else f"{a}-{b}" for a, b in ranges] + jumps
    more  = len(names) - MOST
    return ", ".join(names[:MOST]) + (f" and {more} more" if more > 0 else "")


def _summaries(data):
    """Name -> coverage's summary of each package, and of all."""
    found = {}
    for package in ("assembler", "firmware", "sim"):
        parts = [module["summary"] for name, module in data["files"].items()
                 if name.startswith(f"{package}/")]
        if parts:
            found[package] = {key: sum(part[key] for part in parts)
                              for key in ("num_statements", "covered_lines", "num_branches",
                                          "covered_branches")}
    return found | {"all": data["totals"]}


def page(data, command):
    """Text of the report for coverage's JSON."""
    lines = ["# What of the Python the tests reach", "", made_by(command), "",
             "Lines and branches of `assembler`, `firmware` and `sim`, by `coverage` "
             f"{data['meta']['version']}, in the tests' own process and in those that they start "
             "with `python -m`. Benches run inside a simulator and are not measured. *Not "
             "reached*: lines, then branches (from a line to a line) that were taken one way "
             "only.", "",
             "| module | lines | reached | branches | reached | not reached |",
             "| --- | ---: | ---: | ---: | ---: | --- |"]
    rows = [(f"`{name}`", module["summary"], _missing(module))
            for name, module in sorted(data["files"].items())]
    rows += [(f"**{name}**", summary, "") for name, summary in _summaries(data).items()]
    for name, s, missing in rows:
        cells = (name, f"{s['num_statements']:,}",
                 _share(s["covered_lines"], s["num_statements"]), f"{s['num_branches']:,}",
                 _share(s["covered_branches"], s["num_branches"]), missing)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.cover", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", metavar="EXPRESSION", help="tests, as of pytest")
    parser.add_argument("-o", "--output", type=Path, metavar="REPORT.md")
    args = parser.parse_args(argv)
    if args.output:
        disk.has_folder(args.output)
    commit()                        # the one that begins
    chosen = ["-k", args.k] if args.k else []
    DATA.parent.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", "--cov",
                           f"--cov-report=json:{DATA}", *chosen], cwd=ROOT)
    if done.returncode:
        return done.returncode
    command = shlex.join(["python", "-m", "tests.campaigns.cover", *chosen])
    data = json.loads(DATA.read_text(encoding="utf-8"))
    text = page(data, command)
    print(text, end="")
    if args.output:
        write_report(args.output, text, command=command, shares={
            name: {"lines": total["covered_lines"] / total["num_statements"],
                   "branches": total["covered_branches"] / total["num_branches"]}
            for name, total in _summaries(data).items()})
    return 0


if __name__ == "__main__":
    sys.exit(report(main))
