"""Boards, the models that fit them, and their bitstreams.

    python -m boards list              the boards, their machines and the models that fit
    python -m boards recommend MODEL   the boards that a model fits, and its speed on each
    python -m boards build BOARD       make a bitstream, which must meet its timing
    python -m boards report BOARD      area, clock and critical path of the last bitstream
    python -m boards picture FILE.svg  the committed reports of all boards in one picture
    python -m boards flash BOARD       load the bitstream onto the board
    python -m boards sdram BOARD       the Verilog of its SDRAM controller, for simulation
"""

from collections.abc import Sequence

from tern_fpga.assembler.console.commands import dispatch


COMMANDS = ("list", "recommend", "build", "report", "picture", "flash", "sdram")


def main(argv: Sequence[str] | None = None, prog: str = "python -m boards") -> int | None:
    return dispatch(prog, __doc__,
                    {name: f"tern_fpga.boards.{name}" for name in COMMANDS}, argv)
