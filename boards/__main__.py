"""Boards that a core is made for: what they are, what they hold, what was measured.

    python -m boards list              the boards, their machines and what fits
    python -m boards report BOARD      area and clock of that board's blocks and core
"""

import argparse
import sys

from assembler.errors import report as report_errors
from boards import list as list_command, report


COMMANDS = {"list": list_command, "report": report}


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m boards", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        summary = command.__doc__.splitlines()[0]
        sub = commands.add_parser(name, help=summary, description=command.__doc__,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    arguments = parser.parse_args(argv)
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(report_errors(main))
