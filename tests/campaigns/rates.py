"""Decoding in the RTL, model by machine: useful share of the memory's peak, and the estimate.

    python -m tests.campaigns.rates [--only WORD ...] [--reports docs/reports]

Writes ``estimator.md`` and ``wide.md`` there. Not a part of ``make test``: it takes ten minutes of
one core. Exit status 1 if a bound is missed.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
import sys
import tempfile

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.estimate import Memory, estimate, memory_of
from tern_fpga.assembler.console.commit import made_by, write_report
from tern_fpga.assembler.contract.config import CLOCK_MHZ, SDRAM_MHZ, Config, preset
from tern_fpga.assembler.contract.sdram_parts import BOARDS
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tern_fpga.sim import host
from tern_fpga.sim.commands import perf
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl.machine import RtlMachine
from tests import random_model
from tests.compiled import TINY_A


__all__ = ["PAIRS", "WIDE", "measure", "main"]


ERROR, SHARE = 0.03, 0.97
ROOT = Path(__file__).parents[2]

# One layer of the published shapes (arXiv 2406.02528), and a small head.
LAYERS = {"370M, one layer": dict(hidden=1024, inner=2816),
          "1.3B, one layer": dict(hidden=2048, inner=5632)}

# As many lanes as a memory word has trits.
WIDE = {
    "64-bit memory, 40 lanes": Config(
        memory_bits=64, memory_bytes=1 << 25, lanes=40, vector_lanes=4, registers=256,
        register_elements=256, code_registers=64, prefetch_words=1024),
    "128-bit memory, 80 lanes": Config(
        memory_bits=128, memory_bytes=1 << 25, lanes=80, vector_lanes=8, registers=256,
        register_elements=256, code_registers=64, prefetch_words=1024),
}
LATENCY = 40                # cycles of their memory, as of a DDR3 controller


@dataclass(frozen=True)
class Pair:
    """``bound``: whether the useful share of the peak has one."""
    model: str
    machine: str
    tokens: int
    bound: bool = False


PAIRS = (
    Pair("mmf-tiny-a", "sim-tiny", 4), Pair("mmf-tiny-a", "ulx3s-25f", 4),
    Pair("stories-5m", "ulx3s-25f", 4), Pair("stories-5m", "ulx3s-85f", 8, True),
    Pair("stories-5m", "ulx3s-85f-133", 3, True),
    Pair("stories-30m", "ulx3s-85f", 2, True),
    *(Pair(model, machine, 3, True) for machine in WIDE for model in LAYERS),
)


def _image(pair, folder):
    config = WIDE.get(pair.machine) or preset(pair.machine)
    if pair.model in LAYERS:
        path = folder / pair.model
        if not path.exists():
            random_model.write(path, **LAYERS[pair.model], layers=1, vocab=256, dtype="BF16")
    else:
        path = TINY_A if pair.model == TINY_A.name else ROOT / "models" / pair.model
    return compile_model(path, config, pair.machine)


def _first_tokens(machine):
    machine.send(host.conversation(machine.config, [1], 2))
    machine.run()
    return machine.tokens


def measure(pair, folder):
    """(estimated cycles, :class:`sim.commands.perf.Performance`) of one stream."""
    image = _image(pair, folder)
    clock = CLOCK_MHZ.get(pair.machine, 100)
    if pair.machine in BOARDS:
        options, memory = dict(memory=pair.machine,
                               sdram_mhz=SDRAM_MHZ[pair.machine]), memory_of(pair.machine)
    else:
        options, memory = dict(latency=LATENCY if pair.machine in WIDE else None), Memory()
    found = perf.measure(image, clock_mhz=clock, tokens=pair.tokens, **options)
    if pair.machine in WIDE and _first_tokens(RtlMachine(image, **options)) != _first_tokens(
            Machine(image)):
        raise RuntimeError(f"{pair.model} on {pair.machine}: RTL and golden machine differ")
    return estimate(image, memory=memory)[0], found


_HEADS = "model", "machine", "cycles a token", "useful", "estimate", "error"

_ESTIMATOR = """\
# The estimate against the RTL

{made}

What the compiler predicts for a token of one stream (`assembler/compiler/estimate.py`, from the
program alone) beside what the RTL takes in steady state: boards with their SDRAM, its controller
and refreshes, the others with a memory that brings a word a cycle, after {latency} cycles on the
wide machines. *useful*: share of the memory's peak that moves parameters which a token must
read, each once. `tests/assembler/test_estimate.py` keeps the estimate within 3 % on three small
machines, for one stream and for all positions.

"""

_WIDE = """\
# Wider memories

{made}

Decoding one stream in the RTL on machines for memories of 64 and 128 bits (a word a cycle,
{latency} cycles of latency), with random weights in one layer of the published shapes and a head
of 256 tokens, the first tokens being the golden machine's; and `stories-30m` on `ulx3s-85f` with
its SDRAM. *useful*: share of the memory's peak that moves parameters which a token must read, each
once; to fill the columns up to whole blocks of lanes costs 1 to 2 % alone.

"""


def _cells(row):
    return (row["model"], row["machine"], f"{row['cycles']:,.0f}", f"{row['useful']:.1%}",
            f"{row['estimate']:,}", f"{row['error']:+.1%}")


def _page(head, rows):
    lines = [" | ".join(cells) for cells in (_HEADS, ("---", "---", *["---:"] * 4), *rows)]
    start = head.format(latency=LATENCY, made=made_by("make rates"))
    return start + "".join(f"| {line} |\n" for line in lines)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.rates",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", metavar="WORD",
                        help="pairs with this in the name of model or machine; may be repeated")
    parser.add_argument("--reports", metavar="DIR", type=Path, help="write the pages there")
    args = parser.parse_args(argv)
    if args.reports:
        disk.has_folder(args.reports / "estimator.md")
    table, rows, missed = Table(*_HEADS, box=None, pad_edge=False), [], []
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            if args.only and not any(word in f"{pair.model} {pair.machine}" for word in args.only):
                continue
            guess, found = measure(pair, Path(folder))
            error = guess / found.cycles - 1
            if abs(error) > ERROR or pair.bound and found.peak_share < SHARE:
                missed.append(f"{pair.model} on {pair.machine}")
            rows.append({"model": pair.model, "machine": pair.machine, "cycles": found.cycles,
                         "useful": found.peak_share, "estimate": guess, "error": error,
                         "clock_mhz": found.clock_mhz})
            table.add_row(*_cells(rows[-1]))
            print(*_cells(rows[-1]), sep="  ", file=sys.stderr)
    Console().print(table)
    if args.reports:
        for name, head, wanted in (("estimator.md", _ESTIMATOR, rows), ("wide.md", _WIDE, [
                row for row in rows
                if row["machine"] in WIDE or row["model"] == "stories-30m"])):
            write_report(args.reports / name, _page(head, [_cells(row) for row in wanted]),
                         rows=wanted)
    for name in missed:
        print(f"{name}: bound missed", file=sys.stderr)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(report(main))
