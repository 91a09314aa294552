"""From an instruction word to the registers that it touches, as entries of the scoreboard."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.signatures import instruction_layout
from tern_fpga.hw.control.tickets import SLOTS, UNIT_INSTRUCTIONS, Queue, accesses_of, queues_of


__all__ = ["Operands"]


class Operands(wiring.Component):
    """Registers and queues of an instruction of a unit.

    A vector operand of n elements takes ``ceil(n / register_elements)`` registers, a uniform one
    ``ceil(n / (positions * register_elements))``, a scalar 1, and codes as many as a vector; the
    codes of a matmul are its ``blocks * lanes`` padded columns. The scoreboard's table holds
    vector registers, code registers and scalars, the largest file first, so that each file starts
    at a multiple of its size (all sizes are powers of two).

    Latency: combinational; ``more`` is one cycle late.

    Cost: part of the scoreboard in ``docs/reports/area.md``.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    word : :py:`In(isa.WORD_BITS)`
        The instruction, with indexed operands resolved.
    slots : :py:`Out(data.ArrayLayout(Operands.slot(config), len(SLOTS)))`
        An operand for each of ``SLOTS``, in their order. ``used``: the instruction has it.
        ``write``: it is written. ``queue``: one-hot, the queue whose part of the instruction it
        belongs to. ``first``, ``more``: its entries, the first and how many follow.
    queues : :py:`Out(len(Queue))`
        Mask of the queues that take the instruction.
    """
    @staticmethod
    def depth(config):
        """Entries of the table: a power of two."""
        return 1 << ceil_log2(config.registers + config.code_registers + isa.SCALARS)

    @classmethod
    def slot(cls, config):
        """Layout of an operand."""
        entry = range(cls.depth(config))
        return data.StructLayout({
            "used": 1, "write": 1, "queue": len(Queue), "first": entry, "more": entry,
        })

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "word":   In(isa.WORD_BITS),
            "slots":  Out(data.ArrayLayout(self.slot(config), len(SLOTS))),
            "queues": Out(len(Queue)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        word = data.View(instruction_layout(*(i.mnemonic for i in UNIT_INSTRUCTIONS)), self.word)

        files, start = {}, 0
        for size, file in sorted(((config.registers, "v"), (config.code_registers, "q"),
                                  (isa.SCALARS, "s")), reverse=True):
            files[file] = (start, size)
            start += size

        # A file starts at a multiple of its size, so that OR does for the sum.
        def entry(file, number):
            start, size = files[file]
            return number[:exact_log2(size)] | start

        elements = Signal(max(isa.N.width, isa.ROWS.width))
        padded   = Signal(isa.BLOCKS.width + config.lanes.bit_length())
        register = exact_log2(config.register_elements)
        uniform  = register + exact_log2(config.positions)
        last     = Signal(elements.shape())     # number of the last element
        m.d.sync += last.eq(elements - 1)
        # A constant times a signal as shifts and adds: Yosys would take a DSP block for a `*`.
        m.d.sync += padded.eq(sum(word.blocks << bit for bit in range(config.lanes.bit_length())
                                  if config.lanes >> bit & 1) - 1)

        # A field has the same bits in all instructions: positions do not depend on the opcode.
        for slot, field in zip(self.slots, SLOTS):
            value = word[field.name]
            if field.kind == "operand":
                scalar = value.space == isa.Space.S
                m.d.comb += slot.first.eq(Mux(scalar, entry("s", value.number),
                                              entry("v", value.number)))
                m.d.comb += slot.more.eq(Mux(
                    scalar, 0, Mux(value.space == isa.Space.U, last >> uniform, last >> register)))
            else:
                file = "q" if field.kind == "code" else "s"
                m.d.comb += slot.first.eq(entry(file, value))

        with m.Switch(word.opcode):
            for instr in UNIT_INSTRUCTIONS:
                names = {field.name for field in instr.fields}
                with m.Case(instr.opcode):
                    m.d.comb += self.queues.eq(sum(1 << queue for queue in queues_of(instr)))
                    for name in {"n", "rows"} & names:
                        m.d.comb += elements.eq(word[name])
                    for field, write, queue in accesses_of(instr):
                        slot = self.slots[SLOTS.index(field)]
                        m.d.comb += slot.write.eq(write)
                        m.d.comb += slot.queue.eq(1 << queue)
                        if field.kind == "operand":
                            m.d.comb += slot.used.eq(word[field.name].space != isa.Space.NONE)
                        elif field.kind == "code":
                            m.d.comb += slot.used.eq(1)
                            m.d.comb += slot.more.eq((padded if "blocks" in names else last)
                                                     >> register)
                        else:
                            m.d.comb += slot.used.eq(word.stat != isa.Stat.NONE)
                            m.d.comb += slot.more.eq(0)
        return m
