"""Scalar registers: one float per number and position."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from assembler import isa
from hw.signatures import scale_address_layout


__all__ = ["Scalars"]


class Scalars(wiring.Component):
    """A word per scalar register and position: one write and two reads a cycle.

    A read gives its word one cycle later; a word being written at that moment is undefined. Cost:
    two block RAMs, or the same in distributed RAM.

    Parameters
    ----------
    config : assembler.config.Config

    Members
    -------
    write : :py:`In(stream.Signature(Scalars.write_layout(config)))`
    operand_address, scale_address : :py:`In(scale_address_layout(config))`
        Register number and position.
    operand, scale : :py:`Out(width)`
        Float words at these addresses, one cycle later.
    """
    @staticmethod
    def write_layout(config):
        return data.StructLayout({
            "address": scale_address_layout(config), "data": config.float.width,
        })

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "write": In(stream.Signature(self.write_layout(config))),
            "operand_address": In(scale_address_layout(config)),
            "operand":         Out(config.float.width),
            "scale_address":   In(scale_address_layout(config)),
            "scale":           Out(config.float.width),
        })

    def elaborate(self, platform):
        m = Module()
        depth = isa.SCALARS * self.config.positions
        m.submodules.words = words = memory.Memory(
            shape=self.config.float.width, depth=depth, init=[])
        write, operand, scale = words.write_port(), words.read_port(), words.read_port()
        m.d.comb += [
            self.write.ready.eq(1),
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.p.address),
            write.data.eq(self.write.p.data),
            operand.addr.eq(self.operand_address),
            self.operand.eq(operand.data),
            scale.addr.eq(self.scale_address),
            self.scale.eq(scale.data),
        ]
        return m
