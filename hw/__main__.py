"""Hardware as Verilog.

    python -m hw verilog --target ulx3s-85f -o core.v               the core of a target
    python -m hw verilog --target sim-tiny --set lanes=20 -o core.v with a parameter changed
"""

import argparse
import sys

from assembler.errors import report
from hw import verilog


COMMANDS = {"verilog": verilog}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m hw", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__.splitlines()[0],
                                  description=command.__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(report(main))
