"""Five trits from every byte of the weight stream."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import formats


__all__ = ["TritUnpacker"]


class TritUnpacker(wiring.Component):
    """Decode the base-3 code of packed weights: five trits from each byte.

    ``r = byte * 3**n & 255; trit[n] = (3 * r >> 8) - 1`` for n = 0 to 4. That is: the byte is an
    8-bit fraction, which is multiplied by 3 five times, and each product's integer part is a
    digit. All 256 bytes decode to trits, including the 13 that no packer writes.

    Latency: :py:attr:`LATENCY` cycles, without handshake. Throughput: a beat a cycle.

    Cost: five adders of 8 bits a byte. See ``docs/reports/area.md`` (unpacker).

    Parameters
    ----------
    lanes : int
        Trits in a beat, a positive multiple of 5.

    Members
    -------
    i : :py:`In(ArrayLayout(8, lanes // 5))`
        Bytes; byte 0 holds trits 0 to 4.
    o : :py:`Out(ArrayLayout(2, lanes))`
        Trits plus 1: 0, 1 or 2.

    Raises
    ------
    ValueError
        ``lanes`` is not a positive multiple of 5.

    Golden twin: :func:`assembler.files.packing.unpack`.

    Source: the code of TQ1_0 of llama.cpp (ggml-quants.c).
    """
    LATENCY = formats.TRITS_PER_BYTE

    def __init__(self, *, lanes):
        if not isinstance(lanes, int) or lanes < 1 or lanes % formats.TRITS_PER_BYTE:
            raise ValueError(f"lanes must be a positive multiple of {formats.TRITS_PER_BYTE}, "
                             f"not {lanes!r}")
        self.lanes = lanes
        super().__init__({
            "i": In(data.ArrayLayout(8, lanes // formats.TRITS_PER_BYTE)),
            "o": Out(data.ArrayLayout(2, lanes)),
        })

    def elaborate(self, platform):
        m = Module()
        product = data.StructLayout({"fraction": 8, "trit": 2})
        for k, byte in enumerate(self.i):
            fraction, trits = byte, []
            for n in range(formats.TRITS_PER_BYTE):
                stage = Signal(product, name=f"byte_{k}_{n}")
                # Times 3 as a sum: for a `*` Yosys would take a DSP block per byte.
                m.d.sync += stage.eq(fraction + (fraction << 1))
                # Trits of earlier stages are delayed, so that all five leave together.
                waiting = [Signal(2, name=f"trit_{k}_{n}_{j}", reset_less=True) for j in range(n)]
                m.d.sync += [late.eq(trit) for late, trit in zip(waiting, trits, strict=True)]
                fraction, trits = stage.fraction, [*waiting, stage.trit]
            for n, trit in enumerate(trits):
                m.d.comb += self.o[k * formats.TRITS_PER_BYTE + n].eq(trit)
        return m
