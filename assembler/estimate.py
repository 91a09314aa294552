"""Predicts the cycles of a decoding step from the program alone.

Every unit takes its instructions in order, an instruction starts when its unit and its operands
are free, and the weights arrive a memory word a cycle, up to ``prefetch_words`` ahead. What is
left out: queue lengths, row changes and refresh of the memory, arbitration between blocks.
"""

from assembler import isa
from assembler.isa import Space
from assembler.text import registers_of


__all__ = ["estimate"]


# Cycles from the first operand to the first result that can be read; round numbers.
_VECTOR, _SCALAR, _DRAIN, _MEMORY, _NEXT = 20, 40, 40, 20, 50


class _Timeline:
    """When each register was last written and read, and when each unit is free."""

    def __init__(self, config):
        self.config = config
        self.written, self.read = {}, {}
        self.free = dict.fromkeys(isa.Unit, 0)
        self.fetched = 0        # words that came before their matmul
        self.port = 0           # words that loads and stores took from the weights
        self.array_end = 0

    def names(self, instr, operands, fields, index):
        elements = operands.get("n", operands.get("rows", 1))
        for name in fields:
            value = operands[name]
            if name == "stat_to":
                if operands["stat"]:
                    yield "s", value
            elif name == "q":
                columns = operands.get("n", operands.get("blocks", 0) * self.config.lanes)
                for k in range(registers_of("q", columns, self.config)):
                    yield "q", value + k
            elif value.space is not Space.NONE:
                space = "vus"[value.space]
                first = value.number + (index if value.indexed else 0)
                for k in range(registers_of(space, elements, self.config)):
                    yield ("s" if space == "s" else "v"), first + k

    def run(self, word, index):
        """Carry out one instruction of a unit."""
        mnemonic, operands = isa.decode(word)
        instr = isa.lookup(mnemonic)
        reads = list(self.names(instr, operands, instr.reads, index))
        writes = list(self.names(instr, operands, instr.writes, index))
        if instr.unit is isa.Unit.ARRAY:
            if mnemonic == "emit":
                return
            codes = [name for name in reads if name[0] == "q"]
            start = max([self.free[instr.unit], *(self.written.get(r, 0) for r in codes)])
            end = self.array(start, operands)
            ready = max([end + _DRAIN, *(self.written.get(r, 0) + _DRAIN for r in reads)])
        else:
            start = max([self.free[instr.unit], *(self.written.get(r, 0) for r in reads),
                         *(self.written.get(r, 0) for r in writes),
                         *(self.read.get(r, 0) for r in writes)])
            end, ready = self.other(mnemonic, operands, start)
        self.free[instr.unit] = end
        for name in reads:
            self.read[name] = max(self.read.get(name, 0), end)
        for name in writes:
            self.written[name] = ready

    def array(self, start, operands):
        """End of a matmul that starts at ``start``."""
        words = operands["rows"] * operands["blocks"] * self.config.beat_words
        self.fetched += start - self.array_end - self.port
        self.port = 0
        self.fetched = min(self.fetched, self.config.prefetch_words)
        busy = max(words // self.config.beat_words, words - self.fetched)
        self.fetched += busy - words
        self.array_end = start + busy
        return start + busy

    def other(self, mnemonic, operands, start):
        """End and time of the result of a memory or vector instruction."""
        if mnemonic in ("load", "store", "embed"):
            words = self.config.vector_words(operands["n"])
            self.port += words
            return start + words, start + words + _MEMORY
        rows = self.config.rows(operands.get("n", 1))
        latency = _SCALAR if mnemonic in ("div", "sqrt") else _VECTOR
        return start + rows, start + rows + latency


def estimate(image):
    """Cycles of a step that decodes one token of one stream, and the memory words it moves.

    Parameters
    ----------
    image : assembler.image.Image

    Returns
    -------
    (int, int)
    """
    timeline = _Timeline(image.config)
    program, r, pc = image.instructions(), [0] * isa.ADDRESS_REGISTERS, 0
    starts, words = [], 0
    while len(starts) < 3:              # the second step finds the first one's prefetch
        mnemonic, operands = isa.decode(program[pc])
        pc += 1
        if mnemonic == "next":
            now = max(timeline.free.values()) + _NEXT
            timeline.free = dict.fromkeys(timeline.free, now)
            starts.append(now)
            if len(starts) == 2:
                words = 0
        elif mnemonic in ("jump", "bnz", "bns"):
            if mnemonic == "jump" or mnemonic == "bnz" and r[operands["r"]]:
                pc = operands["target"]
        elif mnemonic in ("set", "add_r"):
            old = r[operands["r"]] if mnemonic == "add_r" else 0
            r[operands["r"]] = old + operands["imm"] & 0xffffffff
        elif mnemonic == "stream":
            words += operands["words"]
        elif mnemonic != "halt":
            timeline.run(program[pc - 1], r[isa.INDEX_REGISTER])
            if mnemonic in ("load", "store", "embed"):
                words += image.config.vector_words(operands["n"])
    return starts[2] - starts[1], words
