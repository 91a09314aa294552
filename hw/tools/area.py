"""Area and clock of every block alone, on an ECP5.

    python -m tern_fpga.hw.tools.area                                 all of REPORTED: docs/reports
    python -m tern_fpga.hw.tools.area --target ulx3s-85f              one target
    python -m tern_fpga.hw.tools.area --target ulx3s-85f --block core print one block's row only

Each block is synthesised between the registers of :class:`hw.tools.harness.Harness` and keeps its
hierarchy there, so that only its own cells are counted. Results are kept in ``build/area`` under a
hash of the block's netlist (which covers its sources and the config), the script and the tools. A
second run measures only what changed, and an interrupted run resumes.
"""

import argparse
import hashlib
from importlib import metadata
import json
from pathlib import Path
import sys
import time

from amaranth.back import rtlil

from tern_fpga.assembler.console import machines
from tern_fpga.assembler.console.commit import commit
from tern_fpga.assembler.contract.sdram_parts import part
from tern_fpga.assembler.errors import report as report_errors
from tern_fpga.assembler.files import disk
from tern_fpga.hw.array.accumulate import TernaryAccumulate
from tern_fpga.hw.array.array import ArrayUnit
from tern_fpga.hw.array.codes import ColumnLoader
from tern_fpga.hw.array.drain import SumDrain
from tern_fpga.hw.array.unpacker import TritUnpacker
from tern_fpga.hw.common.divide import Divide
from tern_fpga.hw.common.exact_sum import ExactSum
from tern_fpga.hw.common.float import FloatAdd, FloatMultiply
from tern_fpga.hw.control.fetch import ProgramMemory
from tern_fpga.hw.control.host import HostRegisters
from tern_fpga.hw.control.scheduler import Scheduler
from tern_fpga.hw.control.scoreboard import Scoreboard
from tern_fpga.hw.control.sequencer import Sequencer
from tern_fpga.hw.core import Core
from tern_fpga.hw.memory.memory import MemoryArbiter
from tern_fpga.hw.memory.sdr.sdram import SdramController
from tern_fpga.hw.memory.transfer import TransferUnit, VectorLoader, VectorStorer
from tern_fpga.hw.memory.weights import WeightStream
from tern_fpga.hw.sample.sampler import Sampler
from tern_fpga.hw.tools import absorb
from tern_fpga.hw.tools.absorb import absorb_registers
from tern_fpga.hw.tools.harness import Harness
from tern_fpga.hw.tools.yosys import HIDE_ELEMENTS, PLACER, ToolError, run_tool, versions
from tern_fpga.hw.vector.activation import Activation
from tern_fpga.hw.vector.lane import Lane
from tern_fpga.hw.vector.memory import VectorMemory
from tern_fpga.hw.vector.vector import VectorUnit


__all__ = ["BLOCKS", "DEVICES", "REPORTED", "measure", "table", "page"]


ROOT    = Path(__file__).resolve().parents[2]
REPORTS = ROOT / "docs" / "reports"
BUILD   = ROOT / "build" / "area"

DEVICES = {"ulx3s-85f": "85k", "ulx3s-25f": "25k"}      # nextpnr's option for the device
PACKAGE = "CABGA381"
GRADE   = 6
CLOCK   = 100                                           # MHz, the target given to nextpnr
SEEDS   = 4                                             # tried in order until CLOCK is reached

