"""Hardware as Verilog.

    python -m hw verilog --target ulx3s-85f -o core.v               the core of a target
    python -m hw verilog --target sim-tiny --set lanes=20 -o core.v with a parameter changed
    python -m hw sdram --target ulx3s-85f -o sdram.v                its SDRAM controller
    python -m hw soc --target ulx3s-85f -o soc.v                    the core with its host link
    python -m hw netlist --target sim-tiny -o core.v                the core as cells of an ECP5
"""

import sys

from assembler.commands import dispatch
from assembler.errors import report


COMMANDS = {"verilog": "hw.verilog", "sdram": "hw.sdram_verilog", "soc": "hw.soc_verilog",
            "netlist": "hw.netlist"}


def main(argv=None):
    return dispatch("python -m hw", __doc__, COMMANDS, argv)


if __name__ == "__main__":
    sys.exit(report(main))
