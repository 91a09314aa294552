"""Five trits from every byte of the weight stream."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from assembler import formats


__all__ = ["TritUnpacker"]


class TritUnpacker(wiring.Component):
    """Decode the base-3 code of packed weights.

    ``r = byte * 3**n & 255; trit[n] = (3 * r >> 8) - 1`` for n = 0 to 4, for every byte of a
    beat: trit n is what leaves the top of an 8-bit fraction that was multiplied by 3 n times. All
    256 bytes decode to something, the 13 that no packer writes as well.

    A plain pipeline: ``o`` is what ``i`` was :py:attr:`LATENCY` cycles before. Each stage
    multiplies by 3 as ``r + (r << 1)``: a ``*`` would take a DSP for each byte.

    Cost: about 50 LUT4 a byte, 10 a trit.

    Parameters
    ----------
    lanes : int
        Trits of a beat, a positive multiple of 5.

    Members
    -------
    i : :py:`In(ArrayLayout(8, lanes // 5))`
        Bytes, that of the first trits first.
    o : :py:`Out(ArrayLayout(2, lanes))`
        Trits + 1: 0, 1 or 2.

    Raises
    ------
    ValueError
        ``lanes`` is no positive multiple of 5.

    Golden twin: :func:`assembler.packing.unpack`.

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
                m.d.sync += stage.eq(fraction + (fraction << 1))
                # Trits decoded earlier wait for the last one.
                waiting = [Signal(2, name=f"trit_{k}_{n}_{j}", reset_less=True) for j in range(n)]
                m.d.sync += [late.eq(trit) for late, trit in zip(waiting, trits, strict=True)]
                fraction, trits = stage.fraction, [*waiting, stage.trit]
            for n, trit in enumerate(trits):
                m.d.comb += self.o[k * formats.TRITS_PER_BYTE + n].eq(trit)
        return m
