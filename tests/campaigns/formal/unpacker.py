"""The trit unpacker against the code of ``assembler.files.packing``."""

from amaranth import *
from amaranth.lib import memory
import numpy as np

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.files import packing
from tern_fpga.hw.array.unpacker import TritUnpacker
from tests.campaigns.formal.bench import Fault, Proof


__all__ = ["PROOFS"]


def _decoded(byte):
    """What ``assembler.files.packing.unpack`` makes of a byte, trits + 1, the first low."""
    return sum(int(trit) + 1 << 2 * n
               for n, trit in enumerate(packing.unpack(np.array([byte], np.uint8))))


def _code(b):
    """The first byte is any, the second what the packer makes of any trits."""
    unpacker = b.block("unpacker", TritUnpacker(lanes=2 * formats.TRITS_PER_BYTE))
    byte     = b.any("byte", 8)
    number   = b.any("number", range(3 ** formats.TRITS_PER_BYTE))
    b.assume(number < 3 ** formats.TRITS_PER_BYTE)
    trits    = [np.array([k // 3 ** n % 3 - 1 for n in range(formats.TRITS_PER_BYTE)], np.int8)
                for k in range(3 ** formats.TRITS_PER_BYTE)]
    def table(name, values, width, index):
        m = b.block(name, memory.Memory(shape=width, depth=256, init=values))
        port = m.read_port(domain="comb")
        b.m.d.comb += port.addr.eq(index)
        return port.data

    wanted = Cat(table("decoded", [_decoded(k) for k in range(256)], 10, byte),
                 table("digits", [sum(int(trit) + 1 << 2 * n for n, trit in enumerate(five))
                                  for five in trits], 10, number))
    packed = table("packed", [int(packing.pack(five)[0]) for five in trits], 8, number)
    b.m.d.comb += unpacker.i.eq(Cat(byte, packed))
    came = ~b.first
    for _ in range(TritUnpacker.LATENCY):
        wanted, came = b.past(wanted), b.past(came)
    out = unpacker.o.as_value()
    b.promise("byte_is_decoded", ~came | (out[:10] == wanted[:10]))
    b.promise("trits_come_back", ~came | (out[10:] == wanted[10:]))
    b.reach("last_byte", came & (out[:10] == _decoded(255)) & (out[10:] == 0b10_10_10_10_10))


PROOFS = (
    Proof(
        "unpacker", "Every byte decodes as in assembler.files.packing, the 13 that no packer "
        "writes too, and all 243 groups of five trits come back from their byte.",
        _code, method="induction 7", reach=8, quick=True,
        limits="Beats wider than two bytes: the bytes of a beat share nothing.",
        faults=(Fault("the last trit of some bytes is one more", "hw.array.unpacker:TritUnpacker",
                      "stage.eq(fraction + (fraction << 1))",
                      "stage.eq(fraction + (fraction << 1) + (n == 4))"),)),
)
