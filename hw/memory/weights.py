"""The weight stream: fetches weights ahead of the matmuls that use them."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.ram import DeepQueue, Queue
from tern_fpga.hw.common.signatures import BURST_WORDS, MemoryPort, beat_layout, connect
from tern_fpga.hw.memory.memory import Bursts
from tern_fpga.hw.memory.stream_sum import StreamSum


__all__ = ["WeightStream"]


DESCRIPTORS = 4


class WeightStream(wiring.Component):
    """The words of all descriptors in order, ``beat_words`` to a beat, low word first.

    Prefetches up to ``prefetch_words``, across descriptors, so that memory sees one continuous
    read. The words of a descriptor are a multiple of ``beat_words``, as those of a matrix are.

    Protocol: a burst is requested whenever the prefetch queue has room for it. Latency: 6 cycles
    from the word that completes a beat to the beat. Throughput: a word a cycle from the memory, a
    beat a cycle to ``o`` while there are any.

    Cost: ``prefetch_words * memory_bits`` bits of block RAM. See ``docs/reports/area.md`` (weight
    stream).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(WeightStream.descriptor(config)))`
        ``stream`` instructions: ``words`` memory words from word ``address`` on.
    port : :py:`Out(MemoryPort(config))`
        Reads only.
    o : :py:`Out(stream.Signature(beat_layout(config)))`
        Beats.
    words : Out(32)
        Words that arrived from memory, modulo 2**32; two cycles late.
    sums : :py:`Out(StreamSum.sums_layout)`
        Checksum of all whole descriptors: see :class:`hw.memory.stream_sum.StreamSum`.
    activity : :py:`Out(WeightStream.activity_layout)`
        State in this cycle. ``asked``: a burst is requested; ``some``: there are words to request;
        ``full``: there is no room for a burst.

    Golden twin: :class:`sim.golden.weights.WeightStream`.
    """
    activity_layout = data.StructLayout({"asked": 1, "some": 1, "full": 1})

    @staticmethod
    def descriptor(config):
        """Payload of ``i``."""
        return Bursts.transfer(config, isa.WORDS.width)

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":     In(stream.Signature(self.descriptor(config))),
            "port":  Out(MemoryPort(config)),
            "o":     Out(stream.Signature(beat_layout(config))),
            "words": Out(32),
            "sums":  Out(StreamSum.sums_layout),
            "activity": Out(self.activity_layout),
        })

    def elaborate(self, platform):
        config = self.config
        m = Module()

        # At least four bursts fit the queue, so that one can return while others are requested.
        burst = min(BURST_WORDS, config.prefetch_words // 4)
        m.submodules.descriptors = descriptors = Queue(shape=self.descriptor(config),
                                                       depth=DESCRIPTORS)
        m.submodules.bursts = bursts = Bursts(config=config, words_bits=isa.WORDS.width,
                                              longest=burst, room=config.prefetch_words)
        wiring.connect(m, wiring.flipped(self.i), descriptors.i)
        connect(m, descriptors.o, bursts.i)

        # A burst is sent to the memory and to the checksum in the same cycle. The checksum has
        # room for as many as the arbiter takes, so it never delays one.
        m.submodules.sums = sums = StreamSum(config=config)
        command = self.port.command
        m.d.comb += [
            command.valid.eq(bursts.o.valid & sums.burst.ready),
            command.payload.eq(bursts.o.payload),
            bursts.o.ready.eq(command.ready & sums.burst.ready),
            sums.burst.valid.eq(bursts.o.valid & command.ready),
            sums.burst.payload.words.eq(bursts.o.payload.words),
            sums.burst.payload.last.eq(bursts.last),
            sums.came.eq(self.port.read.valid),
            sums.word.eq(self.port.read.payload),
            self.words.eq(sums.words),
            self.sums.eq(sums.sums),
            self.port.read.ready.eq(1),
            self.activity.asked.eq(self.port.command.valid & self.port.command.ready),
            self.activity.some.eq(bursts.some),
            self.activity.full.eq(bursts.full),
        ]
        # Beats are whole words, so that no barrel shifter is needed (docs/decisions/lanes.md).
        beat  = Signal(data.ArrayLayout(config.memory_bits, config.beat_words))
        place = Signal(range(max(config.beat_words, 2)))
        whole = Signal()
        # No back-pressure from here on: room in the queue was reserved at the request.
        m.d.sync += whole.eq(self.port.read.valid & (place == config.beat_words - 1))
        with m.If(self.port.read.valid):
            m.d.sync += place.eq(Mux(place == config.beat_words - 1, 0, place + 1))
            m.d.sync += beat[place].eq(self.port.read.payload)

        m.submodules.prefetch = prefetch = DeepQueue(
            shape=beat_layout(config), depth=config.prefetch_words // config.beat_words)
        m.d.comb += [prefetch.i.valid.eq(whole), prefetch.i.payload.eq(beat.as_value())]
        connect(m, prefetch.o, wiring.flipped(self.o))

        m.d.comb += bursts.freed.eq(Mux(prefetch.o.valid & prefetch.o.ready,
                                        config.beat_words, 0))
        return m
