"""Write the Verilog of an SDRAM controller, module ``sdram_controller``.

With ``--sdram-bits`` the controller has a clock of its own, ``memory_clk``: see
:class:`hw.memory.crossing.FastSdram`.

    python -m hw sdram --target ulx3s-85f --part W9825G6KH-6 --clock-mhz 133 -o sdram.v
"""

from amaranth.back import verilog as backend

from tern_fpga.assembler.contract.sdram_parts import PARTS, part
from tern_fpga.assembler.files import disk
from tern_fpga.hw.memory.crossing import FastSdram
from tern_fpga.hw.memory.sdr.sdram import SdramController
from tern_fpga.hw.tools import verilog


__all__ = ["add_arguments", "run", "controller_verilog"]


def add_arguments(parser):
    verilog.machine_arguments(parser)
    parser.add_argument("--part", choices=PARTS, default=next(iter(PARTS)),
                        help="part and speed grade (default: %(default)s)")
    parser.add_argument("--clock-mhz", type=float, default=100, metavar="MHZ",
                        help="clock of the part and the controller (default: 100)")
    parser.add_argument("--cas-latency", type=int, choices=(2, 3),
                        help="default: the lowest that the part allows at the clock")
    parser.add_argument("--capture", type=int, default=0, metavar="N",
                        help="take words N half cycles later (default: 0)")
    parser.add_argument("--sdram-bits", type=int, metavar="N",
                        help="width of its words, if it has a clock of its own")
    parser.add_argument("--power-up-us", type=float, metavar="US",
                        help="time before the part is set up (default: what it asks)")


def controller_verilog(config, name, sdram_bits=None, **options):
    """Verilog text of the controller of part ``name``; ``options`` are those of SdramController."""
    if sdram_bits is None:
        controller = SdramController(config=config, part=part(name), **options)
    else:
        controller = FastSdram(config=config, memory_bits=sdram_bits, part=part(name), **options)
    return backend.convert(controller, name="sdram_controller", emit_src=False)


def run(arguments):
    options = {name: getattr(arguments, name)
               for name in ("clock_mhz", "cas_latency", "capture", "power_up_us", "sdram_bits")}
    config = verilog.chosen_config(arguments)
    disk.write_text(arguments.output, verilog.made(
        lambda: controller_verilog(config, arguments.part, **options)))
