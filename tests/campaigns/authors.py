"""How near a compiled model is to its authors' outputs.

    python -m tests.campaigns.authors FOLDER [FOLDER ...] [--report docs/reports/authors.md]

A folder holds a checkpoint and ``golden.safetensors`` with ``input_ids`` and ``logits``. One is
``tests/data/mmf-tiny-a``; ``mmf-tiny-b`` is too large to keep in the repository.
"""

import argparse
from dataclasses import replace
from pathlib import Path
import sys

import numpy as np
from safetensors.numpy import load_file

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tern_fpga.sim.reference import model as reference
from tests.compiled import compiled
from tests.sim.test_golden_model import compare


def measure(folder):
    """(machine, relative error of all logits, share of the same top-1) of each machine."""
    authors = load_file(folder / "golden.safetensors")
    theirs = authors["logits"].astype(np.float64)
    ours = reference.load(folder).logits(authors["input_ids"])
    yield ("float64", float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)),
           float((ours.argmax(-1) == theirs.argmax(-1)).mean()))
    base = PRESETS["sim-tiny"]
    for significand, exponent in ((12, 6), (14, 6), (16, 6), (18, 6), (20, 8), (24, 8)):
        config = replace(base, significand=significand, exponent=exponent)
        error, same = compare(compiled(folder, config), authors)
        yield f"golden, {significand} bits", float(error), float(same)


def _page(rows):
    return "\n".join([
        "# Against the authors' logits", "",
        made_by("python -m tests.campaigns.authors FOLDER ... --report FILE.md"), "",
        "Logits of all positions against those of the authors' implementation (fp32 on a GPU), for "
        "checkpoints with random weights. Bits are those of the significand. `mmf-tiny-a` is in "
        "`tests/data`; `mmf-tiny-b` is too large for the repository and not part of it.", "",
        "| checkpoint | machine | relative error | same top-1 |", "| --- | --- | ---: | ---: |",
        *(f"| {row['model']} | {row['machine']} | {row['error']:.2%} | {row['same']:.1%} |"
          for row in rows), ""])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.authors",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write a page there")
    args = parser.parse_args(argv)
    if args.report:
        disk.has_folder(args.report)
    commit()                        # the one that begins
    rows = []
    for folder in args.folders:
        for name, error, same in measure(folder):
            rows.append({"model": folder.name, "machine": name, "error": error, "same": same})
            print(f"{folder.name:12} {name:18} error {error:.2%}   same top-1 {same:.1%}",
                  flush=True)
    if args.report:
        write_report(args.report, _page(rows), rows=rows)


if __name__ == "__main__":
    sys.exit(report(main))
