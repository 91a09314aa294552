"""SDRAM and serial line at the pins of a board."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.memory.sdr.sdram import SdramPins


__all__ = ["CAPTURE", "SdramIo", "SerialIo"]


CAPTURE = 4                # half cycles that the registers of SdramIo add: see hw.memory.sdr.sdram


class SdramIo(wiring.Component):
    """A register in the I/O cell of every pin of the SDRAM, and the inverted clock of ``part``.

    Words and levels come a cycle later on the way out, and a cycle later on the way in.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    pins : :py:`In(SdramPins(config))`
    """
    def __init__(self, *, config):
        super().__init__({"pins": In(SdramPins(config))})

    def elaborate(self, platform):
        m = Module()
        pins, sdram = self.pins, platform.request("sdram", dir="-")

        # The resource says which pins are low when true; the controller speaks in levels.
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
    """The serial line of the board's USB bridge.

    Members
    -------
    rx : Out(1)
        Asynchronous.
    tx : In(1)
    """
    rx: Out(1)
    tx: In(1)

    def elaborate(self, platform):
        m = Module()
        line = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", line.rx)
        m.submodules.tx = tx = io.Buffer("o", line.tx)
        m.d.comb += [self.rx.eq(rx.i), tx.o.eq(self.tx)]
        return m
