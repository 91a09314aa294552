"""A board and the host that talks to it.

    python -m firmware upload build/stories --port /dev/ttyUSB0     bring a model to a board
    python -m firmware chat build/stories --port /dev/ttyUSB0       talk to it
    python -m firmware selftest --port /dev/ttyUSB0                 is the board in order?
    python -m firmware counters --port /dev/ttyUSB0                 where do its cycles go?

With `--port sim` the first three work on a simulated board.
"""

from collections.abc import Sequence

from tern_fpga.assembler.console.commands import dispatch


COMMANDS = ("upload", "chat", "selftest", "counters")


def main(argv: Sequence[str] | None = None, prog: str = "python -m firmware") -> int | None:
    """Run the command line."""
    return dispatch(prog, __doc__,
                    {name: f"tern_fpga.firmware.{name}" for name in COMMANDS}, argv)
