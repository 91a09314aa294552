"""Boards that a core is made for: what they are, what they hold, and their bitstreams.

    python -m boards list              the boards, their machines and what fits
    python -m boards recommend MODEL   the boards that a model fits, and how fast it runs there
    python -m boards build BOARD       make a bitstream, which must meet its timing
    python -m boards report BOARD      area, clock and critical path of the last one
    python -m boards picture FILE.svg  the committed reports of all boards in one picture
    python -m boards flash BOARD       bring it to the board
    python -m boards sdram BOARD       the Verilog of its SDRAM controller, for simulation
"""


from tern_fpga.assembler.console.commands import dispatch


COMMANDS = ("list", "recommend", "build", "report", "picture", "flash", "sdram")


def main(argv=None, prog="python -m boards"):
    return dispatch(prog, __doc__,
                    {name: f"tern_fpga.boards.{name}" for name in COMMANDS}, argv)
