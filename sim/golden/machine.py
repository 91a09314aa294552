"""The golden machine: it runs a program one instruction at a time, bit for bit as the core does."""

from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space, Stat
from tern_fpga.assembler.files import packing
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim.golden import ternary
from tern_fpga.sim.golden.registers import Registers
from tern_fpga.sim.golden.sampler import Sampler, Setting
from tern_fpga.sim.golden.scheduler import Scheduler, Step
from tern_fpga.sim.golden.vector import VectorUnit
from tern_fpga.sim.golden.weights import WeightStream


__all__ = ["Machine", "ProgramError"]


_MASK32 = (1 << 32) - 1
_INSTRUCTION = 4096        # work of an instruction besides its elements, counted in elements


class ProgramError(ValueError):
    """A program accesses a register, memory word or weight that does not exist, or never ends."""


class Machine:
    """Everything that a program can see or change. Each instruction is one method.

    Parameters
    ----------
    image : assembler.files.image.Image
        See :meth:`bare` for a machine without one.
    logits : bool
        Keep the logits of every sampled position (``Control.LOGITS``).

    Members
    -------
    v, q, s
        Arrays of the registers: see :class:`sim.golden.registers.Registers`.
    r : list of 8 int
        Address registers.
    pc : int
        Number of the next instruction.
    memory : (bytes,) uint8
    weights : WeightStream
    step_now : Step
        Positions, mode and tokens that the last ``next`` took.
    scheduler, sampler : Scheduler, Sampler
    tokens : list of int
        Words to the host; see :func:`sim.golden.scheduler.parse_token`.
    logits : list of (sampled positions ascending, rows) float64
        One array for each ``emit``, if logits are kept.
    saturated : bool
        Sticky: a result was larger than the float format holds.
    work, most_work : int
        Work of the instructions so far, counted in elements, and its limit. A caller that runs an
        unknown program should set the limit, because such a program may never end. None: no limit.
    counters : dict
        The counters of ``assembler.contract.registers`` that do not count time. They equal the
        core's when no instruction is in flight, except that the core may have fetched more weights.
    weight_words, array_beats : int
        The two counters of these names.
    sums : dict
        Checksum of the weight streams: see :class:`sim.golden.weights.WeightStream`. The core's is
        ahead by the streams that it has fetched completely and no matmul has taken.

    Raises
    ------
    ProgramError
        In ``step``, at or before the wrong instruction.
    """
    def __init__(self, image: Image, *, logits: bool = False) -> None:
        self._setup(image.config, image.instructions(), image.memory(), logits)

    @classmethod
    def bare(cls, config: Config, program: Iterable[int], memory: NDArray[np.uint8] | None = None,
             *, logits: bool = False) -> Self:
        """A machine without an image.

        ``program``: instruction words. ``memory``: (bytes,) uint8 from address 0; the other bytes
        of ``config.memory_bytes`` are 0.
        """
        full = np.zeros(config.memory_bytes, np.uint8)
        if memory is not None:
            full[:len(memory)] = memory
        machine = cls.__new__(cls)
        machine._setup(config, list(program), full, logits)
        return machine

    def _setup(self, config: Config, program: list[int], memory: NDArray[np.uint8],
               logits: bool) -> None:
        self.config = config
        self.program = program
        self.memory = memory
        self.keep_logits = logits
        self.registers = Registers(config)
        self.v, self.q, self.s = self.registers.v, self.registers.q, self.registers.s
        self.r = [0] * isa.ADDRESS_REGISTERS
        self.pc = 0
        self.weights = WeightStream(
            config, lambda address, words: self.memory[self._bytes(address, words)])
        self.scheduler = Scheduler(config)
        self.sampler = Sampler(config.positions)
        self.alu = VectorUnit(config.float)
        self.step_now = Step(0, 0, False, False, 0, 0, (0,) * config.positions)
        self.logits: list[NDArray[np.float64]] = []
        # Logits since the last emit, (sampled positions, rows) each.
        self._rows: list[NDArray[np.float64]] = []
        # Mnemonic, operands and work, by instruction word.
        self._decoded: dict[int, tuple[str, dict[str, Any], int]] = {}
        self.work = 0
        self.most_work: int | None = None
        self._done = dict.fromkeys(("instructions", "load_words", "store_words"), 0)
        self._waits = False             # the instruction at `pc` was fetched, and is not done

    @property
    def tokens(self) -> list[int]:
        return self.scheduler.tokens

    @property
    def saturated(self) -> bool:
        return self.alu.saturated

    @property
    def counters(self) -> dict[str, int]:
        return {**self._done, "instructions": self._done["instructions"] + self._waits,
                "weight_words": self.weight_words, "array_beats": self.array_beats,
                "program_words": len(self.program) * isa.WORD_BITS // self.config.memory_bits}

    @property
    def sums(self) -> dict[str, int]:
        return self.weights.sums

    @property
    def weight_words(self) -> int:
        return self.weights.words

    @property
    def array_beats(self) -> int:
        return self.weights.beats

    def send(self, words: Iterable[int]) -> None:
        """Message words from the host."""
        for word in words:
            self.scheduler.send(word)

    def run(self, tokens: int | None = None) -> str:
        """Execute until the program waits, halts or faults; returns the status of ``step``.

        With ``tokens``, return ``running`` as soon as ``tokens`` holds that many words.
        """
        while (status := self.step()) == "running":
            if tokens is not None and len(self.tokens) >= tokens:
                break
        return status

    def step(self) -> str:
        """Execute one instruction.

        Returns
        -------
        str
            ``running``; ``waiting`` at a ``next`` without a step; ``halted``; or ``fault`` at a
            word that :func:`assembler.contract.isa.decode` refuses. Except after ``running``,
            ``pc`` still points to that instruction.
        """
        word = self.program[self.pc] if self.pc < len(self.program) else 0
        if word not in self._decoded:
            try:
                mnemonic, operands = isa.decode(word)
            except ValueError:
                self._waits = True
                return "fault"
            self._decoded[word] = mnemonic, operands, self._work_of(operands)
        mnemonic, operands, work = self._decoded[word]
        self._target = self.pc + 1
        self.work += work
        if self.most_work is not None and self.work > self.most_work:
            raise ProgramError(f"instruction {self.pc}, {mnemonic}: the program does not end, or "
                               f"works on more than the image holds")
        try:
            status = getattr(self, "_" + mnemonic)(**operands) or "running"
        except (ValueError, IndexError, ArithmeticError) as error:
            raise ProgramError(f"instruction {self.pc}, {mnemonic}: {error}") from None
        self._waits = status != "running"
        if status == "running":
            self._done["instructions"] += 1
            self.pc = self._target
        return status

    def _work_of(self, operands: dict[str, Any]) -> int:
        elements = operands.get("n", operands.get("rows", 0))
        weights = elements * operands.get("blocks", 0) * self.config.lanes
        return _INSTRUCTION + self.config.positions * (elements + weights // 4)

    # Control

    def _halt(self) -> str:
        return "halted"

    def _next(self) -> str:
        step = self.scheduler.next()
        if step is None:
            return "waiting"
        self.step_now = step
        return "running"

    def _set(self, r: int, imm: int) -> None:
        if r:
            self.r[r] = imm

    def _add_r(self, r: int, imm: int) -> None:
        if r:
            self.r[r] = self.r[r] + imm & _MASK32

    def _jump(self, target: int) -> None:
        # The program counter has one bit more than the address of the program memory.
        self._target = target % (2 * self.config.program_words)

    def _bnz(self, r: int, target: int) -> None:
        if self.r[r]:
            self._jump(target)

    def _bns(self, target: int) -> None:
        if not self.step_now.sample:
            self._jump(target)

    def _stream(self, r: int, address: int, words: int) -> None:
        self.weights.append(self.r[r] + address & _MASK32, words)

    # Positions and operands

    def _positions(self, mask: int) -> list[int]:
        return [p for p in range(self.config.positions) if mask >> p & 1]

    def _places(self, positions: list[int]) -> list[int]:
        """Indices of positions on the second axis of the register arrays."""
        return positions

    @property
    def live(self) -> list[int]:
        """Places of the active positions, ascending."""
        return self._places(self._positions(self.step_now.live))

    def _slots(self) -> list[int]:
        """Slots whose state the step changes."""
        step = self.step_now
        return [step.slot] if step.chain else self._positions(step.live)

    def _place(self, operand: Operand) -> Operand:
        """The operand, with the index register added if it is indexed."""
        if not operand.indexed:
            return operand
        number = operand.number + self.r[isa.INDEX_REGISTER]
        return Operand(operand.space, number & (1 << Operand.NUMBER_BITS) - 1)

    def _read(self, operand: Operand, n: int, positions: list[int]) -> NDArray[np.float64]:
        return self.registers.read(self._place(operand), n, positions)

    def _write(self, operand: Operand, positions: list[int], values: NDArray[np.float64]) -> None:
        self.registers.write(self._place(operand), positions, values)

    # Memory

    def _bytes(self, address: int, words: int) -> slice:
        start = (address & _MASK32) * self.config.word_bytes
        stop = start + words * self.config.word_bytes
        if stop > len(self.memory):
            raise ValueError(f"memory word {stop // self.config.word_bytes - 1:#x} is outside "
                             f"of {len(self.memory) // self.config.word_bytes:#x} words")
        return slice(start, stop)

    def _whole_rows(self, n: int) -> int:
        return self.config.rows(n) * self.config.vector_lanes

    def _fetch(self, address: int, n: int) -> NDArray[np.float64]:
        """A vector stored in memory, in whole rows: (1, elements)."""
        words = self.config.vector_words(n)
        self._done["load_words"] += words
        data = self.memory[self._bytes(address, words)]
        return packing.unpack_vector(data, self._whole_rows(n), self.config)[None]

    def _put(self, address: int, values: NDArray[np.float64]) -> None:
        """Store a vector of whole rows, (1, elements)."""
        words = self.config.vector_words(values.shape[1])
        self.memory[self._bytes(address, words)] = packing.pack_vector(values[0], self.config)
        self.weights.written(address & _MASK32, words)
        self._done["store_words"] += words

    def _load(self, dst: Operand, n: int, r: int, address: int, pitch: int) -> None:
        base = self.r[r] + address
        if dst.space == Space.U:
            self.registers.write_uniform(self._place(dst).number, self._fetch(base, n))
            return
        for slot in self._slots():
            self._write(dst, self._places([slot]), self._fetch(base + slot * pitch, n))

    def _store(self, a: Operand, n: int, r: int, address: int, pitch: int) -> None:
        base, rows = self.r[r] + address, self._whole_rows(n)
        if a.space == Space.U:
            self._put(base, self.registers.uniform(self._place(a).number, rows))
            return
        for slot in self._slots():
            self._put(base + slot * pitch, self._read(a, rows, self._places([slot])))

    def _embed(self, dst: Operand, n: int, r: int, address: int, pitch: int) -> None:
        base = self.r[r] + address
        for p in self.live:
            self._write(dst, [p], self._fetch(base + self.step_now.tokens[p] * pitch, n))

    # Vector unit

    def _elementwise(self, operation: Callable[..., NDArray[np.float64]], dst: Operand,
                     operands: tuple[Operand, ...], n: int, stat: int = Stat.NONE,
                     stat_to: int = 0) -> None:
        positions = self.live
        if not positions:       # no step has been taken yet
            return
        x = operation(*(self._read(operand, n, positions) for operand in operands))
        self._result(dst, np.broadcast_to(x, (len(positions), n)), positions, stat, stat_to)

    def _result(self, dst: Operand, x: NDArray[np.float64], positions: list[int], stat: int,
                stat_to: int) -> None:
        self._write(dst, positions, x)
        if stat == Stat.ABSMAX:
            self.s[stat_to, positions] = self.alu.absmax(x)
        elif stat == Stat.SUMSQ:
            self.s[stat_to, positions] = self.alu.sumsq(x)

    def _mul(self, dst: Operand, a: Operand, b: Operand, n: int, stat: int, stat_to: int) -> None:
        self._elementwise(self.alu.mul, dst, (a, b), n, stat, stat_to)

    def _add(self, dst: Operand, a: Operand, b: Operand, n: int, stat: int, stat_to: int) -> None:
        self._elementwise(self.alu.add, dst, (a, b), n, stat, stat_to)

    def _fma(self, dst: Operand, a: Operand, b: Operand, c: Operand, n: int, stat: int,
             stat_to: int) -> None:
        self._elementwise(self.alu.fma, dst, (a, b, c), n, stat, stat_to)

    def _sigmoid(self, dst: Operand, a: Operand, n: int, stat: int, stat_to: int) -> None:
        self._elementwise(self.alu.sigmoid, dst, (a,), n, stat, stat_to)

    def _silu(self, dst: Operand, a: Operand, n: int, stat: int, stat_to: int) -> None:
        self._elementwise(self.alu.silu, dst, (a,), n, stat, stat_to)

    def _scan(self, dst: Operand, a: Operand, b: Operand, c: Operand, n: int, stat: int,
              stat_to: int) -> None:
        step, positions = self.step_now, self.live
        if not step.chain:
            self._elementwise(self.alu.fma, dst, (a, b, c), n, stat, stat_to)
            return
        h = np.zeros((1, n)) if step.fresh else self._read(b, n, self._places([step.slot]))
        states = []
        for p in self._positions(step.live):
            place = self._places([p])
            h = self.alu.fma(self._read(a, n, place), h, self._read(c, n, place))
            states.append(h)
        self._result(dst, np.concatenate(states), positions, stat, stat_to)

    def _carry(self, dst: Operand, a: Operand, n: int) -> None:
        step = self.step_now
        source = self._places([step.last]) if step.chain else self.live
        self._write(dst, self._places(self._slots()), self._read(a, n, source))

    def _quant(self, q: int, a: Operand, b: Operand, n: int) -> None:
        positions = self.live
        codes = self.alu.quant(self._read(a, n, positions), self._read(b, n, positions))
        codes = np.broadcast_to(codes, (len(positions), n))
        self.registers.write_codes(q, positions, codes)

    def _div(self, dst: Operand, a: Operand, b: Operand) -> None:
        self._elementwise(self.alu.div, dst, (a, b), 1)

    def _sqrt(self, dst: Operand, a: Operand) -> None:
        self._elementwise(self.alu.sqrt, dst, (a,), 1)

    def _const(self, dst: Operand, value: int) -> None:
        self.registers.scalar(self._place(dst).number)[:] = self.config.float.decode(value)

    # Array

    def _matmul(self, dst: Operand, q: int, a: Operand, rows: int, blocks: int) -> None:
        to_sampler = dst.space == Space.NONE
        weights = self.weights.take(rows, blocks)
        step = self.step_now
        positions = self._places(self._positions(step.sample if to_sampler else step.live))
        if not positions:
            return
        codes = self.registers.read_codes(q, weights.shape[1], positions)
        # Columns beyond the last code register are padding, whose trits are 0.
        sums = ternary.matmul(weights[:, :codes.shape[1]], codes)
        if to_sampler:
            self.sampler.take(sums, positions, self._read(a, 1, positions)[:, 0],
                              self._settings())
            if not self.keep_logits:
                return
        x = self.alu.mul(self.alu.round(sums), self._read(a, 1, positions))
        if to_sampler:
            self._rows.append(x)
        else:
            self._write(dst, positions, x)

    def _settings(self) -> list[Setting]:
        """Settings of the sampled positions, in ascending order."""
        scheduler = self.scheduler
        return [scheduler.settings[scheduler.slot_of(p)]
                for p in self._positions(self.step_now.sample)]

    def _emit(self) -> None:
        self.scheduler.emit(self.sampler.ids)
        self.sampler.clear()
        self._keep_rows()

    def _keep_rows(self) -> None:
        if self._rows:
            self.logits.append(np.concatenate(self._rows, 1))
            self._rows = []
