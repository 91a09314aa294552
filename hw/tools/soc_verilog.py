"""Write the Verilog of a core with its host link, module ``soc``.

    python -m hw soc --target sim-tiny --baud 25000000 -o soc.v
"""

from amaranth.back import verilog as backend

from tern_fpga.assembler.files import disk
from tern_fpga.hw.soc import Soc
from tern_fpga.hw.tools import verilog


__all__ = ["add_arguments", "run", "soc_verilog"]


def add_arguments(parser):
    verilog.machine_arguments(parser)
    parser.add_argument("--clock-hz", type=int, default=100_000_000, metavar="HZ",
                        help="clock (default: %(default)s)")
    parser.add_argument("--baud", type=int, default=3_000_000, metavar="BAUD",
                        help="speed of the serial line (default: %(default)s)")
    parser.add_argument("--name", default="simulation", metavar="NAME",
                        help="of the board (default: %(default)s)")


def soc_verilog(config, **options):
    """Verilog text of the SoC; ``options`` are those of :class:`hw.soc.Soc`."""
    return backend.convert(Soc(config=config, **options), name="soc", emit_src=False)


def run(arguments):
    options = {name: getattr(arguments, name) for name in ("clock_hz", "baud", "name")}
    config = verilog.chosen_config(arguments)
    disk.write_text(arguments.output, verilog.made(lambda: soc_verilog(config, **options)))
