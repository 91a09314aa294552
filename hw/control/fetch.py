"""Program memory, and its loading through the memory port."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.ram import BlockRam
from tern_fpga.hw.common.signatures import BURST_WORDS, MemoryPort


__all__ = ["ProgramMemory"]


class ProgramMemory(wiring.Component):
    """Copy a program from the memory, then read an instruction a cycle.

    Protocol: ``load`` starts the copying of ``length`` instructions from ``address`` on, low word
    first. ``loaded`` strobes when they can be read. ``word`` is undefined until then.

    Latency: ``word`` is the instruction that ``pc`` named two cycles before.

    Cost: a DP16KD for each 512 instructions and 36 bits. See ``docs/reports/area.md`` (program
    memory).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    load : :py:`In(1)`
        Strobe.
    address : :py:`In(ceil_log2(config.memory_words))`
        Memory word at which the program starts.
    length : :py:`In(range(config.program_words + 1))`
        Instructions to copy.
    port : :py:`Out(MemoryPort(config))`
        Reads only.
    loaded : :py:`Out(1)`
        Strobe: all instructions can be read.
    pc : :py:`In(range(config.program_words))`
        Number of an instruction.
    word : :py:`Out(isa.WORD_BITS)`
        That instruction.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "load":    In(1),
            "address": In(ceil_log2(config.memory_words)),
            "length":  In(range(config.program_words + 1)),
            "port":    Out(MemoryPort(config)),
            "loaded":  Out(1),
            "pc":      In(range(config.program_words)),
            "word":    Out(isa.WORD_BITS),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.program = program = BlockRam(shape=isa.WORD_BITS, depth=config.program_words)
        m.d.comb += [program.read_address.eq(self.pc), program.read_enable.eq(1)]
        # Data of a block RAM are late in the cycle: a register directly behind it.
        word = Signal(isa.WORD_BITS, reset_less=True)
        m.d.sync += word.eq(program.read_data)
        m.d.comb += self.word.eq(word)

        parts   = isa.WORD_BITS // config.memory_bits       # memory words in an instruction
        wanted  = Signal(range(config.program_words * parts + 1))   # words still to be requested
        missing = Signal(range(config.program_words + 1))           # instructions still to arrive
        address = Signal.like(self.address)
        busy    = Signal()
        command = self.port.command
        burst   = Signal.like(command.p.words)
        m.d.comb += burst.eq(Mux(wanted > BURST_WORDS, BURST_WORDS, wanted))
        m.d.sync += self.loaded.eq(0)
        with m.If(self.load):
            m.d.sync += busy.eq(1)
            m.d.sync += address.eq(self.address)
            m.d.sync += wanted.eq(self.length * parts)
            m.d.sync += missing.eq(self.length)
        # An empty program is loaded at once.
        with m.Elif(busy & (missing == 0)):
            m.d.sync += busy.eq(0)
            m.d.sync += self.loaded.eq(1)

        with m.If(command.ready):
            m.d.sync += command.valid.eq(0)
        with m.If(busy & (wanted != 0) & ~command.valid):
            m.d.sync += command.valid.eq(1)
            m.d.sync += command.p.address.eq(address)
            m.d.sync += command.p.words.eq(burst)
            m.d.sync += address.eq(address + burst)
            m.d.sync += wanted.eq(wanted - burst)

        # The words of an instruction arrive low word first, so they shift in from the top.
        shifted = Signal(isa.WORD_BITS)
        part    = Signal(range(parts))
        whole   = Signal()
        number  = Signal.like(self.pc)
        # Every word has its place in the program memory: requests need no limit.
        m.d.comb += self.port.read.ready.eq(1)
        m.d.sync += whole.eq(0)
        with m.If(self.port.read.valid):
            m.d.sync += shifted.eq(Cat(shifted, self.port.read.payload)[config.memory_bits:])
            m.d.sync += part.eq(part + 1)
            m.d.sync += whole.eq(part == parts - 1)
        m.d.comb += [
            program.write_address.eq(number),
            program.write_data.eq(shifted),
            program.write_enable.eq(whole),
        ]
        with m.If(whole):
            m.d.sync += number.eq(number + 1)
            m.d.sync += missing.eq(missing - 1)
        with m.If(self.load):
            m.d.sync += number.eq(0)
            m.d.sync += part.eq(0)
        return m
