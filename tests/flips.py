"""Bits of the weights go bad in the memory of the simulated core: docs/reports/flips.md.

    python -m tests.flips --flips 500 -o docs/reports/flips.md
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
import random
import tempfile
import time

from rich.console import Console

from assembler import files
from assembler.commit import commit, made_by
from assembler.errors import report
from sim import host
from sim.rtl import RtlMachine
from tests.compiled import random_image
from tests.programs.machines import CONFIGS
from tests.test_lockstep import ODD


__all__ = ["Flip", "Outcome", "Campaign", "MACHINES", "STREAMS"]


# By the bits of a memory word. Small ones that other tests build too.
MACHINES = {config.memory_bits: config for config in (CONFIGS["narrow"], ODD, CONFIGS["wide"])}

STREAMS = ("body", "head")
SHAPE   = dict(hidden=30, inner=25, layers=4, vocab=30)
TOKENS  = 3
PROMPT  = [7]


@dataclass(frozen=True)
class Flip:
    """A bit of a memory word. ``late``: it goes bad after that share of the second token; None:
    before the program starts."""
    address: int
    bit: int
    late: float | None = None


@dataclass(frozen=True)
class Outcome:
    """``reported``: by the check after which token, None if by none; ``changed``: whether the
    tokens up to there are others."""
    reported: int | None
    changed: bool


class Campaign:
    """A machine with a small model in its memory.

    Parameters
    ----------
    bits : int
        Of :data:`MACHINES`.
    seed : int

    Members
    -------
    tokens, cycles : list of int
        What the machine says if nothing is wrong, and cycles from each token to the next.
    """
    def __init__(self, bits, seed=0):
        self.config = MACHINES[bits]
        with tempfile.TemporaryDirectory() as folder:
            self.image = random_image(Path(folder), self.config, **SHAPE)
        self.machine = RtlMachine(self.image, seed=seed, gap=8)
        self.draw = random.Random(f"{bits} {seed}")
        self.tokens, self.cycles = None, [0] * TOKENS
        assert self.run() == Outcome(None, False)

    def flip(self, number):
        """The flip of this number: streams, times and bits of a word take turns."""
        sizes = {entry["name"]: entry["words"] for entry in self.image.manifest["weight_streams"]}
        name  = STREAMS[number % 2]
        first = self.image.section("weights").address + (name == "head") * sizes["body"]
        late  = self.draw.random() * 0.8 if number % 8 in (3, 6) else None
        return Flip(first + self.draw.randrange(sizes[name]),
                    number // 2 % self.config.memory_bits, late)

    def _toggle(self, flip):
        place = flip.address * self.config.word_bytes + flip.bit // 8
        self.machine.memory[place] ^= 1 << flip.bit % 8

    def run(self, flip=None):
        """TOKENS tokens at most, checked as a host does; the memory is right again after it."""
        machine, check = self.machine, self.image.weight_check()
        machine.stop()
        machine.tokens.clear()
        if flip and flip.late is None:
            self._toggle(flip)
        machine.start()
        machine.send(host.conversation(self.config, PROMPT, TOKENS))
        reported = None
        for number in range(1, TOKENS + 1):
            before = machine.total_cycles
            machine.run(tokens=number)
            if self.tokens is None:
                self.cycles[number - 1] = machine.total_cycles - before
            if not check.agrees(machine.sums):
                reported = number
                break
            if flip and flip.late is not None and number == 1:
                machine.clock(int(flip.late * self.cycles[1]))
                self._toggle(flip)
        if flip:
            machine.stop()
            self._toggle(flip)
        if self.tokens is None:
            self.tokens = [*machine.tokens]
        return Outcome(reported, machine.tokens != self.tokens[:len(machine.tokens)])


def _page(rows, arguments, seconds):
    flips  = [row for row in rows if row[2]]
    missed = [row for row in flips if row[3].reported is None]
    wrong  = sum(row[3] != Outcome(None, False) for row in rows if not row[2])
    lines = [
        "# Bits of the weights that go bad", "",
        made_by(f"python -m tests.flips --flips {arguments.flips} --seed {arguments.seed} --bits "
                f"{' '.join(map(str, arguments.bits))}"), "",
        f"{seconds:.0f} s of the processor, without the builds. In each run one bit of the weights "
        f"in the memory of the simulated core (RTL, a random model of {SHAPE['layers']} layers) "
        f"is turned over, before the program starts or while it computes the second of {TOKENS} "
        f"tokens; the host compares the checksum of the weight stream with the manifest after "
        f"each token. *other tokens*: the model said "
        f"something else before the report; in all other runs the checksum alone told.", "",
        f"**{len(flips) - len(missed)} of {len(flips)} flips reported**; {wrong} of "
        f"{len(rows) - len(flips)} runs without a flip reported or wrong.", "",
        "| memory word | stream | when | flips | bits of the word hit | after token 1 | 2 | 3 "
        "| not reported | other tokens |", "| --- | --- | --- |" + " ---: |" * 7]
    groups = dict.fromkeys((bits, stream, flip.late is None) for bits, stream, flip, _ in flips)
    for bits, stream, early in groups:
        found = [(flip, outcome) for *where, flip, outcome in flips
                 if where == [bits, stream] and (flip.late is None) == early]
        after = Counter(outcome.reported for _, outcome in found)
        hit   = len({flip.bit for flip, _ in found})
        lines.append(
            f"| {bits} bits | {stream} | {'before' if early else 'meanwhile'} | "
            f"{len(found)} | {hit} | {' | '.join(str(after[n]) for n in (1, 2, 3, None))} | "
            f"{sum(outcome.changed for _, outcome in found)} |")
    lines += [""] + [f"Not reported: {bits} bits, {flip}." for bits, _, flip, _ in missed]
    return "\n".join(lines).rstrip() + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flips", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bits", type=int, nargs="+", choices=MACHINES, default=[*MACHINES],
                        help="machines, by the bits of their memory words (default: all)")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.output:
        files.has_folder(arguments.output)
    commit()                        # the one that begins
    console, rows, start = Console(), [], time.process_time()
    for part, bits in enumerate(arguments.bits):
        campaign = Campaign(bits, arguments.seed)
        for number in range(part, arguments.flips, len(arguments.bits)):
            turn = number // len(arguments.bits)
            if turn % 10 == 0:
                rows.append((bits, None, None, campaign.run()))
            flip = campaign.flip(turn)
            rows.append((bits, STREAMS[turn % 2], flip, campaign.run(flip)))
            if rows[-1][3].reported is None:
                console.print(f"[red]not reported[/] {bits} bits, {flip}", highlight=False)
        console.print(f"{bits} bits: {len(rows)} runs so far, {time.process_time() - start:.0f} s",
                      highlight=False)
    page = _page(rows, arguments, time.process_time() - start)
    console.print(page, highlight=False, markup=False)
    if arguments.output:
        files.write(arguments.output, page.encode())
    return any((outcome.reported is None) == bool(flip) for _, _, flip, outcome in rows)


if __name__ == "__main__":
    raise SystemExit(report(main))
