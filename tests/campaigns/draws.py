"""What sampling costs on the core: cycles a step, in RTL with the board's SDRAM.

    python -m assembler models/stories-5m -o build/stories-85f --target ulx3s-85f
    python -m tests.campaigns.draws build/stories-85f --report docs/reports/draws.md

Not a part of ``make test``. Exit status 1 if a draw costs one stream more than 0.1 %, or all
streams together more than 4 %.
"""

import argparse
from pathlib import Path
import sys

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk, image as images
from tern_fpga.sim.commands.perf import chosen_memory, model_name
from tern_fpga.sim.host import conversation
from tern_fpga.sim.rtl.machine import RtlMachine


__all__ = ["main"]


ONE, ALL = 1.001, 1.04
STEPS = 3
CHOICES = {
    "greedy":          Sampling(),
    "temperature 0.8": Sampling(temperature=0.8),
    "and penalty 1.2": Sampling(temperature=0.8, repetition_penalty=1.2),
    "and top-k 8":     Sampling(temperature=0.8, top_k=8),
    "and top-k 32":    Sampling(temperature=0.8, top_k=32),
}


def measure(machine, streams, sampling):
    """Mean cycles of stream steps, the first left out."""
    for slot in range(streams):
        machine.send(conversation(machine.config, [5 + slot, 9, 20], STEPS + 2, slot=slot,
                                  sampling=sampling.with_seed(slot)))
    start, ends = len(machine.tokens), []
    for step in range(STEPS + 2):
        machine.run(tokens=start + streams * (step + 1))
        ends.append(machine.total_cycles)
    machine.run()
    return (ends[-1] - ends[1]) / STEPS


def _page(rows, image):
    heads = ("streams", *CHOICES, "most, above greedy")
    lines = [[str(row["streams"]), *(f"{each:,.0f}" for each in row["cycles"].values()),
              f"{row['overhead']:.2%}"] for row in rows]
    return "\n".join([
        "# What sampling costs", "",
        made_by("python -m tests.campaigns.draws DIR --report FILE.md"), "",
        f"Cycles of a step of {model_name(image)} on {image.manifest['target']}, in RTL with the "
        f"board's SDRAM, its controller and refreshes: the mean of {STEPS} steps.", "",
        *("| " + " | ".join(cells) + " |" for cells in (heads, ["---:"] * len(heads), *lines)), ""])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.draws", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write a page there")
    args = parser.parse_args(argv)
    if args.report:
        disk.has_folder(args.report)
    commit()                        # the one that begins
    image = images.load(args.directory)
    machine = RtlMachine(image, memory=chosen_memory(image.manifest.get("target"), "sdram"))
    table, worst, rows = Table(title="Cycles a step"), {}, []
    for column in ("streams", *CHOICES):
        table.add_column(column, justify="right")
    for streams in dict.fromkeys((1, image.config.positions)):
        cycles = [measure(machine, streams, sampling) for sampling in CHOICES.values()]
        worst[streams] = max(cycles) / cycles[0]
        rows.append({"streams": streams, "cycles": dict(zip(CHOICES, cycles)),
                     "overhead": worst[streams] - 1})
        table.add_row(str(streams), *(f"{each:,.0f}" for each in cycles))
    Console().print(table)
    if args.report:
        write_report(args.report, _page(rows, image), rows=rows, steps=STEPS)
    return int(worst.pop(1) > ONE or any(share > ALL for share in worst.values()))


if __name__ == "__main__":
    sys.exit(report(main))
