"""``python -m sim``: run an image on the golden machine, on the core's RTL, or in float."""

from collections.abc import Sequence

from tern_fpga.assembler.console.commands import dispatch


COMMANDS = ("generate", "logits", "perplexity", "numerics", "lockstep", "perf", "roofline",
            "positions", "netlist", "sdram", "demo", "board")


def main(argv: Sequence[str] | None = None, prog: str = "python -m sim") -> int | None:
    return dispatch(prog, __doc__.partition(": ")[2],
                    {name: f"tern_fpga.sim.commands.{name}" for name in COMMANDS}, argv)
