"""Boards that a core is made for: what they are, what they hold, what was measured.

    python -m boards list              the boards, their machines and what fits
    python -m boards report BOARD      area and clock of that board's blocks and core
"""

import sys

from assembler.commands import dispatch
from assembler.errors import report as report_errors
from boards import list as list_command, report


COMMANDS = {"list": list_command, "report": report}


def main(argv=None):
    return dispatch("python -m boards", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(report_errors(main))
