"""The memory port across two clocks, for a core that is slower than its memory."""

from dataclasses import replace

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.common.signatures import MemoryPort, command_layout, connect
from tern_fpga.hw.memory.sdr.sdram import SdramController, SdramPins


__all__ = ["MemoryCrossing", "FastSdram", "memory_side"]


# Depths: more than pass while a pointer crosses between the clocks. Not more, because short FIFOs
# have short comparisons.
COMMANDS = 4
WRITES   = 8
READS    = 16


def memory_side(config, memory_bits):
    """``config`` as the memory sees it, with words of ``memory_bits``."""
    return replace(config, memory_bits=memory_bits, lanes=memory_bits // 8 * 5 * 4)


class MemoryCrossing(wiring.Component):
    """The memory port of domain ``sync``, carried out by a memory in domain ``memory``.

    A word of ``sync`` is ``ratio`` words of ``memory``, the low one first. Commands, words to write
    and words read each have an asynchronous FIFO. A command becomes ``ratio`` commands, which are
    consecutive in memory.

    Throughput: for reads that of the memory, if ``ratio`` periods of ``memory`` are at least as
    long as one of ``sync``: then words read are never stalled. A write takes one cycle of
    ``memory`` more for each wide word. Latency: about 5 cycles of either clock in each direction.

    Cost: three short FIFOs. See the board's report in ``docs/reports``.

    Parameters
    ----------
    config : assembler.contract.config.Config
        The core's.
    memory_bits : int
        Bits of a narrow word; divides ``config.memory_bits``.

    Members
    -------
    core : :py:`In(MemoryPort(config))`
        In ``sync``.
    memory : :py:`Out(MemoryPort(memory_side(config, memory_bits)))`
        In ``memory``.

    Raises
    ------
    ValueError
        ``memory_bits`` does not divide the core's.

    Source: ``docs/decisions/clocks.md``.
    """
    def __init__(self, *, config, memory_bits):
        if memory_bits <= 0 or config.memory_bits % memory_bits:
            raise ValueError(f"words of {config.memory_bits} bits cannot be cut into words of "
                             f"{memory_bits!r}")
        self.config = config
        self.narrow = memory_side(config, memory_bits)
        self.ratio  = config.memory_bits // memory_bits
        super().__init__({
            "core":   In(MemoryPort(config)),
            "memory": Out(MemoryPort(self.narrow)),
        })

    def elaborate(self, platform):
        m = Module()
        bits, ratio = self.narrow.memory_bits, self.ratio
        core, memory = self.core, self.memory

        def fifo(name, width, depth, to, of):
            m.submodules[name] = made = AsyncFIFOBuffered(width=width, depth=depth, r_domain=to,
                                                          w_domain=of)
            return made

        layout   = command_layout(self.config)
        commands = fifo("commands", layout.size, COMMANDS, "memory", "sync")
        writes   = fifo("writes", self.config.memory_bits, WRITES, "memory", "sync")
        reads    = fifo("reads", self.config.memory_bits, READS, "sync", "memory")
        for queue, stream in (commands, core.command), (writes, core.write):
            m.d.comb += [queue.w_data.eq(stream.payload), queue.w_en.eq(stream.valid),
                         stream.ready.eq(queue.w_rdy)]
        m.d.comb += [core.read.payload.eq(reads.r_data), core.read.valid.eq(reads.r_rdy),
                     reads.r_en.eq(core.read.ready)]

        # A command, as `ratio` commands of as many words each: their sum covers the wide words.
        command = memory.command.payload
        parts   = Signal(range(ratio + 1))      # commands still to be given
        m.d.comb += [commands.r_en.eq(parts == 0), memory.command.valid.eq(parts != 0)]
        with m.If((parts == 0) & commands.r_rdy):
            came = Signal(layout)
            m.d.comb += came.eq(commands.r_data)
            m.d.memory += [command.write.eq(came.write), command.words.eq(came.words),
                           command.address.eq(came.address * ratio), parts.eq(ratio)]
        with m.Elif(memory.command.ready & (parts != 0)):
            m.d.memory += [command.address.eq(command.address + command.words),
                           parts.eq(parts - 1)]

        # A word to write, as `ratio` narrow words
        word = Signal(self.config.memory_bits, reset_less=True)
        left = Signal(range(ratio + 1))
        m.d.comb += [writes.r_en.eq(left == 0), memory.write.valid.eq(left != 0),
                     memory.write.payload.eq(word)]
        with m.If((left == 0) & writes.r_rdy):
            m.d.memory += [word.eq(writes.r_data), left.eq(ratio)]
        with m.Elif(memory.write.ready & (left != 0)):
            m.d.memory += [word.eq(word >> bits), left.eq(left - 1)]

        # Words read, joined. The FIFO needs no back-pressure: see Throughput above.
        whole = Signal(self.config.memory_bits, reset_less=True)
        have  = Signal(range(ratio))
        done  = Signal()
        m.d.comb += [memory.read.ready.eq(1), reads.w_data.eq(whole), reads.w_en.eq(done)]
        m.d.memory += done.eq(memory.read.valid & (have == ratio - 1))
        with m.If(memory.read.valid):
            m.d.memory += whole.eq(Cat(whole, memory.read.payload)[bits:])
            m.d.memory += have.eq(Mux(have == ratio - 1, 0, have + 1))
        return m


class FastSdram(wiring.Component):
    """:class:`hw.memory.sdr.sdram.SdramController` in domain ``memory``, with its port in ``sync``.

    Parameters
    ----------
    config : assembler.contract.config.Config
        The core's.
    memory_bits : int
        Bits of a word of the SDRAM.
    **options
        Options of the controller.

    Members
    -------
    port : :py:`In(MemoryPort(config))`
    pins : :py:`Out(SdramPins(memory_side(config, memory_bits)))`
        In ``memory``.
    ready : Out(1)
        Level, in ``sync``: the part is set up.

    Raises
    ------
    ValueError
        See :class:`MemoryCrossing` and :class:`hw.memory.sdr.sdram.SdramController`.
    """
    def __init__(self, *, config, memory_bits, **options):
        self.crossing   = MemoryCrossing(config=config, memory_bits=memory_bits)
        self.controller = SdramController(config=self.crossing.narrow, **options)
        super().__init__({
            "port":  In(MemoryPort(config)),
            "pins":  Out(SdramPins(self.crossing.narrow)),
            "ready": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.crossing   = crossing = self.crossing
        m.submodules.controller = DomainRenamer("memory")(controller := self.controller)
        # `ready` rises once, so that a synchroniser suffices.
        m.submodules.ready      = FFSynchronizer(controller.ready, self.ready)
        connect(m, wiring.flipped(self.port), crossing.core)
        connect(m, crossing.memory, controller.port)
        connect(m, controller.pins, wiring.flipped(self.pins))
        return m
