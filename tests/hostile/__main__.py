"""Draws hostile inputs, runs them, and writes what came of them."""

import argparse
from collections import defaultdict
from pathlib import Path
import random
import sys
import time

from tests.hostile import models, programs, talk
from tests.hostile.corpus import Corpus
from tests.hostile.sandbox import Sandbox


KINDS = (models.configs, models.headers, models.bodies, models.shards, models.names,
         programs.tasm, programs.binaries, programs.images, programs.manifests,
         talk.words, talk.prompts, talk.frames)


def draw(corpus, seed, number):
    """Input ``number`` of a run: kinds in turn, each input from a generator of its own."""
    return KINDS[number % len(KINDS)](corpus, random.Random(f"{seed} {number}"))


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--inputs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=None, metavar="N",
                        help="run every Nth in an interpreter of its own too")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="one input, with what it says")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    corpus = Corpus()
    sandbox = Sandbox({name: corpus.whole[name] for name in
                       ("config.json", "model.safetensors", "tokenizer.json")})
    rows, bad = defaultdict(list), 0
    start = time.monotonic()
    numbers = [args.only] if args.only is not None else range(args.inputs)
    for number in numbers:
        case = draw(corpus, args.seed, number)
        outcome = sandbox.run(case)
        rows[case.kind].append(outcome)
        if outcome.faults or args.only is not None:
            bad += bool(outcome.faults)
            print(f"{number}: {case.kind}, {case.what}: {' '.join(case.command)[:150]!r}\n    "
                  + "\n    ".join([*outcome.faults, *(line[:300] for line in
                                    outcome.err.splitlines()[-6 if args.only is None else -60:])]))
    print(f"{len(numbers)} inputs, seed {args.seed}: {bad} misbehaved, "
          f"{time.monotonic() - start:.0f} s")
    for kind, outcomes in rows.items():
        print(f"{kind:<26} {len(outcomes)} inputs, {sum(o.status == 2 for o in outcomes)} refused, "
              f"{max(o.seconds for o in outcomes):.2f} s, "
              f"{max(o.memory for o in outcomes) >> 20} MB")
    if args.only is not None:
        sandbox_files = sorted(str(p) for p in sandbox.box.rglob("*"))
        print(sandbox_files)
    sandbox.close()
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
