"""Write the Verilog of a board's SDRAM controller and the registers of its pins.

Both are as in the board's bitstream, so that simulations run the shipped hardware. The module is
``sdram_controller``, with the ports of ``python -m hw sdram``. If the SDRAM has a clock of its own,
its port is ``memory_clk``.
"""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from amaranth import *
from amaranth.back import verilog as backend
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract.config import Config, preset
from tern_fpga.assembler.files import disk
from tern_fpga.boards.parts import Board, find
from tern_fpga.boards.pins import SdramIo
from tern_fpga.boards.top import sdram_controller
from tern_fpga.hw.common.signatures import MemoryPort, connect
from tern_fpga.hw.memory.crossing import memory_side
from tern_fpga.hw.memory.sdr.sdram import SdramPins
from tern_fpga.hw.tools.verilog import made, read_config


__all__ = ["EXAMPLE", "BoardSdram", "sdram_verilog", "add_arguments", "run"]


EXAMPLE = "python -m boards sdram ulx3s-85f -o sdram.v"


class _Pads:
    """A platform whose only resource is an SDRAM, with signals instead of pads.

    The simulation drives the part's clock.
    """
    def __init__(self, config: Config) -> None:
        def port(direction: str, width: int, invert: bool = False) -> io.SimulationPort:
            return io.SimulationPort(direction, width, invert=invert)

        self.sdram = SimpleNamespace(
            clk=port("o", 1), clk_en=port("o", 1), cs=port("o", 1, True), ras=port("o", 1, True),
            cas=port("o", 1, True), we=port("o", 1, True), ba=port("o", 2), a=port("o", 13),
            dqm=port("o", config.word_bytes), dq=port("io", config.memory_bits))

    def request(self, name: str, *, dir: str) -> SimpleNamespace:
        return {"sdram": self.sdram}[name]

    def get_io_buffer(self, buffer: Any) -> Module:
        if isinstance(buffer, io.DDRBuffer):
            return Module()
        if not isinstance(buffer, io.FFBuffer):
            return buffer.elaborate(None)
        m = Module()                    # the registers of I/O cells have no reset
        m.domains.cells = cells = ClockDomain(reset_less=True, local=True)
        m.d.comb += cells.clk.eq(ClockSignal(buffer.o_domain))
        m.submodules.cell = DomainRenamer({buffer.o_domain: "cells"})(buffer.elaborate(None))
        return m


class BoardSdram(wiring.Component):
    """SDRAM controller and :class:`boards.pins.SdramIo` of a board, connected as in its Top.

    Parameters
    ----------
    board : boards.parts.Board
    config : assembler.contract.config.Config
        Config of the core.
    **options
        Parameters of the controller that replace the board's.

    Members
    -------
    port : :py:`In(MemoryPort(config))`
    pins : :py:`Out(SdramPins(memory_side(config, board.sdram_bits)))`
        Signals at the part. ``dq_i`` is its output.
    """
    def __init__(self, *, board: Board, config: Config, **options: Any) -> None:
        self.board  = board
        self.narrow = memory_side(config, board.sdram_bits)
        self.sdram  = sdram_controller(board, config, **options)
        super().__init__({
            "port": In(MemoryPort(config)),
            "pins": Out(SdramPins(self.narrow)),
        })

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pads = platform.sdram
        m.submodules.sdram = sdram = self.sdram
        m.submodules.cells = cells = DomainRenamer("memory")(SdramIo(config=self.narrow))
        connect(m, wiring.flipped(self.port), sdram.port)
        connect(m, sdram.pins, cells.pins)
        m.d.comb += [
            self.pins.cke.eq(pads.clk_en.o),
            self.pins.cs_n.eq(pads.cs.o),
            self.pins.ras_n.eq(pads.ras.o),
            self.pins.cas_n.eq(pads.cas.o),
            self.pins.we_n.eq(pads.we.o),
            self.pins.ba.eq(pads.ba.o),
            self.pins.a.eq(pads.a.o),
            self.pins.dqm.eq(pads.dqm.o),
            self.pins.dq_o.eq(pads.dq.o),
            self.pins.dq_oe.eq(pads.dq.oe[0]),
            pads.dq.i.eq(self.pins.dq_i),
        ]
        return m


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help="JSON object with the parameters of tern_fpga.Config "
                             "(default: the preset of that name)")
    parser.add_argument("--power-up-us", type=float, metavar="US",
                        help="time before the part is set up (default: what it asks)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE",
                        help="Verilog")


def sdram_verilog(name: str, config: Config | None = None, **options: Any) -> str:
    """Verilog text for the board ``name``. ``options``: of :class:`BoardSdram`."""
    board = find(name)
    sdram: Any = BoardSdram(board=board, config=config or preset(name), **options)
    if board.sdram_clock is None:
        sdram = DomainRenamer({"memory": "sync"})(sdram)
    return backend.convert(sdram, name="sdram_controller", platform=_Pads(sdram.narrow),
                           emit_src=False)


def run(arguments: Namespace) -> None:
    config = arguments.config and read_config(arguments.config)
    disk.write_text(arguments.output, made(
        lambda: sdram_verilog(arguments.board, config, power_up_us=arguments.power_up_us)))