# Name, and component for a machine's config: the core, its units, and the parts of these.
BLOCKS = {
    "core":           lambda config: Core(config=config),
    "host registers": lambda config: HostRegisters(config=config),
    "scheduler":      lambda config: Scheduler(config=config),
    "sequencer":      lambda config: Sequencer(config=config),
    "program memory": lambda config: ProgramMemory(config=config),
    "scoreboard":     lambda config: Scoreboard(config=config),
    "arbiter":        lambda config: MemoryArbiter(config=config),
    "SDRAM":          lambda config: SdramController(config=config, part=part("AS4C32M16SB-7"),
                                                     clock_mhz=CLOCK),
    "weight stream":  lambda config: WeightStream(config=config),
    "transfer unit":  lambda config: TransferUnit(config=config),
    "vector loader":  lambda config: VectorLoader(config=config),
    "vector storer":  lambda config: VectorStorer(config=config),
    "vector memory":  lambda config: VectorMemory(config=config),
    "vector unit":    lambda config: VectorUnit(config=config),
    "vector lane":    lambda config: Lane(fmt=config.float),
    "float multiply": lambda config: FloatMultiply(fmt=config.float),
    "float add":      lambda config: FloatAdd(fmt=config.float),
    "activation":     lambda config: Activation(fmt=config.float),
    "exact sum":      lambda config: ExactSum(fmt=config.float, lanes=config.vector_lanes),
    "divide":         lambda config: Divide(fmt=config.float),
    "array unit":     lambda config: ArrayUnit(config=config),
    "column loader":  lambda config: ColumnLoader(config=config),
    "unpacker":       lambda config: TritUnpacker(lanes=config.lanes),
    "accumulator":    lambda config: TernaryAccumulate(config=config),
    "drain":          lambda config: SumDrain(config=config),
    "sampler":        lambda config: Sampler(config=config),
}

# Content of the committed reports: all blocks of the largest machine, and the core of each.
REPORTED = {"ulx3s-85f": tuple(BLOCKS), "ulx3s-25f": ("core",)}

# The block keeps its hierarchy until its cells are counted; then it is merged with the harness.
SYNTHESIS = f"""
    read_rtlil top.il
    {HIDE_ELEMENTS}
    setattr -mod -set keep_hierarchy 1 top.block
    synth_ecp5 -top top
    tee -q -o stat.json stat -json
    setattr -mod -unset keep_hierarchy top.block
    flatten
    opt_clean
    write_json top.json
"""


def cells(stat, module):
    """Cells of ``module``, from the cell counts of Yosys.

    LUT4 counts sites, as nextpnr does: a carry cell takes 2, a 16x4 distributed RAM 6.
    """
    count = next(value["num_cells_by_type"] for name, value in stat["modules"].items()
                 if name.lstrip("\\") == module)
    sites = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
    return {
        "lut4":       sum(int(count.get(cell, 0)) * taken for cell, taken in sites.items()),
        "ff":         int(count.get("TRELLIS_FF", 0)),
        "dp16kd":     int(count.get("DP16KD", 0)),
        "mult18x18d": int(count.get("MULT18X18D", 0)),
    }


def _place(folder, device, seed):
    """Clock in MHz that nextpnr reaches; None if it gives up, which is a result too."""
    report = folder / f"report-{seed}.json"
    if not report.exists():
        try:
            # A missed clock is a result, not an error: the report has the clock reached.
            run_tool("nextpnr-ecp5", f"--{device}", "--package", PACKAGE, "--speed", GRADE,
                     "--freq", CLOCK, "--seed", seed, *PLACER, "--timing-allow-fail",
                     "--json", "top.json", "--report", "report.json", folder=folder)
        except ToolError as error:
            print(error, file=sys.stderr)
            return None
        (folder / "report.json").rename(report)
    clocks = json.loads(report.read_text(encoding="utf-8"))["fmax"].values()
    return round(min(clock["achieved"] for clock in clocks), 1)


def _reach(folder, device):
    """Best clock of the seeds that were tried, and its seed."""
    reached = {}
    for seed in range(1, SEEDS + 1):
        reached[seed] = _place(folder, device, seed)
        if reached[seed] is None or reached[seed] >= CLOCK:
            break
    return max(reached.items(), key=lambda item: item[1] or 0)


