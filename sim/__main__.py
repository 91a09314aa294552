"""``python -m sim``: run an image on the golden machine, on the core's RTL, or in float."""

import sys

from assembler.commands import dispatch
from assembler.errors import report


COMMANDS = ("generate", "logits", "perplexity", "numerics", "lockstep", "perf", "roofline",
            "positions", "netlist", "sdram", "demo", "board")


def main(argv=None):
    return dispatch("python -m sim", __doc__.partition(": ")[2],
                    {name: f"sim.{name}" for name in COMMANDS}, argv)


if __name__ == "__main__":
    sys.exit(report(main))
