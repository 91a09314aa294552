"""Predicts the cycles of a step from the program alone.

Instructions are issued in order, into queues; every unit takes its own in order, and an instruction
starts when its unit and its operands are free. Weights arrive a memory word a cycle, less what
refreshes and other transfers take, up to ``prefetch_words`` ahead. What single instructions take is
in :mod:`assembler.compiler.costs`. Left out: collisions of rows, and between banks of the vector
memory.
"""

from dataclasses import dataclass

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.compiler.costs import (
    column_cycles,
    load_latency,
    matmul_latency,
    vector_cycles,
)
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import CLOCK_MHZ, PRESETS, SDRAM_MHZ
from tern_fpga.assembler.contract.isa import Space, Unit
from tern_fpga.assembler.contract.sdram_parts import ANY_PART, BOARDS, Timing, words_per_cycle


__all__ = ["Memory", "memory_of", "estimate"]


_STEP = 5                   # cycles of the sequencer for an instruction
_LOOK_UP = 10               # of the scoreboard, and one for each register
_QUEUE = 4                  # from the scoreboard to the unit
_DEPTH = {Unit.MEMORY: 8, Unit.VECTOR: 16, Unit.ARRAY: 8}       # instructions that wait
_AHEAD = 128                # words that the loader asks for before they came


@dataclass(frozen=True)
class Memory:
    """``share``: words a cycle of a long read. ``peak``: what the pins could. ``queued``: words of
    weights that are asked for, and so come before those of a load."""
    share: float = 1.0
    queued: int = 1024
    peak: float = 1.0


def memory_of(target):
    """The :class:`Memory` of a board: its SDRAM, or one that brings a word a cycle."""
    if target not in BOARDS:
        return Memory()
    sdram_mhz = SDRAM_MHZ[target]
    peak = words_per_cycle(PRESETS[target], CLOCK_MHZ[target], sdram_mhz)
    timing = Timing.of(ANY_PART, float(sdram_mhz))      # as the controllers of all boards
    return Memory(share=timing.share * peak, queued=448, peak=peak)


