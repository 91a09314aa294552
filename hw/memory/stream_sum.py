"""Checksum of the weight stream: the sum of a CRC of each descriptor's words."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc import catalog
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.hw.common.ram import Queue
from tern_fpga.hw.common.signatures import BURST_WORDS


__all__ = ["StreamSum"]


BURSTS = 16                # that may be outstanding: as many as the arbiter takes


class StreamSum(wiring.Component):
    """``sum = sum of crc32(words of a descriptor) over all whole descriptors, modulo 2**32``

    The CRC is that of zlib, over the bytes of memory. Only whole descriptors count, so the order of
    the descriptors does not matter, and words in flight have no effect.

    Protocol: a burst is announced at least two cycles before its first word. The fields of ``sums``
    change in the same cycle.

    Latency: 3 cycles from a descriptor's last word to ``sums``. Throughput: a word a cycle.

    Cost: see ``docs/decisions/weight-checksum.md``.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    burst : :py:`In(stream.Signature(StreamSum.burst_layout))`
        Every requested burst, in order: its ``words``, and whether it is the ``last`` of its
        descriptor.
    came, word : :py:`In(1)`, :py:`In(config.memory_bits)`
        Strobe, and the word that arrived from memory.
    words : Out(32)
        Words that arrived, modulo 2**32; two cycles late.
    sums : :py:`Out(StreamSum.sums_layout)`
        Number of whole descriptors, of the words in them, and the sum of their CRCs.

    Golden twin: :attr:`sim.golden.weights.WeightStream.sums`.
    """
    burst_layout = data.StructLayout({"words": ceil_log2(BURST_WORDS + 1), "last": 1})
    sums_layout  = data.StructLayout({"streams": 32, "words": 32, "sum": 32})

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "burst": In(stream.Signature(self.burst_layout)),
            "came":  In(1),
            "word":  In(config.memory_bits),
            "words": Out(32),
            "sums":  Out(self.sums_layout),
        })

    def elaborate(self, platform):
        m = Module()
        bits = self.config.memory_bits
        m.submodules.bursts = bursts = Queue(shape=self.burst_layout, depth=BURSTS)
        m.submodules.crc    = crc    = catalog.CRC32_ISO_HDLC(data_width=bits).create()
        wiring.connect(m, wiring.flipped(self.burst), bursts.i)

        word  = Signal(bits, reset_less=True)
        came  = Signal()
        taken = Signal(range(BURST_WORDS + 1), init=1)      # this word's number in its burst
        first = Signal(init=1)                              # of a descriptor
        last  = Signal()
        ended = Signal()        # one cycle after `last`, as are `crc` and `words`
        # Registers, because the block only listens: it must add nothing to the memory's paths.
        m.d.sync += [word.eq(self.word), came.eq(self.came)]
        m.d.comb += [
            crc.data.eq(word),
            crc.valid.eq(came),
            crc.start.eq(first),
        ]
        with m.If(came):
            m.d.sync += taken.eq(taken + 1)
            m.d.sync += first.eq(last)
            with m.If(taken == bursts.o.payload.words):
                m.d.sync += taken.eq(1)
                m.d.comb += bursts.o.ready.eq(1)
                m.d.comb += last.eq(bursts.o.payload.last)
        m.d.sync += [self.words.eq(self.words + came), ended.eq(last)]
        with m.If(ended):
            m.d.sync += [
                self.sums.streams.eq(self.sums.streams + 1),
                self.sums.words.eq(self.words),
                self.sums.sum.eq(self.sums.sum + crc.crc),
            ]
        return m
