"""``python -m sim``: run an image on the golden machine, on the core's RTL, or in float."""

import argparse
import importlib
import sys

from assembler.errors import report


# A module each, with HELP, EXAMPLE, add_arguments(parser) and run(args) -> status or None.
COMMANDS = ("generate", "logits", "perplexity", "lockstep", "perf", "sdram", "demo", "board")


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m sim", description=__doc__.partition(": ")[2])
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"sim.{name}")
        summary = getattr(module, "HELP", module.__doc__.splitlines()[0])
        command = commands.add_parser(
            name, help=summary, description=module.__doc__,
            epilog=f"example: {getattr(module, 'EXAMPLE', f'python -m sim {name} build/model')}")
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(argv)
    return args.run(args)


if __name__ == "__main__":
    sys.exit(report(main))
