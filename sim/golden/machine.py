"""The golden machine: runs a program instruction by instruction, bit for bit as the core does."""

from collections import deque

import numpy as np

from assembler import isa, packing
from assembler.isa import Space, Stat
from sim.golden import ternary
from sim.golden.sampler import Sampler
from sim.golden.scheduler import Scheduler, Step
from sim.golden.vector import VectorUnit


__all__ = ["Machine"]


_MASK32 = (1 << 32) - 1
_CACHE_BYTES = 1 << 30     # unpacked weights that are kept: a 370M model's fit


class Machine:
    """Everything that a program can see or change.

    Parameters
    ----------
    image : assembler.image.Image
        See :meth:`bare` for a machine without one.
    logits : bool
        Keep the logits of every sampled position (``Control.LOGITS``).

    Members
    -------
    v : (registers, positions, register_elements) float64
        Vector registers. Flat in this order from register r on, it is the uniform vector at r.
    q : (code_registers, positions, register_elements) int8
    s : (32, positions) float64
    r : list of 8 int
    pc : int
        Instruction to be executed next.
    memory : (bytes,) uint8
    stream : deque of [address, words]
        Weight stream that no matmul has taken yet, in memory words.
    step_now : Step
        Positions, mode and tokens that ``next`` took last.
    scheduler, sampler : Scheduler, Sampler
    tokens : list of int
        Words to the host; see :func:`sim.golden.scheduler.parse_token`.
    logits : list of (sampled positions ascending, vocabulary) float64
        One array for each ``emit``, if they are kept.
    saturated : bool
    weight_words, array_beats : int
        The counters of these names in ``assembler.registers``.

    Raises
    ------
    ValueError
        ``step`` met a program that leaves the registers, the memory or the weight stream.
    """
    def __init__(self, image, *, logits=False):
        self._setup(image.config, image.instructions(), image.memory(), logits)

    @classmethod
    def bare(cls, config, program, memory=None, *, logits=False):
        """A machine without an image.

        ``program``: instruction words; ``memory``: (bytes,) uint8 from address 0, the rest of
        ``config.memory_bytes`` is 0.
        """
        full = np.zeros(config.memory_bytes, np.uint8)
        if memory is not None:
            full[:len(memory)] = memory
        machine = cls.__new__(cls)
        machine._setup(config, list(program), full, logits)
        return machine

    def _setup(self, config, program, memory, logits):
        self.config = config
        self.program = program
        self.memory = memory
        self.keep_logits = logits
        positions, elements = config.positions, config.register_elements
        self.v = np.zeros((config.registers, positions, elements))
        self.q = np.zeros((config.code_registers, positions, elements), np.int8)
        self.s = np.zeros((isa.SCALARS, positions))
        self.r = [0] * isa.ADDRESS_REGISTERS
        self.pc = 0
        self.stream = deque()
        self.scheduler = Scheduler(config)
        self.sampler = Sampler(positions)
        self.alu = VectorUnit(config.float)
        self.step_now = Step(0, 0, False, False, 0, 0, (0,) * positions)
        self.logits = []
        self.weight_words = self.array_beats = 0
        self._rows = []                 # logits since the last emit: (sampled, rows) each
        self._weights = {}              # unpacked: (address, rows, blocks) -> int8
        self._cached = 0
        self._decoded = {}

    @property
    def tokens(self):
        return self.scheduler.tokens

    @property
    def saturated(self):
        return self.alu.saturated

    def send(self, words):
        """Message words from the host."""
        for word in words:
            self.scheduler.send(word)

    def run(self):
        """Execute until there is nothing to do; returns the status that says why."""
        while (status := self.step()) == "running":
            pass
        return status

    def step(self):
        """Execute one instruction.

        Returns
        -------
        str
            ``running``; ``waiting`` at a ``next`` without a step; ``halted``; or ``fault`` at
            an opcode that does not exist. After all but the first ``pc`` is still that
            instruction's.
        """
        word = self.program[self.pc] if self.pc < len(self.program) else 0
        if word not in self._decoded:
            try:
                self._decoded[word] = isa.decode(word)
            except ValueError:
                return "fault"
        mnemonic, operands = self._decoded[word]
        self._target = self.pc + 1
        try:
            status = getattr(self, "_" + mnemonic)(**operands) or "running"
        except ValueError as error:
            raise ValueError(f"instruction {self.pc}, {mnemonic}: {error}") from None
        if status == "running":
            self.pc = self._target
        return status

    # Control

    def _halt(self):
        return "halted"

    def _next(self):
        step = self.scheduler.next()
        if step is None:
            return "waiting"
        self.step_now = step
        return "running"

    def _set(self, r, imm):
        if r:
            self.r[r] = imm

    def _add_r(self, r, imm):
        if r:
            self.r[r] = self.r[r] + imm & _MASK32

    def _jump(self, target):
        self._target = target

    def _bnz(self, r, target):
        if self.r[r]:
            self._target = target

    def _bns(self, target):
        if not self.step_now.sample:
            self._target = target

    def _stream(self, r, address, words):
        if words:
            self.stream.append([self.r[r] + address & _MASK32, words])

    # Positions and registers

    def _positions(self, mask):
        return [p for p in range(self.config.positions) if mask >> p & 1]

    @property
    def live(self):
        """Positions that compute, ascending."""
        return self._positions(self.step_now.live)

    def _number(self, operand):
        index = self.r[isa.INDEX_REGISTER] if operand.indexed else 0
        return operand.number + index & (1 << isa.Operand.NUMBER_BITS) - 1

    def _vector(self, operand, n):
        """View of a vector: (positions, registers, elements), and the registers it takes."""
        first = self._number(operand)
        count = -(-n // self.config.register_elements)
        if first + count > self.config.registers:
            raise ValueError(f"v{first} has no {n} elements: the last register is "
                             f"v{self.config.registers - 1}")
        return self.v[first:first + count].transpose(1, 0, 2)

    def _uniform(self, operand, n):
        """View of a uniform vector: (n,)."""
        start = self._number(operand) * self.config.positions * self.config.register_elements
        if start + n > self.v.size:
            raise ValueError(f"u{self._number(operand)} has no {n} elements")
        return self.v.reshape(-1)[start:start + n]

    def _scalar(self, operand):
        number = self._number(operand)
        if number >= isa.SCALARS:
            raise ValueError(f"there is no s{number}")
        return self.s[number]

    def _read(self, operand, n, positions):
        """Values of an operand: (positions, n), or what broadcasts to it."""
        if operand.space == Space.V:
            return self._vector(operand, n)[positions].reshape(len(positions), -1)[:, :n]
        if operand.space == Space.U:
            return self._uniform(operand, n)
        return self._scalar(operand)[positions, None]

    def _write(self, operand, positions, values):
        """Write exactly the elements of ``values`` (positions, n)."""
        if operand.space == Space.S:
            self._scalar(operand)[positions] = values[:, 0]
        elif operand.space == Space.V:
            n, size = values.shape[1], self.config.register_elements
            view = self._vector(operand, n)
            whole = n // size
            view[positions, :whole] = values[:, :whole * size].reshape(len(positions), -1, size)
            if n % size:
                view[positions, whole, :n % size] = values[:, whole * size:]

    # Memory

    def _bytes(self, address, words):
        start = (address & _MASK32) * self.config.word_bytes
        stop = start + words * self.config.word_bytes
        if stop > len(self.memory):
            raise ValueError(f"memory word {stop // self.config.word_bytes - 1:#x} is outside "
                             f"of {len(self.memory) // self.config.word_bytes:#x} words")
        return slice(start, stop)

    def _whole_rows(self, n):
        return self.config.rows(n) * self.config.vector_lanes

    def _fetch(self, address, n):
        data = self.memory[self._bytes(address, self.config.vector_words(n))]
        return packing.unpack_vector(data, self._whole_rows(n), self.config)

    def _slots(self):
        """Positions whose state a memory instruction moves."""
        return [self.step_now.slot] if self.step_now.chain else self.live

    def _load(self, dst, n, r, address, pitch):
        base = self.r[r] + address
        if dst.space == Space.U:
            self._uniform(dst, self._whole_rows(n))[:] = self._fetch(base, n)
            return
        for slot in self._slots():
            self._write(dst, [slot], self._fetch(base + slot * pitch, n)[None])

    def _store(self, a, n, r, address, pitch):
        base, rows = self.r[r] + address, self._whole_rows(n)
        if a.space == Space.U:
            self._put(base, self._uniform(a, rows))
            return
        for slot in self._slots():
            self._put(base + slot * pitch, self._read(a, rows, [slot])[0])

    def _put(self, address, values):
        place = self._bytes(address, self.config.vector_words(len(values)))
        self.memory[place] = packing.pack_vector(values, self.config)
        first, last = (b // self.config.word_bytes for b in (place.start, place.stop - 1))
        for key in [k for k in self._weights
                    if k[0] <= last and first < k[0] + k[1] * k[2] * self.config.beat_words]:
            self._cached -= self._weights.pop(key).size         # a program that writes weights

    def _embed(self, dst, n, r, address, pitch):
        base = self.r[r] + address
        for p in self.live:
            self._write(dst, [p], self._fetch(base + self.step_now.tokens[p] * pitch, n)[None])

    # Vector unit

    def _elementwise(self, operation, dst, operands, n, stat, stat_to):
        positions = self.live
        if not positions:
            return
        x = operation(*(self._read(operand, n, positions) for operand in operands))
        self._result(dst, np.broadcast_to(x, (len(positions), n)), positions, stat, stat_to)

    def _result(self, dst, x, positions, stat, stat_to):
        self._write(dst, positions, x)
        if stat == Stat.ABSMAX:
            self.s[stat_to, positions] = self.alu.absmax(x)
        elif stat == Stat.SUMSQ:
            self.s[stat_to, positions] = self.alu.sumsq(x)

    def _mul(self, dst, a, b, n, stat, stat_to):
        self._elementwise(self.alu.mul, dst, (a, b), n, stat, stat_to)

    def _add(self, dst, a, b, n, stat, stat_to):
        self._elementwise(self.alu.add, dst, (a, b), n, stat, stat_to)

    def _fma(self, dst, a, b, c, n, stat, stat_to):
        self._elementwise(self.alu.fma, dst, (a, b, c), n, stat, stat_to)

    def _sigmoid(self, dst, a, n, stat, stat_to):
        self._elementwise(self.alu.sigmoid, dst, (a,), n, stat, stat_to)

    def _silu(self, dst, a, n, stat, stat_to):
        self._elementwise(self.alu.silu, dst, (a,), n, stat, stat_to)

    def _scan(self, dst, a, b, c, n, stat, stat_to):
        step, positions = self.step_now, self.live
        if not step.chain:
            self._elementwise(self.alu.fma, dst, (a, b, c), n, stat, stat_to)
            return
        h = np.zeros((1, n)) if step.fresh else self._read(b, n, [step.slot])
        out = np.empty((len(positions), n))
        for row, p in enumerate(positions):
            h = self.alu.fma(self._read(a, n, [p]), h, self._read(c, n, [p]))
            out[row] = h
        self._result(dst, out, positions, stat, stat_to)

    def _carry(self, dst, a, n):
        step, positions = self.step_now, self.live
        if step.chain:
            self._write(dst, [step.slot], self._read(a, n, [step.last]))
        else:
            self._write(dst, positions, self._read(a, n, positions))

    def _quant(self, q, a, b, n):
        positions = self.live
        codes = np.broadcast_to(self.alu.quant(self._read(a, n, positions),
                                               self._read(b, n, positions)),
                                (len(positions), n))
        size = self.config.register_elements
        if q + -(-n // size) > self.config.code_registers:
            raise ValueError(f"q{q} has no {n} elements")
        view = self.q[q:].transpose(1, 0, 2)
        for e in range(0, n, size):
            view[positions, e // size, :min(size, n - e)] = codes[:, e:e + size]

    def _div(self, dst, a, b):
        self._elementwise(self.alu.div, dst, (a, b), 1, Stat.NONE, 0)

    def _sqrt(self, dst, a):
        self._elementwise(self.alu.sqrt, dst, (a,), 1, Stat.NONE, 0)

    def _const(self, dst, value):
        self._scalar(dst)[:] = self.config.float.decode(value)

    # Array

    def _matmul(self, dst, q, a, rows, blocks):
        to_sampler = dst.space == Space.NONE
        weights = self._take(rows, blocks)
        positions = self._positions(self.step_now.sample if to_sampler else self.step_now.live)
        if not positions:
            return
        columns = blocks * self.config.lanes
        last = q + -(-columns // self.config.register_elements)
        codes = self.q[q:last].transpose(1, 0, 2)[positions].reshape(len(positions), -1)
        sums = ternary.matmul(weights[:, :codes.shape[1]], codes[:, :columns])
        if to_sampler:
            self.sampler.take(sums, positions)
            if not self.keep_logits:
                return
        x = self.alu.mul(self.alu.round(sums), self._scalar(a)[positions, None])
        if to_sampler:
            self._rows.append(x)
        else:
            self._write(dst, positions, x)

    def _take(self, rows, blocks):
        """The next ``rows * blocks`` beats as a matrix (rows, blocks * lanes) int8."""
        beats = rows * blocks
        words = beats * self.config.beat_words
        self.weight_words += words
        self.array_beats += beats
        parts, left = [], words
        while left:
            if not self.stream:
                raise ValueError(f"the weight stream lacks {left} of {words} words")
            address, size = self.stream[0]
            taken = min(size, left)
            parts.append((address, taken))
            left -= taken
            self.stream[0] = [address + taken, size - taken]
            if taken == size:
                self.stream.popleft()
        key = (parts[0][0], rows, blocks) if len(parts) == 1 else None
        if key in self._weights:
            return self._weights[key]
        data = np.concatenate([self.memory[self._bytes(*part)] for part in parts] or
                              [np.zeros(0, np.uint8)])
        weights = packing.untile(data, rows, blocks * self.config.lanes, self.config)
        if key is not None and self._cached + weights.size <= _CACHE_BYTES:
            self._weights[key] = weights
            self._cached += weights.size
        return weights

    def _emit(self):
        self.scheduler.emit(self.sampler.ids)
        self.sampler.clear()
        if self._rows:
            self.logits.append(np.concatenate(self._rows, 1))
            self._rows = []
