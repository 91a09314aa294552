"""Verilog of ``hw`` and ``boards``, from a process of its own: this package imports neither."""

from dataclasses import asdict
import json
from pathlib import Path
import subprocess
import sys

from sim import verilate


__all__ = ["verilog"]


_USES = {"hw": ("hw", "assembler"), "boards": ("boards", "hw", "assembler")}


def verilog(config, command="verilog", *options, package="hw"):
    """What ``python -m package command`` writes for ``config``; made once, then from the cache."""
    root = Path(__file__).parents[1]
    files = [path for name in _USES[package] for path in sorted((root / name).glob("*.py"))]
    key = verilate.digest(config.digest, package, command, *options,
                          *(path.read_bytes() for path in files))

    def build(folder):
        (folder / "config.json").write_text(json.dumps(asdict(config)))
        done = subprocess.run([sys.executable, "-m", package, command, "--config",
                               folder / "config.json", "-o", folder / "hw.v",
                               *map(str, options)],
                              cwd=root, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"python -m {package} {command} failed:\n{done.stderr}")

    return (verilate.once(verilate.cache() / "core" / key, build) / "hw.v").read_text()
