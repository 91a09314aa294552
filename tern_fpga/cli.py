"""Ternary language models on small FPGAs.

    tern-fpga demo                        compile a model, and tell a story on the simulated core
    tern-fpga compile MODEL -o DIR        compile a checkpoint, or assemble a program
    tern-fpga generate DIR --prompt TEXT  continue a prompt, on any engine
    tern-fpga logits, perplexity, numerics, lockstep
                                          compare engines with each other and with float64
    tern-fpga perf DIR                    measure speed in RTL; see also roofline, positions
    tern-fpga boards list                 boards: recommend, build, report, picture, flash, sdram
    tern-fpga upload DIR, chat DIR        upload a model to a board, and chat with it
    tern-fpga selftest, counters          test a board, and show how it spends its cycles
    tern-fpga hw verilog                  write the Verilog; also sdram, soc, netlist, digest
    tern-fpga netlist, sdram, board       simulate parts of the hardware

Every command has `--help`. In a checkout, `python -m assembler`, `sim`, `firmware`, `boards` and
`hw` are the same commands.
"""

from collections.abc import Sequence
import importlib
import sys

from tern_fpga.assembler.errors import TernError, report
from tern_fpga.firmware import cli as firmware
from tern_fpga.sim import cli as sim


__all__ = ["main", "script"]


# Command -> the package whose `cli.main` runs it. In _ALONE, the package has only this command; in
# _IN, the command is one of its subcommands.
_ALONE = {"compile": "assembler", "boards": "boards", "hw": "hw"}
_IN = {**dict.fromkeys(sim.COMMANDS, "sim"), **dict.fromkeys(firmware.COMMANDS, "firmware")}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not words or words[0] in ("-h", "--help"):
        print(__doc__.strip())
        return 0
    name, *rest = words
    if name in _ALONE:
        package, prog = _ALONE[name], f"tern-fpga {name}"
    elif name in _IN:
        package, prog, rest = _IN[name], "tern-fpga", words
    else:
        raise TernError(f"no command {name!r}; see `tern-fpga --help`")
    status: int | None = importlib.import_module(f"tern_fpga.{package}.cli").main(rest, prog=prog)
    return status or 0


def script() -> int:
    """The entry point of the installed command; returns its exit status."""
    return report(main)
