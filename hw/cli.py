"""Write the hardware as Verilog.

    python -m hw verilog --target ulx3s-85f -o core.v               the core of a target
    python -m hw verilog --target sim-tiny --set lanes=20 -o core.v with a parameter changed
    python -m hw sdram --target ulx3s-85f -o sdram.v                its SDRAM controller
    python -m hw soc --target ulx3s-85f -o soc.v                    the core with its host link
    python -m hw netlist --target sim-tiny -o core.v                the core as cells of an ECP5
    python -m hw digest                                             did a change change hardware?
"""


from tern_fpga.assembler.console.commands import dispatch


COMMANDS = {"verilog": "verilog", "sdram": "sdram_verilog", "soc": "soc_verilog",
            "netlist": "netlist", "digest": "digest"}


def main(argv=None, prog="python -m hw"):
    return dispatch(prog, __doc__,
                    {name: f"tern_fpga.hw.tools.{module}" for name, module in COMMANDS.items()},
                    argv)
