"""Verilog of ``hw`` and ``boards``, made by another process: this package imports neither."""

from dataclasses import asdict
import json
from pathlib import Path
import sys

import tern_fpga
from tern_fpga.assembler.contract.config import Config
from tern_fpga.sim.rtl import verilate


__all__ = ["verilog"]


_ROOT = Path(tern_fpga.__file__).parents[1]
_USES = {"hw": ("hw", "assembler"), "boards": ("boards", "hw", "assembler")}
# Commands that take so long that they are announced.
_NOTES = {"verilog": "Writing the Verilog of the core", "soc": "Writing the Verilog of the board",
          "netlist": "Synthesising the core"}


def verilog(config: Config, command: str = "verilog", *options: object, package: str = "hw") -> str:
    """The Verilog that ``python -m package command`` writes for ``config``; it is cached."""
    root = Path(__file__).resolve().parents[2]
    files = [path for name in _USES[package] for path in sorted((root / name).rglob("*.py"))]
    key = verilate.digest(config.digest, package, command, *options,
                          *(path.read_bytes() for path in files))

    def build(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(asdict(config)), encoding="utf-8")
        verilate.run([sys.executable, "-m", f"tern_fpga.{package}", command,
                      "--config", folder / "config.json", "-o", folder / "hw.v", *options],
                     name=f"python -m {package} {command}", cwd=_ROOT)

    folder = verilate.once(verilate.cache() / "core" / key, build, _NOTES.get(command))
    return (folder / "hw.v").read_text("utf-8")
