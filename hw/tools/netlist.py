"""Write the core after synthesis for ECP5, as Verilog of its cells, module ``core``.

As in a bitstream, block RAMs and multipliers have absorbed the registers behind them.

    python -m hw netlist --target sim-tiny -o core.v
"""

from pathlib import Path
import tempfile

from amaranth.back import rtlil

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.hw.core import Core
from tern_fpga.hw.tools.absorb import absorb_registers
from tern_fpga.hw.tools.verilog import chosen_config, machine_arguments as add_arguments, made
from tern_fpga.hw.tools.yosys import HIDE_ELEMENTS, ToolError, run_tool


__all__ = ["add_arguments", "run"]


SYNTHESIS = f"""
    read_rtlil core.il
    {HIDE_ELEMENTS}
    synth_ecp5 -top core -json core.json
"""
WRITING = """
    read_json core.json
    write_verilog -noattr core.v
"""


def run(arguments):
    config = chosen_config(arguments)
    disk.has_folder(arguments.output)
    netlist = made(lambda: rtlil.convert(Core(config=config), name="core", emit_src=False))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "core.il").write_text(netlist, encoding="utf-8")
        (folder / "core.ys").write_text(SYNTHESIS, encoding="utf-8")
        (folder / "write.ys").write_text(WRITING, encoding="utf-8")
        try:
            run_tool("yosys", "core.ys", folder=folder)
            absorb_registers(folder / "core.json")
            run_tool("yosys", "write.ys", folder=folder)
        except ToolError as error:
            raise TernError(str(error).partition(" (see ")[0]) from None    # the log is deleted
        disk.write(arguments.output, (folder / "core.v").read_bytes())
