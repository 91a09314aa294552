"""The page that a campaign leaves: docs/reports/programs.md."""

from collections import defaultdict
import re

from tern_fpga.assembler.console.commit import made_by
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.registers import COUNTERS
from tern_fpga.hw.control.tickets import Queue
from tests.campaigns.programs.coverage import (
    BRANCHES,
    CHOICES,
    DISTANCES,
    HAZARDS,
    LENGTHS,
    OPERANDS,
    STEPS,
    state_names,
)


__all__ = ["page"]


def _table(heads, rows):
    cells = [heads, ["---"] * len(heads), *rows]
    return ["| " + " | ".join(str(cell) for cell in row) + " |" for row in cells]


def _machines(totals, configs):
    rows = []
    for total in totals:
        c = configs[total.name]
        rows.append([
            f"`{total.name}`", c.positions, c.lanes, c.vector_lanes,
            f"{c.significand}/{c.exponent}", c.memory_bits,
            f"{c.registers} x {c.register_elements}", c.code_registers, c.accumulator_rows,
            c.prefetch_words, total.programs, f"{total.instructions:,}", f"{total.cycles:,}",
            sum(total.words.values()), len(total.failures)])
    rows.append(["**all**", *[""] * 9, sum(t.programs for t in totals),
                 f"{sum(t.instructions for t in totals):,}", f"{sum(t.cycles for t in totals):,}",
                 sum(sum(t.words.values()) for t in totals),
                 sum(len(t.failures) for t in totals)])
    return _table(["machine", "positions", "lanes", "vector lanes", "float", "memory bits",
                   "registers", "code registers", "accumulator rows", "prefetch", "programs",
                   "instructions", "cycles", "illegal words", "differences"], rows)


def _counts(counter, names):
    return ", ".join(f"{name if isinstance(name, str) else ' '.join(name)} {counter[name]:,}"
                     for name in names)


def _hazards(coverage):
    rows = []
    for one in Queue:
        for other in Queue:
            kinds = [kind for kind, a, b in HAZARDS if (a, b) == (one, other)]
            if kinds:
                rows.append([f"{one.name.lower()} to {other.name.lower()}", *(
                    " / ".join(f"{coverage.hazards[kind, one, other, distance]:,}"
                               for distance in DISTANCES) if kind in kinds else "-"
                    for kind in ("RAW", "WAR", "WAW"))])
    return _table(["older to younger", "read after write", "write after read",
                   "write after write"], rows)


def plain(path):
    """A module's path as both Amaranth and Verilator have it: neither's marks for doubles."""
    return tuple(re.sub(r"(\$|__024)\d+$", "", part) for part in path)


def _states(coverage, config):
    reached = defaultdict(set)
    for path, states in coverage.states.items():
        reached[plain(path)] |= states
    rows, missing = [], []
    for path, names in state_names(config).items():
        seen = {names[n] for n in reached[plain(path)] if n < len(names)}
        where = ".".join(plain(path)[1:-1])
        rows.append([f"`{where}`", f"{len(seen)} of {len(names)}"])
        missing += [f"{where}: {name}" for name in names if name not in seen]
    return rows, missing


def page(totals, configs, coverage, command, seconds):
    """Text of the report. ``totals``: of each machine; ``configs``: by name."""
    words = sum((total.words for total in totals), start=type(totals[0].words)())
    states, unseen = _states(coverage, configs[totals[0].name])
    missing = {**coverage.missing(), "states": unseen}
    reached = {
        "instructions": len(isa.INSTRUCTIONS), "operands": len(OPERANDS),
        "lengths": len(LENGTHS), "hazards": len(HAZARDS) * len(DISTANCES),
        "branches": len(BRANCHES), "steps": len(STEPS), "choices": len(CHOICES),
        "counters": len(COUNTERS), "endings": 3,
        "states": sum(int(row[1].split()[-1]) for row in states),
    }
    lines = [
        "# Random programs", "",
        made_by(command), "",
        f"In {seconds:.0f} s. Each program runs on the golden machine and, at "
        "full speed and with a memory that is late, pauses and refuses at random, on the RTL; then "
        "all vector, code, scalar and address registers, all of memory, all tokens, the program "
        "counter, the sticky flag and what the counters count of work must be the same. "
        "Instructions are those executed. What this is and what it cannot show: "
        "[docs/verification.md](../verification.md#random-programs).", "",
        *_machines(totals, configs), "",
        f"{sum(len(t.failures) for t in totals)} differences. Illegal words: "
        + _counts(words, list(words)) + ".", "",
        *(line for total in totals for text in total.failures
          for line in (f"* {total.name}, {text}", "")),
        "## What was reached", "",
        *_table(["what", "reached", "of"],
                [[group, reached[group] - len(missing[group]), reached[group]]
                 for group in reached]), "",
        "Not reached:", "",
        *([f"* {group}: {'; '.join(names)}" for group, names in missing.items() if names]
          or ["* nothing of the above."]), "",
        "Instructions: " + _counts(coverage.instructions,
                                   [i.mnemonic for i in isa.INSTRUCTIONS]) + ".", "",
        "Lengths, in elements: " + _counts(coverage.lengths, LENGTHS) + ".", "",
        "Steps: " + _counts(coverage.steps, STEPS) + ".", "",
        "Branches: " + _counts(coverage.branches, BRANCHES) + ".", "",
        "Sampled positions: " + _counts(coverage.choices, CHOICES) + ".", "",
        "### Hazards", "",
        "Pairs of instructions that touch a register, the younger one's nearest older one, by the "
        "queues that they wait in (a `matmul` is in two: `array` reads the codes, `drain` the "
        f"rest), {' / '.join(DISTANCES)} unit instructions apart. A dash is what the tables of the "
        "ISA rule out.", "",
        *_hazards(coverage), "",
        "### Cycles by cause", "",
        *_table(["counter", "cycles or words"],
                [[f"`{c.name}`", f"{coverage.counters[c.name]:,}"] for c in COUNTERS]), "",
        "### States", "",
        *_table(["state machine", "states reached"], states), "",
    ]
    return "\n".join(lines)