def measure(block, *, device, tools=()):
    """Synthesise, place and route ``block`` alone; returns its cells and clock as a dict.

    ``fmax_mhz`` is None if nextpnr gave up, as it does if the block does not fit.
    """
    netlist = rtlil.convert(Harness(block), name="top", emit_src=False)
    # Everything that decides the result is in the key, the step after synthesis included.
    parts   = "\n".join([netlist, SYNTHESIS, Path(absorb.__file__).read_text(encoding="utf-8"),
                         *PLACER, device, *tools])
    key     = hashlib.sha256(parts.encode()).hexdigest()[:16]
    folder  = BUILD / key
    result  = folder / "cells.json"
    if not result.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "top.il").write_text(netlist, encoding="utf-8")
        (folder / "top.ys").write_text(SYNTHESIS, encoding="utf-8")
        run_tool("yosys", "top.ys", folder=folder)
        row = cells(json.loads((folder / "stat.json").read_text(encoding="utf-8")), "top.block")
        # Registers inside block RAMs and multipliers take no flip-flop of the fabric.
        row["ff"] -= absorb_registers(folder / "top.json")
        disk.write_text(result, json.dumps(row))
    row = json.loads(result.read_text(encoding="utf-8"))
    row["seed"], row["fmax_mhz"] = _reach(folder, device)
    return row


def table(blocks):
    """Markdown table of ``{name: row}``."""
    lines = ["| block | LUT4 | FF | DP16KD | MULT18X18D | Fmax (MHz) |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for name, row in blocks.items():
        clock = row["fmax_mhz"] or "not routed"
        lines.append(f"| {name} | {row['lut4']:,} | {row['ff']:,} | {row['dp16kd']} | "
                     f"{row['mult18x18d']} | {clock} |")
    return "\n".join(lines)


def page(reports):
    """Text of docs/reports/area.md for the contents of area.json."""
    lines = ["# Area and clock, block by block", "",
             "<!-- Generated by `python -m tern_fpga.hw.tools.area`; the same numbers are in "
              "area.json. -->", "",
             "Each block synthesised, placed and routed alone between registers, with the first of "
             f"{SEEDS} seeds that reaches {CLOCK} MHz, or the best of them. LUT4 counts sites: a "
             "carry cell takes 2, a 16x4 distributed RAM 6."]
    for target, report in reports.items():
        lines += ["", f"## {target}", "",
                  f"`{report['command']}` at commit {report['commit']}; config digest "
                  f"{report['digest']}; {report['device']}, grade {report['grade']}, "
                  f"{report['package']}; {', '.join(report['tools'])}.", "",
                  table(report["blocks"])]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tern_fpga.hw.tools.area", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=DEVICES, action="append",
                        help="machine and device, default all; may be repeated")
    parser.add_argument("--block", choices=BLOCKS, action="append",
                        help="print this block's row and write no report; may be repeated")
    machines.add_set(parser, "measure other machines, and write no report")
    arguments = parser.parse_args(argv)
    commit()                        # of the start of the run, not of its end
    try:
        tools = versions()
    except metadata.PackageNotFoundError as error:
        parser.error(f"{error.name} is missing: pip install -e '.[boards]'")
    path  = REPORTS / "area.json"
    for target in arguments.target or DEVICES:
        config, rows = machines.chosen(target, arguments.set), {}
        for name in arguments.block or REPORTED[target]:
            start = time.monotonic()
            rows[name] = measure(BLOCKS[name](config), device=DEVICES[target], tools=tools)
            print(f"{target} {name}: {rows[name]} in {time.monotonic() - start:.0f} s",
                  file=sys.stderr, flush=True)
        print(table(rows))
        if arguments.block is None and not arguments.set:
            reports = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            reports[target] = {
                "commit": commit(),
                 "command": f"python -m tern_fpga.hw.tools.area --target {target}",
                "tools": tools, "digest": config.digest,
                "device": f"LFE5U-{DEVICES[target].upper().replace('K', 'F')}", "grade": GRADE,
                "package": PACKAGE, "clock_mhz": CLOCK, "blocks": rows}
            REPORTS.mkdir(parents=True, exist_ok=True)
            disk.write_text(path, json.dumps(reports, indent=1) + "\n")
            disk.write_text(REPORTS / "area.md", page(reports))


if __name__ == "__main__":
    sys.exit(report_errors(main))
