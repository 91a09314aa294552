"""Puts faults into the sources of the board layer, and tells which of them the tests find.

    python -m tests.campaigns.board_faults                            the named ones and 24 more
    python -m tests.campaigns.board_faults --no-named --faults 24 --seed 7    others
    python -m tests.campaigns.board_faults --list --seed 7            which they are, nothing is run
"""

import argparse
from collections import Counter
import importlib
import itertools
import os
import sys
import time

from tests.campaigns.board_faults.campaign import COMMON, run, try_fault
from tests.campaigns.board_faults.named import NAMED
from tests.campaigns.board_faults.sites import draw, sites


def _say(name, verdict):
    spent = sum(os.times()[2:4])        # of the processor, by all trials so far
    told  = f" by {verdict.by}" if verdict.by else ""
    print(f"{spent:.0f} s, {verdict.kind}{told}: {name}",
          *([f"    {verdict.what}"] if verdict.what else []), sep="\n", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.board_faults",
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=24, metavar="N",
                        help="drawn by seed, those that can be built and are other hardware")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-named", dest="named", action="store_false")
    parser.add_argument("--only", default="", metavar="TEXT", help="faults with this in their name")
    parser.add_argument("--no-control", dest="control", action="store_false",
                        help="without a run of the tests on right sources")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    named = {f"{what} ({fault.name})": fault for what, fault in NAMED.items()
             if args.named and args.only in f"{what} {fault.name}"}
    drawn = (fault for fault in draw(args.seed) if args.only in fault.name)
    if args.list:
        print(f"{sum(map(len, sites().values()))} faults in {len(sites())} places")
        print(*named, *(fault.name for fault in itertools.islice(drawn, args.faults)), sep="\n")
        return 0
    begun = time.monotonic()
    for name in COMMON:
        importlib.import_module(name)
    verdicts = []
    control = try_fault(None, named=True) if args.control else None
    if control and control.kind != "survived":
        print(f"{control.by} fails without a fault: {control.what}", file=sys.stderr)
        return 1
    for name, fault in named.items():
        verdicts.append(try_fault(fault, named=True))
        _say(name, verdicts[-1])
    verdicts += [verdict for _, verdict in run(drawn, args.faults,
                                               lambda fault, verdict: _say(fault.name, verdict))]
    counts = Counter(verdict.kind for verdict in verdicts)
    print(", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())),
          f"in {time.monotonic() - begun:.0f} s")
    return 1 if counts["survived"] else 0


if __name__ == "__main__":
    sys.exit(main())
