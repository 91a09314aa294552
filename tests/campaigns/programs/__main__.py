"""Draws random programs, runs them on the RTL and on the golden machine, and compares."""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
import sys
import time

from tern_fpga.assembler.console.commit import commit, write_report
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import disk
from tests.campaigns.programs import illegal
from tests.campaigns.programs.compare import compare, first_difference
from tests.campaigns.programs.coverage import Coverage
from tests.campaigns.programs.generate import draw
from tests.campaigns.programs.machines import CONFIGS
from tests.campaigns.programs.report import page
from tests.campaigns.programs.shrink import shrink


FOUND = Path(__file__).parents[2] / "data" / "programs"
_WATCHED = 3                # one program of so many has its states watched, which takes time


@dataclass
class Total:
    """What ran on one machine. ``words``: illegal words by kind."""
    name: str
    programs: int = 0
    instructions: int = 0
    cycles: int = 0
    words: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)


def _fails(program, trace):
    return compare(program, trace).difference is not None


def write_down(program, difference, seed, folder):
    """Shrink a failing program into a file of ``folder``; returns its path."""
    short = shrink(program, _fails)
    steps = first_difference(short) or "no difference one instruction at a time"
    path = folder / f"{seed.replace(' ', '-')}.tasm"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(short.text(f"found by seed {seed}: {difference}",
                               *(line.strip() for line in steps.splitlines())), encoding="utf-8")
    return path


def run(total, seed, number, coverage, folder=None):
    """Program ``number`` on one machine; a failure is printed, shrunk into ``folder`` if there is
    one, and kept in ``total``."""
    which = f"{seed} {total.name} {number}"
    program, trace, _ = draw(CONFIGS[total.name], seed=which)
    outcome = compare(program, trace, watch=number % _WATCHED == 0)
    coverage.add(trace, outcome)
    total.programs += 1
    total.instructions += trace.executed
    total.cycles += outcome.counters.get("cycles", 0)
    if outcome.difference:
        text = f"program {which}: {outcome.difference}"
        print(text, flush=True)
        if folder:
            print(f"    shrunk to {write_down(program, outcome.difference, which, folder)}",
                  flush=True)
        total.failures.append(text)


def run_words(total, seed, count):
    """``count`` illegal words on one machine."""
    words, faults = illegal.run(CONFIGS[total.name], seed, count)
    total.words += words
    for text in faults:
        print(f"{total.name}, {text}", flush=True)
        total.failures.append(text)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.programs", description=__doc__)
    parser.add_argument("--instructions", type=int, default=3000, metavar="N",
                        help="that are executed, over all machines")
    parser.add_argument("--words", type=int, default=130, metavar="N",
                        help="illegal words, over all machines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="MACHINE[,MACHINE]", help=f"of {', '.join(CONFIGS)}")
    parser.add_argument("--number", type=int, help="this program of a machine alone")
    parser.add_argument("--found", type=Path, default=FOUND, metavar="DIR",
                        help="where failures go, shrunk (default: the tests run them from there)")
    parser.add_argument("-o", "--output", type=Path, metavar="REPORT.md")
    args = parser.parse_args(argv)
    if args.output:
        disk.has_folder(args.output)
    commit()                        # the one that begins
    names = args.only.split(",") if args.only else list(CONFIGS)
    print(f"seed {args.seed}: {args.instructions} instructions on {len(names)} machines",
          flush=True)
    totals, coverage, start, unwritten = [], Coverage(), time.monotonic(), None
    for name in names:
        total = Total(name)
        totals.append(total)
        if args.number is not None:
            run(total, args.seed, args.number, coverage, args.found)
            continue
        while total.instructions < args.instructions / len(names):
            run(total, args.seed, total.programs, coverage, args.found)
        run_words(total, args.seed, args.words // len(names))
        print(f"{name}: {total.instructions} instructions in {total.programs} programs and "
              f"{total.words.total()} words, {len(total.failures)} failed; "
              f"{time.monotonic() - start:.0f} s", flush=True)
        if args.output:             # after each machine, should this be cut off
            command = (f"python -m tests.campaigns.programs --instructions {args.instructions} "
                       f"--words {args.words} --seed {args.seed}")
            text = page(totals, CONFIGS, coverage, command, time.monotonic() - start)
            try:
                write_report(
                    args.output, text, command=command, machines=len(totals),
                    instructions=sum(total.instructions for total in totals),
                    illegal_words=sum(total.words.total() for total in totals),
                    differences=sum(len(total.failures) for total in totals))
                unwritten = None
            except TernError as error:      # the next machine's may be written
                unwritten = error
    print(f"{sum(t.instructions for t in totals):,} instructions of seed {args.seed}, "
          f"{sum(len(t.failures) for t in totals)} differences")
    for group, missing in coverage.missing().items():
        if missing:
            print(f"not reached, {group}: {'; '.join(missing)}")
    if unwritten:
        raise unwritten
    return any(total.failures for total in totals)


if __name__ == "__main__":
    sys.exit(report(main))
