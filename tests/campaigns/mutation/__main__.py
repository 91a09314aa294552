"""Injects faults into the generated hardware, and tells which of them the tests find.

    python -m tests.campaigns.mutation -o docs/reports/mutants.md       the whole campaign
    python -m tests.campaigns.mutation --block drain --tests drain      some blocks and tests only
    python -m tests.campaigns.mutation --list                           the mutants, nothing is run
    python -m tests.campaigns.mutation --prove "ram.Queue hw/common/ram.py:104"   the same machine?
"""

import argparse
from pathlib import Path
import sys

from tern_fpga.assembler.console.commit import commit, write_report
from tern_fpga.assembler.errors import report as report_errors
from tern_fpga.assembler.files import disk
from tern_fpga.sim.rtl import verilate
from tests.campaigns.mutation import report
from tests.campaigns.mutation.campaign import Campaign
from tests.campaigns.mutation.choice import choose, sites
from tests.campaigns.mutation.nodes import NODES, netlists
from tests.campaigns.mutation.prove import same


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.mutation", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=80, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--block", default="", help="mutants of blocks with this in their name")
    parser.add_argument("--tests", default="", help="tests with this in their name")
    parser.add_argument("--prove", metavar="NAME",
                        help="try to show that mutants with this in their name change nothing")
    parser.add_argument("-o", "--output", type=Path, metavar="REPORT.md")
    args = parser.parse_args(argv)
    if args.output:
        disk.has_folder(args.output)
    commit()                        # the one that begins
    texts  = netlists()
    chosen = choose(sites(*texts), args.mutants, args.seed)
    chosen = [mutant for mutant in chosen if args.block in mutant.block]
    if args.list:
        for mutant in chosen:
            print(f"{mutant.name}\n    {mutant.what}\n    {mutant.line}")
        return 0
    if args.prove is not None:
        for mutant in chosen:
            if args.prove in mutant.name:
                answer = "the same" if same(texts, mutant) else "not shown"
                print(f"{mutant.name}: {answer}", flush=True)
        return 0
    campaign = Campaign(chosen, verilate.cache() / "mutants", lambda line: print(line, flush=True))
    campaign.run([node for node in NODES if args.tests in node])
    print("\n".join(report.survivors(campaign)))
    if campaign.broken:
        print(f"fail without a mutant: {', '.join(campaign.broken)}", file=sys.stderr)
        return 1
    if args.output:
        command = f"python -m tests.campaigns.mutation --mutants {args.mutants} --seed {args.seed}"
        write_report(args.output, report.page(campaign, command), command=command,
                     **report.counts(campaign))
    return 0


if __name__ == "__main__":
    sys.exit(report_errors(main))
