"""Verilog of the hardware, from a process of its own: this package never imports ``hw``."""

from dataclasses import asdict
import json
from pathlib import Path
import sys

from sim import verilate


__all__ = ["verilog"]


# What takes long enough to be said.
_NOTES = {"verilog": "Writing the Verilog of the core", "soc": "Writing the Verilog of the board",
          "netlist": "Synthesising the core"}


def verilog(config, command="verilog", *options):
    """What ``python -m hw command`` writes for ``config``; made once, then from the cache."""
    package = Path(__file__).parents[1] / "hw"
    files = sorted([*package.glob("*.py"), *(package.parent / "assembler").glob("*.py")])
    key = verilate.digest(config.digest, command, *options,
                          *(path.read_bytes() for path in files))

    def build(folder):
        (folder / "config.json").write_text(json.dumps(asdict(config)))
        verilate.run([sys.executable, "-m", "hw", command, "--config", folder / "config.json",
                      "-o", folder / "hw.v", *options],
                     name=f"python -m hw {command}", cwd=package.parent)

    folder = verilate.once(verilate.cache() / "core" / key, build, _NOTES.get(command))
    return (folder / "hw.v").read_text()
