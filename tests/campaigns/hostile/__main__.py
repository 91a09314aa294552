"""Draws hostile inputs, runs them, and writes what came of them."""

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
import random
import sys
import time

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tests.campaigns.hostile import models, programs, talk
from tests.campaigns.hostile.corpus import Corpus
from tests.campaigns.hostile.sandbox import MEMORY, SECONDS, Sandbox


KINDS = (models.configs, models.headers, models.bodies, models.shards, models.names,
         programs.tasm, programs.binaries, programs.images, programs.manifests,
         talk.words, talk.prompts, talk.frames)


@dataclass
class Run:
    """One input and its outcome; ``process``: that of the same input by ``python -m``, or None."""
    number: int
    case: object
    outcome: object
    process: object

    @property
    def faults(self):
        found = list(self.outcome.faults)
        if self.process is not None:
            found += [f"as a process: {fault}" for fault in self.process.faults]
            if self.process.status != self.outcome.status:
                found.append(f"status {self.outcome.status}, as a process {self.process.status}")
        return found

    def __str__(self):
        what = f"{self.case.kind}, {self.case.what}: {' '.join(self.case.command)!r}"
        lines = [*self.faults, *(line[:300] for line in self.outcome.err.splitlines()[-12:])]
        return f"{self.number}: {what[:200]}\n    " + "\n    ".join(lines)


def draw(corpus, seed, number):
    """Input ``number`` of a run: the kinds in turn, each input from a generator of its own."""
    return KINDS[number % len(KINDS)](corpus, random.Random(f"{seed} {number}"))


def run(numbers, seed, every=0):
    """A :class:`Run` of each input, as it comes; ``every``: how many of them make one that is run
    in an interpreter of its own too."""
    corpus = Corpus()
    sandbox = Sandbox({name: corpus.whole[name] for name in
                       ("config.json", "model.safetensors", "tokenizer.json")})
    try:
        due = 0
        for number in numbers:
            case = draw(corpus, seed, number)
            due += bool(every)
            # What is patched in cannot be in a new interpreter.
            process = due >= every > 0 and not case.prepare
            outcome = sandbox.run(case)
            yield Run(number, case, outcome, sandbox.run(case, True) if process else None)
            due = 0 if process else due
    finally:
        sandbox.close()


def _table(runs):
    rows = defaultdict(list)
    for each in runs:
        rows[each.case.kind].append(each)
    lines = ["| inputs | number | refused | still valid | longest, s | most memory, MB "
             "| also as a process | misbehaved |", "| --- " * 8 + "|"]
    for kind, some in [*rows.items(), ("**all**", runs)]:
        outcomes = [each.outcome for each in some]
        processes = [each.process for each in some if each.process]
        lines.append(
            f"| {kind} | {len(some)} | {sum(o.status == 2 for o in outcomes)} | "
            f"{sum(o.status == 0 for o in outcomes)} | "
            f"{max(o.seconds for o in outcomes + processes):.1f} | "
            f"{max(o.memory for o in outcomes + processes) / 1e6:.0f} | {len(processes)} | "
            f"{sum(bool(each.faults) for each in some)} |")
    return lines


def _page(runs, command):
    bad = [each for each in runs if each.faults]
    ones = sum(each.outcome.status == 1 for each in runs)
    lines = [
        "# Hostile inputs", "",
        made_by(command), "",
        f"Each input is a folder of files, most of which are in order, and a "
        f"command line that reads them, run by its real entry point in a child process, and some "
        f"once more by `python -m` in a new interpreter. An input misbehaves if its exit status "
        f"is neither 0 nor 2, if status 2 comes without exactly one line of printable characters "
        f"that names the file or the option, if there is a traceback or a panic, if it takes more "
        f"than {SECONDS} s of the processor or {MEMORY >> 20} MB, if any file in or beside its "
        f"folder is left, lost or changed that success would not write, or if it opens a file "
        f"beside its folder.", "", *_table(runs), "",
        f"{len(bad)} of {len(runs)} misbehaved. {ones} of the simulated boards that lie failed "
        f"their self-test, which is status 1 and a table. What the inputs are, and what they "
        f"cannot show: [docs/verification.md](../verification.md#hostile-inputs).", ""]
    return "\n".join(lines + [f"* {str(each).splitlines()[0]}" for each in bad])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=0, metavar="N",
                        help="run one of N in an interpreter of its own too")
    parser.add_argument("--only", type=int, metavar="NUMBER",
                        help="this input of the run alone, and what it says")
    parser.add_argument("-o", "--output", type=Path, metavar="REPORT.md")
    args = parser.parse_args(argv)
    if args.output:
        disk.has_folder(args.output)
    commit()                        # the one that begins
    runs, start = [], time.monotonic()
    numbers = range(args.inputs) if args.only is None else [args.only]
    try:
        for each in run(numbers, args.seed, args.every):
            runs.append(each)
            if each.faults or args.only is not None:
                print(each, flush=True)
            elif len(runs) % 500 == 0:
                print(f"{len(runs)} inputs", flush=True)
    except KeyboardInterrupt:
        print(f"stopped at {len(runs)} of {len(numbers)}")
    bad = sum(bool(each.faults) for each in runs)
    print("\n".join(_table(runs)))
    print(f"{len(runs)} inputs of seed {args.seed}, {bad} misbehaved, "
          f"{sum(each.process is not None for each in runs)} also as processes; "
          f"{time.monotonic() - start:.0f} s")
    if args.output:
        command = f"python -m tests.campaigns.hostile --inputs {args.inputs} --seed {args.seed}" \
            + (f" --every {args.every}" if args.every else "")
        write_report(args.output, _page(runs, command), command=command, inputs=len(runs),
                     misbehaved=bad)
    return bad > 0


if __name__ == "__main__":
    sys.exit(report(main))
