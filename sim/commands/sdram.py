"""Run the SDRAM controller with the checking model of its part: rate, and random accesses."""

import argparse
from dataclasses import dataclass
import json
from pathlib import Path
import subprocess
from typing import Any

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.console.commit import made_by, write_report
from tern_fpga.assembler.contract.config import Config, preset
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.sim.rtl import hardware, sdram_parts, verilate


__all__ = ["HELP", "EXAMPLE", "CASES", "Result", "bench_sources", "run_bench", "add_arguments",
           "run"]


HELP = "prove the SDRAM controller against the model of its part"
EXAMPLE = "python -m sim sdram --words 1000000 --report docs/reports/sdram.md"

_SOURCES = Path(verilate.__file__).resolve().parent
_POWER_UP_US = 20           # instead of 100 or 200, which tests/hw/test_sdram.py runs once

# Names of clocks, and their MHz. As on the parts' labels, 133 MHz is a period of 7.5 ns, and 143
# MHz one of 7 ns. CASES: (part, clock, CAS latency), all combinations that the part allows.
CLOCKS = {"100": 100.0, "133": 400 / 3, "143": 1000 / 7}
CASES = [(part, clock, cas) for part, values in sdram_parts.PARTS.items()
         for clock, mhz in CLOCKS.items() for cas in (2, 3)
         if values[f"tCK{cas}"] <= 1e6 / mhz + 1]


@dataclass(frozen=True)
class Result:
    """Counts of a run without an error."""
    read: int               # words
    written: int            # words
    span: int               # cycles from the first word read to the last
    latency: int            # fewest cycles from a command to its first word
    refreshes: int
    cycles: int

    @property
    def rate(self) -> float:
        """Words read in a cycle, from the first word to the last."""
        return self.read / self.span


def bench_sources(part: str, clock_mhz: float, cas: int, *, fill: int,
                  config: Config | None = None, power_up_us: float = _POWER_UP_US,
                  controller: str | None = None, **changes: int) -> dict[str, str]:
    """Files of the bench as {name: text}; the top module is ``sdram_bench``.

    ``fill``: memory words that hold data at the start. ``controller``: the controller's Verilog;
    None: generate it. ``changes``: parameters of the model that differ from the part's.
    """
    config = config or preset("ulx3s-85f")
    if controller is None:
        controller = hardware.verilog(config, "sdram", "--part", part, "--clock-mhz", clock_mhz,
                                      "--cas-latency", cas, "--power-up-us", power_up_us)
    model = sdram_parts.parameters(part, clock_mhz=clock_mhz, depth=config.memory_words,
                                   power_up_us=power_up_us, **changes)
    command_bits = (config.memory_words - 1).bit_length() + 8
    defines = (f"`define TERN_COMMAND_BITS {command_bits}\n"
               f"`define TERN_MEMORY_BITS {config.memory_bits}\n"
               f"`define TERN_FILL {fill}\n`define TERN_PART {model}\n")
    return {"controller.v": controller, "sdram.v": (_SOURCES / "sdram.v").read_text("utf-8"),
            "sdram_bench.v": defines + (_SOURCES / "sdram_bench.v").read_text(encoding="utf-8")}


def _bench(sources: dict[str, str]) -> Path:
    harness = _SOURCES / "sdram_bench.cpp"
    key = verilate.key(*sources.items(), harness.read_bytes(),
                       Path(verilate.__file__).read_bytes())

    def build(folder: Path) -> None:
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        verilate.translate(folder, [folder / name for name in sources], "sdram_bench",
                           "--x-assign", "fast", "--x-initial", "fast")
        verilate.compile_model(folder, "bench", sources=[harness], flags=["-O2"])

    return verilate.once(verilate.cache() / "sdram" / key, build) / "bench"


def run_bench(part: str, clock: str, cas: int, *, random: bool, words: int, seed: int = 1,
              fill: int = 1 << 20, **options: Any) -> Result:
    """Run the bench in Verilator; RuntimeError if a rule is broken or a word is wrong.

    ``clock``: a key of ``CLOCKS``. ``random``: true for a mix of reads and writes, false for one
    long read. ``options``: those of :func:`bench_sources`.
    """
    bench = _bench(bench_sources(part, CLOCKS[clock], cas, fill=fill, **options))
    done = subprocess.run([bench, str(int(random)), str(words), str(seed)], encoding="utf-8",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    *said, last = done.stdout.splitlines() or [""]
    counts = json.loads(last) if last.startswith("{") else {}
    if not counts.pop("whole", False) or counts.pop("errors"):
        raise RuntimeError(f"{part} at {clock} MHz, CAS latency {cas}, seed {seed}: "
                           + "\n".join([*said, last]))
    return Result(**counts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--part", choices=sdram_parts.PARTS, action="append",
                        help="default: all; may be repeated")
    parser.add_argument("--words", type=int, default=1_000_000, metavar="N",
                        help="words of each run (default: a million)")
    parser.add_argument("--seed", type=int, default=1, metavar="N",
                        help="of the words and addresses (default: 1)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there")


PAGE = """\
# The SDRAM controller against its parts

{made}

Each line is one controller, made for that part, clock and CAS latency, with the checking model of
the part (`sim/rtl/sdram.v`) at its pins; no rule was broken and no word differed. *Sequential
read*: {words:,} words in commands of 64; the rate is the share of clock cycles, from the first word
to the last, in which a word came, refreshes included. *Random*: {words:,} words read and written in
commands of 1 to 64 in four pieces of memory, some without idle times, some with, some with late
write words, each read compared with a reference memory; seed {seed}.

| part | MHz | CAS latency | sequential read | refreshes | random: read | written | cycles |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def run(args: argparse.Namespace) -> None:
    if args.words < 1:
        raise TernError(f"--words must be at least 1, not {args.words}")
    if args.report:
        disk.has_folder(args.report)
    lines, rows = [], []
    console = Console()
    table = Table("part", "MHz", "CL", "sequential read", "refreshes", "random: read", "written",
                  "cycles", box=None, pad_edge=False)
    try:
        with console.status("Building") as status:
            for part, clock, cas in CASES:
                if args.part and part not in args.part:
                    continue
                status.update(f"{part}, {clock} MHz, CAS latency {cas}")
                read = run_bench(part, clock, cas, random=False, words=args.words)
                mixed = run_bench(part, clock, cas, random=True, words=args.words, seed=args.seed)
                row = [part, clock, str(cas), f"{read.rate:.2%}", f"{read.refreshes:,}",
                       f"{mixed.read:,}", f"{mixed.written:,}", f"{mixed.cycles:,}"]
                rows.append({"part": part, "mhz": clock, "cas_latency": cas,
                             "sequential": read.rate})
                table.add_row(*row)
                lines.append("| " + " | ".join(row) + " |\n")
    finally:                # print what was measured, even after an error
        if lines:
            console.print(table)
    if args.report:
        page = PAGE.format(words=args.words, seed=args.seed, made=made_by("make sdram"))
        write_report(args.report, page + "".join(lines), rows=rows)
