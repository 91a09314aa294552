"""Ternary language models on small FPGAs.

    tern-fpga demo                        compile a model, and let the simulated core tell a story
    tern-fpga compile MODEL -o DIR        a checkpoint into an image, or text into a program
    tern-fpga generate DIR --prompt TEXT  continue a prompt, on any engine
    tern-fpga logits, perplexity, numerics, lockstep
                                          compare engines with each other and with float64
    tern-fpga perf DIR                    speed in RTL; and roofline, positions
    tern-fpga boards list                 boards: recommend, build, report, picture, flash, sdram
    tern-fpga upload DIR, chat DIR        bring a model to a board, and talk to it
    tern-fpga selftest, counters          is the board in order, and where do its cycles go
    tern-fpga hw verilog                  the hardware as Verilog; and sdram, soc, netlist
    tern-fpga netlist, sdram, board       simulations of parts

Every command has `--help`. In a checkout, `python -m assembler`, `sim`, `firmware`, `boards` and
`hw` are the same commands.
"""

import importlib
import sys

from tern_fpga.assembler.errors import TernError, report


__all__ = ["main", "script"]


# Command -> the package whose `cli.main` runs it, and whether the command is one of its own.
_ALONE = {"compile": "assembler", "boards": "boards", "hw": "hw"}
_IN = {**dict.fromkeys(("generate", "logits", "perplexity", "numerics", "lockstep", "perf",
                        "roofline", "positions", "netlist", "sdram", "demo", "board"), "sim"),
       **dict.fromkeys(("upload", "chat", "selftest", "counters"), "firmware")}


def main(argv=None):
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
    return importlib.import_module(f"tern_fpga.{package}.cli").main(rest, prog=prog)


def script():
    """The installed command."""
    return report(main)
