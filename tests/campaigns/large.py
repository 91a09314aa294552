"""A 370M-shaped checkpoint: what compiling it takes, and a token on the golden machine.

    python -m tests.campaigns.large [--keep DIR] [--report docs/reports/large.md]

Not a part of ``make test``: it writes 900 MB. Exit status 1 if a bound is missed.
"""

import argparse
from pathlib import Path
import resource
import subprocess
import sys
import tempfile
import time

from tern_fpga.assembler.console.commit import commit, made_by, write_report
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk, image
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import Machine
from tests import random_model


__all__ = ["main"]


COMPILE_SECONDS, COMPILE_BYTES, TOKEN_SECONDS = 60, 3e9, 5
TOKENS = 3


def measure(folder):
    """(seconds and peak bytes of the compiler, mean seconds a token)."""
    if not (folder / "checkpoint").exists():
        random_model.write(folder / "checkpoint", hidden=1024, inner=2816, layers=24, vocab=32000,
                           dtype="BF16", shards=2)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "assembler", str(folder / "checkpoint"), "-o",
                    str(folder / "image"), "--target", "ecpix5-85f"], check=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    made = image.load(folder / "image")
    machine = Machine(made)
    machine.send(host.conversation(made.config, [1], 1 + TOKENS))
    machine.run(tokens=1)       # unpacks all weights
    start = time.perf_counter()
    machine.run(tokens=1 + TOKENS)
    return seconds, peak, (time.perf_counter() - start) / TOKENS


def _page(seconds, peak, token):
    return "\n".join([
        "# A checkpoint of the published 370M's shape", "",
        made_by("python -m tests.campaigns.large --report FILE.md"), "",
        "Random weights. Times are those of the machine that ran it.", "",
        "| what | measured | at most |", "| --- | ---: | ---: |",
        f"| compiled in | {seconds:.1f} s | {COMPILE_SECONDS} s |",
        f"| peak memory of the compiler | {peak / 1e6:.0f} MB | {COMPILE_BYTES / 1e6:.0f} MB |",
        f"| golden machine, a token | {token:.2f} s | {TOKEN_SECONDS} s |", ""])


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.large",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--keep", metavar="DIR", type=Path,
                        help="work here, and leave or reuse the checkpoint")
    parser.add_argument("--report", type=Path, metavar="FILE.md", help="write a page there")
    args = parser.parse_args(argv)
    if args.report:
        disk.has_folder(args.report)
    commit()                        # the one that begins
    with tempfile.TemporaryDirectory() as scratch:
        seconds, peak, token = measure(args.keep or Path(scratch))
    print(f"compiled in {seconds:.1f} s (at most {COMPILE_SECONDS}), "
          f"peak {peak / 1e6:.0f} MB (at most {COMPILE_BYTES / 1e6:.0f}); "
          f"golden machine {token:.2f} s a token (at most {TOKEN_SECONDS})")
    if args.report:
        write_report(args.report, _page(seconds, peak, token), seconds=seconds, bytes=peak,
                     token_seconds=token)
    return int(seconds > COMPILE_SECONDS or peak > COMPILE_BYTES or token > TOKEN_SECONDS)


if __name__ == "__main__":
    sys.exit(report(main))
