"""A board and the host that talks to it.

    python -m firmware upload build/stories --port /dev/ttyUSB0     bring a model to a board
    python -m firmware chat build/stories --port /dev/ttyUSB0       talk to it
    python -m firmware selftest --port /dev/ttyUSB0                 is the board in order?
    python -m firmware counters --port /dev/ttyUSB0                 where do its cycles go?

With `--port sim` the first three work on a simulated board.
"""

import sys

from assembler.commands import dispatch
from assembler.errors import report


COMMANDS = ("upload", "chat", "selftest", "counters")


def main(argv=None):
    return dispatch("python -m firmware", __doc__,
                    {name: f"firmware.{name}" for name in COMMANDS}, argv)


if __name__ == "__main__":
    sys.exit(report(main))
