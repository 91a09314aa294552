"""Steps from a board to its bitstream: netlist, synthesis, place and route, packing.

All files of a board are in one folder.
"""

from collections.abc import Callable
import hashlib
import importlib
import json
from pathlib import Path
import re

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.boards.parts import Board
from tern_fpga.boards.top import Top
from tern_fpga.hw.tools.absorb import absorb_registers
from tern_fpga.hw.tools.verilog import made
from tern_fpga.hw.tools.yosys import HIDE_ELEMENTS, INSTALL, PLACER, run_tool


__all__ = ["TOP", "prepare", "synthesise", "name_clocks", "check_constraints", "route", "pack"]


TOP    = "top"             # name of the module, and of all files except those of a seed

# Names of the nets of the PLL's outputs in the constraints.
CLOCKS = {"CLKOS": "clocks.pll.clock", "CLKOS2": "clocks.pll.shifted",
          "CLKOS3": "clocks.pll.memory"}


def prepare(name: str, board: Board, folder: Path,
            config: Config | None = None) -> tuple[list[str], str]:
    """Write netlist, constraints and script of the board ``name`` to ``folder``.

    Returns (nextpnr's options for the chip, a digest of the written files).

    Raises
    ------
    hw.tools.verilog.Refused
        The board cannot be made with these parameters.
    TernError
        A package is missing.
    """
    assert board.platform               # boards.parts.find refuses boards without one
    module, kind = board.platform.split(".")
    try:
        platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), kind)()
    except ModuleNotFoundError as error:
        raise TernError(f"{error.name} is missing: {INSTALL}") from None
    # Source positions are left out, because they would make the netlist depend on the project's
    # path.
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


def synthesise(folder: Path, say: Callable[[str], object] = lambda line: None) -> None:
    """Make ``top.json`` from the files that :func:`prepare` wrote; TernError if a tool fails."""
    run_tool("yosys", "-q", f"{TOP}.ys", folder=folder, say=say)
    absorb_registers(folder / f"{TOP}.json")
    name_clocks(folder / f"{TOP}.json")
    check_constraints(folder)


def name_clocks(path: Path) -> None:
    """Give the clocks in the netlist at ``path`` the names in the constraints.

    A clock has a name in each module that it reaches, and Yosys keeps an arbitrary one. nextpnr
    ignores a constraint for a net that it does not find.
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


def check_constraints(folder: Path) -> None:
    """Raise TernError unless each clock constraint in ``folder`` matches a net, and each clock has
    a constraint.

    nextpnr ignores a constraint for a missing net, and uses ``--freq`` for a clock without one.
    """
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


def route(folder: Path, chip: list[str], *, seed: int, clock: float,
          say: Callable[[str], object] = lambda line: None) -> None:
    """Make ``seed-N.config`` and its report ``seed-N.json``, whether timing is met or not;
    TernError if nextpnr fails.

    ``clock``: MHz of clocks without a constraint.
    """
    run_tool("nextpnr-ecp5", *chip, "--json", f"{TOP}.json", "--lpf", f"{TOP}.lpf", "--seed", seed,
             "--freq", clock, *PLACER, "--timing-allow-fail", "--textcfg", f"seed-{seed}.config",
             "--report", f"seed-{seed}.json", "--quiet", folder=folder, log=f"seed-{seed}.log",
             say=say)


def pack(folder: Path, seed: int, name: str) -> None:
    """Make ``name.bit`` and ``name.svf`` from the routing of ``seed``; TernError on failure."""
    run_tool("ecppack", "--compress", "--input", f"seed-{seed}.config", "--bit", f"{name}.bit",
             "--svf", f"{name}.svf", folder=folder, log="")
