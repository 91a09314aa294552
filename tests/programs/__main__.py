"""Draws random programs, runs them on the RTL and on the golden machine, and compares."""

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
import sys
import time

from tests.programs.compare import compare, first_difference
from tests.programs.generate import draw
from tests.programs.machines import CONFIGS
from tests.programs.shrink import shrink


FOUND = Path(__file__).parents[1] / "data" / "programs"


@dataclass
class Total:
    """What ran on one machine."""
    name: str
    programs: int = 0
    instructions: int = 0
    cycles: int = 0
    counters: Counter = field(default_factory=Counter)
    status: Counter = field(default_factory=Counter)
    dropped: int = 0
    failures: list = field(default_factory=list)


def seed_of(seed, name, number):
    return f"{seed} {name} {number}"


def fails(program, trace):
    return compare(program, trace).difference is not None


def explain(program, difference, seed, folder):
    """Shrink a failing program and write it down; returns its path."""
    short = shrink(program, fails)
    steps = first_difference(short) or "no difference one instruction at a time"
    path = folder / f"{seed.replace(' ', '-')}.tasm"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(short.text(f"found by seed {seed}: {difference}",
                               *(line.strip() for line in steps.splitlines())))
    return path


def run(config, total, seed, number, folder):
    """One program on one machine; a failure is printed and shrunk."""
    which = seed_of(seed, total.name, number)
    program, trace, dropped = draw(config, seed=which)
    outcome = compare(program, trace)
    total.programs += 1
    total.instructions += trace.executed
    total.dropped += dropped
    total.counters.update(outcome.counters)
    total.status[trace.status[-1]] += 1
    if outcome.difference:
        print(f"{which}: {outcome.difference}", flush=True)
        path = explain(program, outcome.difference, which, folder) if folder else None
        print(f"    shrunk to {path}", flush=True)
        total.failures.append((which, outcome.difference, path))
    return outcome


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.programs", description=__doc__)
    parser.add_argument("--instructions", type=int, default=3000, metavar="N",
                        help="that are executed, over all machines")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="MACHINE[,MACHINE]", help=f"of {', '.join(CONFIGS)}")
    parser.add_argument("--number", type=int, help="this program alone")
    parser.add_argument("--found", type=Path, default=FOUND, metavar="DIR",
                        help="where shrunk failures go")
    args = parser.parse_args()
    names = args.only.split(",") if args.only else list(CONFIGS)
    totals, start = [], time.monotonic()
    for name in names:
        total = Total(name)
        totals.append(total)
        number = args.number or 0
        while total.instructions < args.instructions / len(names):
            run(CONFIGS[name], total, args.seed, number, args.found)
            number += 1
            if args.number is not None:
                break
        print(f"{name}: {total.instructions} instructions in {total.programs} programs, "
              f"{len(total.failures)} failed; {time.monotonic() - start:.0f} s", flush=True)
    return any(total.failures for total in totals)


if __name__ == "__main__":
    sys.exit(main())
