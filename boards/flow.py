"""From a board to its bitstream: netlist, synthesis, place and route, packing; one folder each."""

import hashlib
import importlib
import json
import re

from tern_fpga.assembler.errors import TernError
from tern_fpga.boards.top import Top
from tern_fpga.hw.tools.absorb import absorb_registers
from tern_fpga.hw.tools.verilog import made
from tern_fpga.hw.tools.yosys import HIDE_ELEMENTS, INSTALL, PLACER, run_tool


__all__ = ["TOP", "prepare", "synthesise", "name_clocks", "check_constraints", "route", "pack"]


TOP    = "top"             # name of the module, and of all files but what belongs to a seed

# Nets of the PLL's outputs, as the constraints call them.
CLOCKS = {"CLKOS": "clocks.pll.clock", "CLKOS2": "clocks.pll.shifted",
          "CLKOS3": "clocks.pll.memory"}


def prepare(name, board, folder, config=None):
    """Write netlist, constraints and script of the board ``name`` to ``folder``.

    Returns what nextpnr needs to know of the chip, and a digest of all that was written.
    :class:`hw.tools.verilog.Refused` where the board cannot be made as it is asked for.
    """
    module, platform = board.platform.split(".")
    try:
        platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), platform)()
    except ModuleNotFoundError as error:
        raise TernError(f"{error.name} is missing: {INSTALL}") from None
    # Positions in source files would make the netlist depend on where the project lies.
    plan = made(lambda: platform.prepare(Top(name=name, board=board, config=config), TOP,
                                         emit_src=False, script_after_read=HIDE_ELEMENTS))
    digest = hashlib.sha256()
    for file in (f"{TOP}.il", f"{TOP}.ys", f"{TOP}.lpf"):
        text = plan.files[file]
        (folder / file).write_text(text, encoding="utf-8")
        digest.update(text.encode())
    chip = [f"--{platform.device.removeprefix('LFE5U-').replace('F', 'k')}",
            "--package", platform.package.replace("BG", "CABGA"), "--speed", platform.speed]
    return chip, digest.hexdigest()


def synthesise(folder, say=lambda line: None):
    """``top.json`` from what :func:`prepare` wrote."""
    run_tool("yosys", "-q", f"{TOP}.ys", folder=folder, say=say)
    absorb_registers(folder / f"{TOP}.json")
    name_clocks(folder / f"{TOP}.json")
    check_constraints(folder)


def name_clocks(path):
    """Give the clocks in the netlist at ``path`` the names that the constraints know.

    A clock has a name in each module that it reaches, of which Yosys keeps any; nextpnr ignores a
    constraint for a net that it does not find.
    """
    netlist = json.loads(path.read_text(encoding="utf-8"))
    top = netlist["modules"][TOP]
    (pll,) = (cell for cell in top["cells"].values() if cell["type"] == "EHXPLLL")
    for output, name in CLOCKS.items():
        bits = pll["connections"].get(output)
        if bits:
            for other in [other for other, net in top["netnames"].items() if net["bits"] == bits]:
                del top["netnames"][other]
            top["netnames"][name] = {"hide_name": 0, "bits": bits, "attributes": {}}
    path.write_text(json.dumps(netlist), encoding="utf-8")


def check_constraints(folder):
    """TernError unless the clock constraints in ``folder`` bind: nextpnr ignores one for a net that
    the netlist does not have, and asks ``--freq`` of a clock that has none."""
    top    = json.loads((folder / f"{TOP}.json").read_text(encoding="utf-8"))["modules"][TOP]
    asked  = set(re.findall(r'^FREQUENCY (?:NET|PORT) "(.+?)" ',
                            (folder / f"{TOP}.lpf").read_text(encoding="utf-8"), re.MULTILINE))
    clocks = {CLOCKS[output] for cell in top["cells"].values() if cell["type"] == "EHXPLLL"
              for output in CLOCKS if cell["connections"].get(output)}
    if lost := asked - set(top["netnames"]) - set(top["ports"]):
        raise TernError(f"{folder / TOP}.lpf constrains {', '.join(sorted(lost))}, and the netlist "
                        f"has no net of that name: CLOCKS in boards/flow.py must name it")
    if free := clocks - asked:
        raise TernError(f"{folder / TOP}.lpf has no frequency for {', '.join(sorted(free))}, a "
                        f"clock of the PLL: boards/clocks.py must constrain it")


def route(folder, chip, *, seed, clock, say=lambda line: None):
    """``seed-N.config`` and its report ``seed-N.json``, timing met or not.

    ``clock`` is asked, in MHz, of what no constraint names.
    """
    run_tool("nextpnr-ecp5", *chip, "--json", f"{TOP}.json", "--lpf", f"{TOP}.lpf", "--seed", seed,
             "--freq", clock, *PLACER, "--timing-allow-fail", "--textcfg", f"seed-{seed}.config",
             "--report", f"seed-{seed}.json", "--quiet", folder=folder, log=f"seed-{seed}.log",
             say=say)


def pack(folder, seed, name):
    """``name.bit`` and ``name.svf`` of what was routed with ``seed``."""
    run_tool("ecppack", "--compress", "--input", f"seed-{seed}.config", "--bit", f"{name}.bit",
             "--svf", f"{name}.svf", folder=folder, log="")
