"""Memory transfers of the host link, as bytes."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.hw.common.ram import Queue
from tern_fpga.hw.common.signatures import MemoryPort
from tern_fpga.hw.memory.memory import Bursts


__all__ = ["MemoryBytes"]


LONGEST = 16               # words of a burst: short, so that the core waits little for the host
ROOM    = 32               # words requested and not passed on


class MemoryBytes(wiring.Component):
    """Carries out one memory transfer at a time, as a stream of bytes, low byte of a word first.

    Protocol: a transfer of at least one word within the memory, then its bytes on ``i`` or ``o``. A
    write counts as done when its last word was handed to the memory port, which carries out later
    commands after it.

    Throughput: a byte a cycle if the memory keeps up, and one cycle more for each word.

    Cost: part of the boards' reports in ``docs/reports``.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    transfer : :py:`In(stream.Signature(MemoryBytes.transfer_layout(config)))`
        ``words`` words from word ``address`` on, read or (``write``) written.
    i : :py:`In(stream.Signature(8))`
        Bytes to write.
    o : :py:`Out(stream.Signature(8))`
        Bytes read.
    idle : :py:`Out(1)`
        Level: no transfer is in progress.
    port : :py:`Out(MemoryPort(config))`
    """
    @staticmethod
    def transfer_layout(config):
        """Payload of ``transfer``."""
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
        left  = Signal(words_bits)      # words still to pass
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
        rest = Signal(range(config.word_bytes + 1))     # bytes of it still to be taken
        pull = Signal()
        m.d.comb += [
            came.i.payload.eq(port.read.payload),
            came.i.valid.eq(port.read.valid),
            port.read.ready.eq(1),
            self.o.payload.eq(word[:8]),
            self.o.valid.eq(rest != 0),
            pull.eq(rest == 0),         # one cycle late: the path of `o.ready` is long
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
