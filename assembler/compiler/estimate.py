"""Predicts the cycles of a step from the program alone.

Instructions are issued in order into the queues of the units. Each unit executes its instructions
in order, and an instruction starts when its unit is free and its operands are ready. One memory
word of weights arrives in each cycle that refreshes and other transfers do not use, and up to
``prefetch_words`` are prefetched. :mod:`assembler.compiler.costs` has the cycles of single
instructions. The estimate ignores row collisions and bank conflicts in the vector memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.compiler.costs import (
    column_cycles,
    load_latency,
    matmul_latency,
    vector_cycles,
)
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import CLOCK_MHZ, PRESETS, SDRAM_MHZ, Config
from tern_fpga.assembler.contract.isa import Space, Unit
from tern_fpga.assembler.contract.sdram_parts import ANY_PART, BOARDS, Timing, words_per_cycle
from tern_fpga.assembler.files.image import Image


__all__ = ["Memory", "memory_of", "estimate"]


_STEP = 5                   # cycles of the sequencer for an instruction
_LOOK_UP = 10               # cycles of the scoreboard, and one more for each register
_QUEUE = 4                  # cycles from the scoreboard to the unit
_DEPTH = {Unit.MEMORY: 8, Unit.VECTOR: 16, Unit.ARRAY: 8}       # instructions in a unit's queue
_AHEAD = 128                # outstanding words of the loader

_Register = tuple[str, int]     # register file ("v", "s" or "q") and number


@dataclass(frozen=True)
class Memory:
    """The speed of a memory.

    ``share``: words per cycle of a long read. ``peak``: words per cycle at the limit of the pins.
    ``queued``: words of weights that are already requested when a load begins; the load's words
    arrive after them.
    """
    share: float = 1.0
    queued: int = 1024
    peak: float = 1.0


def memory_of(target: str | None) -> Memory:
    """The :class:`Memory` of a board: its SDRAM, or one that delivers a word per cycle."""
    if target not in BOARDS:
        return Memory()
    sdram_mhz = SDRAM_MHZ[target]
    peak = words_per_cycle(PRESETS[target], CLOCK_MHZ[target], sdram_mhz)
    timing = Timing.of(ANY_PART, float(sdram_mhz))      # all boards' controllers use these rules
    return Memory(share=timing.share * peak, queued=448, peak=peak)


class _Timeline:
    """When each register was last written and read, and when each unit is free."""

    def __init__(self, config: Config, memory: Memory, live: int, chain: bool) -> None:
        self.config, self.memory, self.live, self.chain = config, memory, live, chain
        self.written: dict[_Register, float] = {}
        self.read: dict[_Register, float] = {}
        self.free: dict[Unit, float] = dict.fromkeys(Unit, 0)
        self.started: dict[Unit, list[float]] = {unit: [] for unit in Unit}
        self.issued: float = 0          # cycle in which the last instruction was issued
        self.fetched: float = 0         # prefetched words of weights at the end of the last matmul
        self.port = 0                   # words of loads and stores since then
        self.array_end: float = 0       # cycle in which the last matmul ended
        self.drained: float = 0         # cycle in which its results were written

    def names(self, operands: isa.Operands, fields: Iterable[str],
              index: int) -> Iterator[_Register]:
        """The registers that these fields of an instruction name."""
        elements = operands["n"] if "n" in operands else operands.get("rows", 1)
        for name in fields:
            value = operands[name]
            if name == "stat_to":
                if operands["stat"]:
                    yield "s", value
            elif name == "q":
                columns: int = operands.get("n", operands.get("blocks", 0) * self.config.lanes)
                for k in range(registers_of("q", columns, self.config)):
                    yield "q", value + k
            elif value.space is not Space.NONE:
                space = "vus"[value.space]
                first = value.number + (index if value.indexed else 0)
                for k in range(registers_of(space, elements, self.config)):
                    yield ("s" if space == "s" else "v"), first + k

    def issue(self, unit: Unit, registers: int) -> float:
        """The cycle in which an instruction with this number of registers can start."""
        self.issued += max(_STEP, _LOOK_UP + registers)
        started = self.started[unit]
        if len(started) > _DEPTH[unit]:         # wait until the queue has room
            self.issued = max(self.issued, started[-_DEPTH[unit] - 1])
        return max(self.issued + _QUEUE, self.free[unit])

    def run(self, word: int, index: int) -> None:
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
            end = start + vector_cycles(mnemonic, operands, self.config, self.live, self.chain)
            ready = end
        self.finish(instr.unit, start, end, ready, reads, writes)

    def finish(self, unit: Unit, start: float, end: float, ready: float, reads: Iterable[_Register],
               writes: Iterable[_Register]) -> None:
        """Note the times of an instruction: ``ready``: its results are written."""
        self.started[unit].append(start)
        self.free[unit] = end
        for name in reads:
            self.read[name] = max(self.read.get(name, 0), ready)
        for name in writes:
            self.written[name] = ready

    def weights_at(self, time: float) -> float:
        """Prefetched words of weights at this time, if the array has been idle since its end."""
        arrived = (time - self.array_end) * self.memory.share - self.port
        return min(self.fetched + arrived, self.config.prefetch_words)

    def matmul(self, start: float, operands: isa.Operands, reads: Sequence[_Register],
               writes: Sequence[_Register]) -> None:
        """Carry out a matmul."""
        config, rows, blocks = self.config, operands["rows"], operands["blocks"]
        sampled = operands["dst"].space is Space.NONE
        codes = [name for name in reads if name[0] == "q"]
        scale = [name for name in reads if name[0] != "q"]
        start = max([start, *(self.written.get(r, 0) for r in codes)])
        columns = column_cycles(config, self.live)
        begin = max(start + columns + 8, self.array_end)
        drain = max([self.drained, start, *(self.written.get(r, 0) + _QUEUE for r in scale),
                     *(self.read.get(r, 0) for r in writes)]) + config.positions + 4
        pace = 1 if sampled else max(1, self.live)      # cycles of the drain per row
        fetched, self.port = self.weights_at(begin), 0
        now = begin
        for first in range(0, rows, config.accumulator_rows):
            tile = min(config.accumulator_rows, rows - first)
            words = tile * blocks * config.beat_words
            busy = max(blocks * max(tile, columns), (words - fetched) / self.memory.share)
            fetched = min(fetched + busy * self.memory.share - words, config.prefetch_words)
            last = now + busy * (blocks - 1) / blocks   # the last block completes the sums
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

    def transfer(self, mnemonic: str, operands: isa.Operands, start: float) -> tuple[float, float]:
        """(end, time of the result) of a memory instruction."""
        config = self.config
        words = config.vector_words(operands["n"])
        vector = mnemonic == "embed" or (operands["dst" if mnemonic == "load" else "a"].space
                                         is Space.V)
        vectors = self.live if vector and (mnemonic == "embed" or not self.chain) else 1
        words *= vectors
        # While weights are prefetched too, `queued` words of them precede each _AHEAD words of
        # the loader.
        space = (config.prefetch_words - max(0, self.weights_at(start))) / self.memory.share
        slow = 1 + self.memory.queued / _AHEAD
        took = min(words * slow, max(0, space) + words - min(words, max(0, space) / slow))
        self.port += words
        end = start + max(took, vectors * 20)
        return end, end + load_latency(config)


def estimate(image: Image, *, live: int = 1, chain: bool = False, sample: bool = True,
             memory: Memory | None = None) -> tuple[int, int]:
    """Cycles of a step in steady state, and the memory words that it moves.

    Parameters
    ----------
    image : assembler.files.image.Image
        Only its config, its program and the target in its manifest are used.
    live : int
        Number of active positions.
    chain : bool
        The positions are consecutive tokens of one prompt (prefill), not streams.
    sample : bool
        A token is sampled: one in each position of streams.
    memory : Memory or None
        None: the memory of the target.

    Returns
    -------
    (int, int)
    """
    memory = memory or memory_of(image.manifest.get("target"))
    config = image.config
    timeline = _Timeline(config, memory, live, chain)
    program, r, pc = image.instructions(), [0] * isa.ADDRESS_REGISTERS, 0
    starts: list[float] = []
    words = 0
    while len(starts) < 4:      # from the second step on, weights are prefetched by the one before
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