class _Timeline:
    """When each register was last written and read, and when each unit is free."""

    def __init__(self, config, memory, live, chain):
        self.config, self.memory, self.live, self.chain = config, memory, live, chain
        self.written, self.read = {}, {}
        self.free = dict.fromkeys(Unit, 0)
        self.started = {unit: [] for unit in Unit}
        self.issued = 0         # when the last instruction was
        self.fetched = 0.0      # words of weights that were there at the end of the last matmul
        self.port = 0           # words that loads and stores took since
        self.array_end = 0
        self.drained = 0        # when the last matmul's results were written

    def names(self, operands, fields, index):
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

    def issue(self, unit, registers):
        """When an instruction that touches as many registers can start in its unit."""
        self.issued += max(_STEP, _LOOK_UP + registers)
        started = self.started[unit]
        if len(started) > _DEPTH[unit]:         # wait for room in the queue
            self.issued = max(self.issued, started[-_DEPTH[unit] - 1])
        return max(self.issued + _QUEUE, self.free[unit])

    def run(self, word, index):
        """Carry out one instruction of a unit."""
        mnemonic, operands = isa.decode(word)
        instr = isa.lookup(mnemonic)
        reads = list(self.names(operands, instr.reads, index))
        writes = list(self.names(operands, instr.writes, index))
        start = self.issue(instr.unit, len(reads) + len(writes))
        if instr.unit is Unit.ARRAY:
            if "rows" in operands:
                self.matmul(start, operands, reads, writes)
            return
        start = max([start, *(self.written.get(r, 0) for r in reads + writes),
                     *(self.read.get(r, 0) for r in writes)])
        if instr.unit is Unit.MEMORY:
            end, ready = self.transfer(mnemonic, operands, start)
        else:
            end = ready = start + vector_cycles(mnemonic, operands, self.config, self.live,
                                                self.chain)
        self.finish(instr.unit, start, end, ready, reads, writes)

    def finish(self, unit, start, end, ready, reads, writes):
        self.started[unit].append(start)
        self.free[unit] = end
        for name in reads:
            self.read[name] = max(self.read.get(name, 0), ready)
        for name in writes:
            self.written[name] = ready

    def weights_at(self, time):
        """Words of weights that were fetched ahead by then, while the array waits."""
        came = (time - self.array_end) * self.memory.share - self.port
        return min(self.fetched + came, self.config.prefetch_words)

    def matmul(self, start, operands, reads, writes):
        config, rows, blocks = self.config, operands["rows"], operands["blocks"]
        sampled = operands["dst"].space is Space.NONE
        codes = [name for name in reads if name[0] == "q"]
        scale = [name for name in reads if name[0] != "q"]
        start = max([start, *(self.written.get(r, 0) for r in codes)])
        columns = column_cycles(config, self.live)
        begin = max(start + columns + 8, self.array_end)
        drain = max([self.drained, start, *(self.written.get(r, 0) + _QUEUE for r in scale),
                     *(self.read.get(r, 0) for r in writes)]) + config.positions + 4
        pace = 1 if sampled else max(1, self.live)      # cycles of the drain for a row
        fetched, self.port = self.weights_at(begin), 0
        now = begin
        for first in range(0, rows, config.accumulator_rows):
            tile = min(config.accumulator_rows, rows - first)
            words = tile * blocks * config.beat_words
            busy = max(blocks * max(tile, columns), (words - fetched) / self.memory.share)
            fetched = min(fetched + busy * self.memory.share - words, config.prefetch_words)
            last = now + busy * (blocks - 1) / blocks   # the sums come with the last block
            waiting = max(0, drain - last) / pace if first else 0
            late = max(0, waiting + tile - config.accumulator_rows) * pace
            now += busy + late
            fetched = min(fetched + late * self.memory.share, config.prefetch_words)
            drain = max(max(drain, last) + tile * pace, now)
        self.fetched, self.array_end = fetched, now
        self.drained = drain + matmul_latency(config)
        self.finish(Unit.ARRAY, start, now - columns, self.drained, reads, writes)
        for name in codes:
            self.read[name] = now - columns

    def transfer(self, mnemonic, operands, start):
        """End and time of the result of a memory instruction."""
        config = self.config
        words = config.vector_words(operands["n"])
        vector = mnemonic == "embed" or (operands["dst" if mnemonic == "load" else "a"].space
                                         is Space.V)
        vectors = self.live if vector and (mnemonic == "embed" or not self.chain) else 1
        words *= vectors
        # While weights are fetched too, so many of theirs come between two turns of the loader.
        space = (config.prefetch_words - max(0, self.weights_at(start))) / self.memory.share
        slow = 1 + self.memory.queued / _AHEAD
        took = min(words * slow, max(0, space) + words - min(words, max(0, space) / slow))
        self.port += words
        end = start + max(took, vectors * 20)
        return end, end + load_latency(config)


def estimate(image, *, live=1, chain=False, sample=True, memory=None):
    """Cycles of a step in steady state, and the memory words it moves.

    Parameters
    ----------
    image : assembler.files.image.Image
        Only its config, its program and its manifest's target count.
    live : int
        Positions that compute: streams, or consecutive tokens of a prompt if ``chain``.
    sample : bool
        A token is sampled, in each position of streams.
    memory : Memory or None
        None: that of the target.

    Returns
    -------
    (int, int)
    """
    memory = memory or memory_of(image.manifest.get("target"))
    config = image.config
    timeline = _Timeline(config, memory, live, chain)
    program, r, pc = image.instructions(), [0] * isa.ADDRESS_REGISTERS, 0
    starts, words = [], 0
    while len(starts) < 4:              # the later steps find the prefetch of the one before
        mnemonic, operands = isa.decode(program[pc])
        pc += 1
        timeline.issued += _STEP
        if mnemonic == "next":
            now = max(timeline.issued, timeline.drained, *timeline.free.values()) + 30
            now += config.positions + (2 * live + config.positions if sample else 0)
            timeline.issued = now
            starts.append(now)
            if len(starts) == 3:
                words = 0
        elif mnemonic in ("jump", "bnz", "bns"):
            taken = {"jump": True, "bnz": r[operands.get("r", 0)] != 0, "bns": not sample}
            if taken[mnemonic]:
                pc = operands["target"]
        elif mnemonic in ("set", "add_r"):
            old = r[operands["r"]] if mnemonic == "add_r" else 0
            r[operands["r"]] = old + operands["imm"] & 0xffffffff
        elif mnemonic == "stream":
            words += operands["words"]
        elif mnemonic != "halt":
            timeline.issued -= _STEP
            timeline.run(program[pc - 1], r[isa.INDEX_REGISTER])
            if mnemonic in ("load", "store", "embed"):
                words += config.vector_words(operands["n"])
    return round(starts[3] - starts[2]), words
