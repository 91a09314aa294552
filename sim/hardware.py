"""Verilog of the hardware, from a process of its own: this package never imports ``hw``."""

from dataclasses import asdict
import json
from pathlib import Path
import subprocess
import sys

from sim import verilate


__all__ = ["verilog"]


def verilog(config, command="verilog", *options):
    """What ``python -m hw command`` writes for ``config``; made once, then from the cache."""
    package = Path(__file__).parents[1] / "hw"
    files = sorted([*package.glob("*.py"), *(package.parent / "assembler").glob("*.py")])
    key = verilate.digest(config.digest, command, *options,
                          *(path.read_bytes() for path in files))

    def build(folder):
        (folder / "config.json").write_text(json.dumps(asdict(config)), encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "hw", command, "--config",
                               folder / "config.json", "-o", folder / "hw.v",
                               *map(str, options)],
                              cwd=package.parent, capture_output=True, encoding="utf-8",
                              errors="replace")
        if done.returncode:
            raise RuntimeError(f"python -m hw {command} failed:\n{done.stderr}")

    return (verilate.once(verilate.cache() / "core" / key, build) / "hw.v").read_text("utf-8")
