"""Scalar registers: one float for each number and position."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import BlockRam
from tern_fpga.hw.common.signatures import scale_address_layout


__all__ = ["Scalars"]


class Scalars(wiring.Component):
    """A word for each scalar register and position, with one write and two read ports.

    Latency: a read returns its word two cycles later; a word that is written in the cycle of the
    read is undefined. Throughput: a write and two reads a cycle, from two copies of the memory, one
    for each reader.

    Cost: two block RAMs, or distributed RAM for few positions.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    write : :py:`In(stream.Signature(Scalars.write_layout(config)))`
        ``ready`` is always high.
    operand_address, scale_address : :py:`In(scale_address_layout(config))`
        Register number and position.
    operand, scale : :py:`Out(width)`
        Float words at these addresses, two cycles later.
    """
    @staticmethod
    def write_layout(config):
        """Payload of ``write``."""
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
        for reader in ("operand", "scale"):
            m.submodules[f"{reader}_words"] = words = BlockRam(shape=self.config.float.width,
                                                    depth=isa.SCALARS * self.config.positions)
            m.d.comb += [
                words.write_address.eq(self.write.p.address),
                words.write_data.eq(self.write.p.data),
                words.write_enable.eq(self.write.valid),
                words.read_address.eq(getattr(self, f"{reader}_address")),
                words.read_enable.eq(1),
                # Data of a block RAM are late in the cycle: no logic in front of this register.
                getattr(self, reader).eq(delay(m, words.read_data, 1)),
            ]
        m.d.comb += self.write.ready.eq(1)
        return m
