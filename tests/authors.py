"""How near a compiled model is to its authors' outputs: ``python -m tests.authors FOLDER``.

FOLDER holds a checkpoint and ``golden.safetensors`` with ``input_ids`` and ``logits``.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from assembler.config import PRESETS
from sim.reference import Reference
from tests.compiled import compiled
from tests.test_golden_model import compare


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.authors",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    authors = load_file(folder / "golden.safetensors")
    theirs = authors["logits"].astype(np.float64)
    ours = Reference.from_checkpoint(folder).logits(authors["input_ids"])
    print(f"{'':18}error   same top-1")
    print(f"{'float64':18}{np.linalg.norm(ours - theirs) / np.linalg.norm(theirs):.2%}   "
          f"{(ours.argmax(-1) == theirs.argmax(-1)).mean():.1%}")
    base = PRESETS["sim-tiny"]
    for significand, exponent in ((12, 6), (14, 6), (16, 6), (18, 6), (20, 8), (24, 8)):
        config = replace(base, significand=significand, exponent=exponent)
        error, same = compare(compiled(folder, config), authors)
        print(f"golden, {significand:2} bits{'':3}{error:.2%}   {same:.1%}", flush=True)


if __name__ == "__main__":
    main()
