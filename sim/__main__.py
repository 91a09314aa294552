"""``python -m sim``: run an image on the golden machine, on the core's RTL, or in float."""

import importlib
import sys

from assembler.commands import dispatch
from assembler.errors import report


COMMANDS = ("generate", "logits", "perplexity", "numerics", "lockstep", "perf", "roofline",
            "positions", "netlist", "sdram", "demo", "board")


def main(argv=None):
    commands = {name: importlib.import_module(f"sim.{name}") for name in COMMANDS}
    return dispatch("python -m sim", __doc__.partition(": ")[2], commands, argv)


if __name__ == "__main__":
    sys.exit(report(main))
