"""SDRAM and serial line at the pins of a board."""

from typing import Any

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.memory.sdr.sdram import SdramPins


__all__ = ["CAPTURE", "SdramIo", "SerialIo"]


CAPTURE = 4                # half cycles of delay of SdramIo's registers: see hw.memory.sdr.sdram


class SdramIo(wiring.Component):
    """I/O cells of the SDRAM: a register at every pin, and the inverted clock of ``part``.

    The registers delay outputs by a cycle, and inputs by a cycle.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    pins : :py:`In(SdramPins(config))`
    """
    def __init__(self, *, config: Config) -> None:
        super().__init__({"pins": In(SdramPins(config))})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pins, sdram = self.pins, platform.request("sdram", dir="-")

        # The resource inverts the pins that are active low, and the controller gives levels.
        outputs = {"cke": sdram.clk_en, "cs_n": ~sdram.cs, "ras_n": ~sdram.ras,
                   "cas_n": ~sdram.cas, "we_n": ~sdram.we, "ba": sdram.ba, "a": sdram.a,
                   "dqm": sdram.dqm}
        for name, port in outputs.items():
            m.submodules[name] = buffer = io.FFBuffer("o", port)
            m.d.comb += buffer.o.eq(getattr(pins, name))
        m.submodules.dq = dq = io.FFBuffer("io", sdram.dq)
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]

        m.submodules.clk = clk = io.DDRBuffer("o", sdram.clk, o_domain="part")
        m.d.comb += [clk.o[0].eq(0), clk.o[1].eq(1)]
        return m


class SerialIo(wiring.Component):
    """I/O cells of the serial line to the board's USB bridge.

    Members
    -------
    rx : Out(1)
        Asynchronous.
    tx : In(1)
    """
    rx: Out(1)
    tx: In(1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        line = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", line.rx)
        m.submodules.tx = tx = io.Buffer("o", line.tx)
        m.d.comb += [self.rx.eq(rx.i), tx.o.eq(self.tx)]
        return m
