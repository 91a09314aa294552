"""Stretches of memory as bytes, for the host link."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.memory import Bursts
from hw.ram import Queue
from hw.signatures import MemoryPort


__all__ = ["MemoryBytes"]


LONGEST = 16               # words of a burst: the host's must not keep the core waiting for long
ROOM    = 32               # words asked for and not passed on


class MemoryBytes(wiring.Component):
    """Carries out one transfer at a time; the low byte of a word comes first.

    Protocol: a transfer of at least one word within the memory, then its bytes on ``i`` or
    ``o``. A write is taken as done when its last word was handed over: the memory carries out
    what comes after it later.

    Throughput: a byte a cycle if the memory keeps up, and one cycle more for each word.

    Cost: 380 LUT4 and 162 FF for words of 16 bits (Yosys 0.70).

    Parameters
    ----------
    config : assembler.config.Config

    Members
    -------
    transfer : :py:`In(stream.Signature(MemoryBytes.transfer_layout(config)))`
    i : :py:`In(stream.Signature(8))`
        Bytes to write.
    o : :py:`Out(stream.Signature(8))`
        Bytes read.
    idle : :py:`Out(1)`
        No transfer is under way.
    port : :py:`Out(MemoryPort(config))`
    """
    @staticmethod
    def transfer_layout(config):
        bits = ceil_log2(config.memory_words)
        return data.StructLayout({"write": 1, "address": bits, "words": bits + 1})

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "transfer": In(stream.Signature(self.transfer_layout(config))),
            "i":        In(stream.Signature(8)),
            "o":        Out(stream.Signature(8)),
            "idle":     Out(1),
            "port":     Out(MemoryPort(config)),
        })

    def elaborate(self, platform):
        m = Module()
        config, port, transfer = self.config, self.port, self.transfer.p
        words_bits = ceil_log2(config.memory_words) + 1
        m.submodules.bursts = bursts = Bursts(config=config, words_bits=words_bits,
                                              longest=LONGEST, room=ROOM)
        m.submodules.came = came = Queue(shape=config.memory_bits, depth=ROOM)

        write = Signal()
        left  = Signal(words_bits)      # words that have not passed
        some  = Signal()
        last  = Signal()
        word_passed = Signal()
        m.d.comb += [
            bursts.i.payload.address.eq(transfer.address),
            bursts.i.payload.words.eq(transfer.words),
            bursts.i.valid.eq(self.transfer.valid & ~some),
            self.transfer.ready.eq(bursts.i.ready & ~some),
            self.idle.eq(~some),
            port.command.payload.eq(bursts.o.payload),
            port.command.payload.write.eq(write),
            port.command.valid.eq(bursts.o.valid),
            bursts.o.ready.eq(port.command.ready),
            bursts.freed.eq(word_passed),
        ]
        with m.If(self.transfer.valid & self.transfer.ready):
            m.d.sync += [write.eq(transfer.write), left.eq(transfer.words), some.eq(1)]
            m.d.sync += last.eq(transfer.words == 1)
        with m.If(word_passed):
            m.d.sync += left.eq(left - 1)
            m.d.sync += last.eq(left == 2)
            m.d.sync += some.eq(~last)

        # Bytes to a word
        filled = Signal(range(config.word_bytes))
        m.d.comb += self.i.ready.eq(some & write & ~port.write.valid)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += port.write.payload.eq(Cat(port.write.payload, self.i.payload)[8:])
            m.d.sync += filled.eq(filled + 1)
            with m.If(filled == config.word_bytes - 1):
                m.d.sync += filled.eq(0)
                m.d.sync += port.write.valid.eq(1)
        with m.If(port.write.valid & port.write.ready):
            m.d.sync += port.write.valid.eq(0)

        # A word to bytes
        word = Signal(config.memory_bits)
        rest = Signal(range(config.word_bytes + 1))     # bytes of it that were not taken
        pull = Signal()
        m.d.comb += [
            came.i.payload.eq(port.read.payload),
            came.i.valid.eq(port.read.valid),
            port.read.ready.eq(1),
            self.o.payload.eq(word[:8]),
            self.o.valid.eq(rest != 0),
            pull.eq(rest == 0),         # one cycle late: `ready` comes from afar
            came.o.ready.eq(pull),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += word.eq(word[8:])
            m.d.sync += rest.eq(rest - 1)
        with m.If(pull & came.o.valid):
            m.d.sync += word.eq(came.o.payload)
            m.d.sync += rest.eq(config.word_bytes)

        m.d.comb += word_passed.eq(Mux(write, port.write.valid & port.write.ready,
                                       came.o.valid & came.o.ready))
        return m
