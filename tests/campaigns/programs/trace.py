"""The golden machine, watched: what each instruction touches, and whether that is defined."""

from collections import deque
from dataclasses import dataclass
import functools

import numpy as np

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.hw.control.sequencer import STREAM_DEPTH
from tern_fpga.hw.control.tickets import Queue, accesses_of
from tern_fpga.sim.golden.machine import Machine, ProgramError


__all__ = ["Access", "Event", "Undefined", "Trace"]


_MASK32 = (1 << 32) - 1


class Undefined(Exception):
    """The program does what nobody says the outcome of; ``pc`` is the instruction that does."""

    def __init__(self, pc, why):
        super().__init__(f"instruction {pc}: {why}")
        self.pc = pc


@dataclass(frozen=True)
class Access:
    """Registers that operand ``field`` reads or writes: ``count`` from ``first`` on, of a file
    (``v`` for ``u`` too), as a member of ``queue``."""
    field: str
    queue: Queue
    writes: bool
    file: str
    first: int
    count: int

    def meets(self, other):
        return (self.file == other.file and self.first < other.first + other.count
                and other.first < self.first + self.count)


@dataclass(frozen=True)
class Event:
    """An instruction that was executed; ``taken``: a branch that did not fall through;
    ``choices``: how the tokens of a matmul to the sampler are chosen."""
    pc: int
    instruction: isa.Instruction
    operands: dict
    accesses: tuple[Access, ...]
    step: object
    taken: bool
    choices: tuple


@functools.lru_cache(1 << 14)
def _decoded(word):
    mnemonic, operands = isa.decode(word)
    return isa.lookup(mnemonic), operands


@functools.lru_cache(1 << 14)
def _accesses(config, word, index):
    """What the word touches where r7 is ``index``."""
    instr, operands = _decoded(word)
    elements = operands.get("n", operands.get("rows", 1))
    found = []
    for field, writes, queue in accesses_of(instr):
        value = operands[field.name]
        size = config.register_elements
        if isinstance(value, Operand):
            if value.space is Space.NONE:
                continue
            number = value.number + index * value.indexed & (1 << Operand.NUMBER_BITS) - 1
            if value.space is Space.S:
                found.append(Access(field.name, queue, writes, "s", number, 1))
                continue
            if value.space is Space.U:
                size *= config.positions
            found.append(Access(field.name, queue, writes, "v", number, -(-elements // size)))
        elif field.kind == "code":
            if "blocks" in operands:
                elements = operands["blocks"] * config.lanes
            found.append(Access(field.name, queue, writes, "q", value, -(-elements // size)))
        elif operands["stat"]:
            found.append(Access(field.name, queue, writes, "s", value, 1))
    return tuple(found)


class Trace:
    """Runs a program on the golden machine to its end.

    What a program may not do, because units run at the same time or the formats do not provide for
    it, is in docs/architecture.md, "What a program must not do".

    Parameters
    ----------
    program : tests.campaigns.programs.program.Program
    most : int
        Instructions after which it counts as endless.
    machine : callable
        Makes a golden machine of an image.

    Members
    -------
    golden : Machine
    status : list of str
        After each round of messages.
    events : list of Event
        Every instruction that was executed.

    Raises
    ------
    Undefined
        In :meth:`run`.
    """
    def __init__(self, program, *, most=100_000, machine=Machine):
        self.program, self.config, self.most = program, program.config, most
        self.golden = machine(program.image())
        self.status = []
        self.events = []
        self._streams = deque()     # [words left, (first, end)] of what no matmul has taken
        self._fetched = []          # (first, end) in memory that may be fetched now
        self._stored = []           # ... that was written since the last `next`
        self._sampled = self._emitted = 0

    @property
    def executed(self):
        return len(self.events)

    def run(self):
        """To the end."""
        for words in self.program.send or ((),):
            self.golden.send(words)
            while (status := self._step()) == "running":
                pass
            self.status.append(status)
            if status != "waiting":
                break
        return self

    def _step(self):
        golden = self.golden
        pc = golden.pc
        word = golden.program[pc] if pc < len(golden.program) else 0
        try:
            instr, operands = _decoded(word)
        except ValueError:
            instr, accesses = None, ()
        else:
            accesses = _accesses(self.config, word, golden.r[isa.INDEX_REGISTER])
            self._check(pc, instr, operands, accesses)
        step = golden.step_now
        try:
            status = golden.step()
        except ProgramError as error:
            raise Undefined(pc, str(error)) from None
        if status == "running":
            if self.executed >= self.most:
                raise Undefined(pc, "the program does not end")
            if instr.mnemonic == "next":
                step, self._sampled, self._emitted = golden.step_now, 0, 0
                self._fetched, self._stored = [place for _, place in self._streams], []
            to_sampler = instr.mnemonic == "matmul" and operands["dst"].space is Space.NONE
            choices = tuple((each.inverse > 0, each.top_k > 0, each.penalty > 0)
                            for each in golden._settings()) if to_sampler else ()
            self.events.append(Event(pc, instr, operands, accesses, step, golden.pc != pc + 1,
                                     choices))
        return status

    def _check(self, pc, instr, operands, accesses):
        config, golden = self.config, self.golden
        sizes = {"v": config.registers, "q": config.code_registers, "s": isa.SCALARS}
        for access in accesses:
            if access.first + access.count > sizes[access.file]:
                raise Undefined(pc, f"there is no {access.file}{access.first + access.count - 1}")
        if instr.unit is isa.Unit.VECTOR:
            self._check_overlap(pc, operands, accesses)
        match instr.mnemonic:
            case "stream":
                words = operands["words"]
                if words % config.beat_words:
                    raise Undefined(pc, "a stream of half a beat")
                if words:
                    first = golden.r[operands["r"]] + operands["address"] & _MASK32
                    place = first, first + words
                    self._streams.append([words, place])
                    self._fetched.append(place)
                    self._check_order(pc, [place], self._stored)
                if len(self._streams) > STREAM_DEPTH:
                    raise Undefined(pc, f"more than {STREAM_DEPTH} streams before their matmuls")
            case "matmul":
                self._use(operands["rows"] * operands["blocks"] * config.beat_words)
                to_sampler = operands["dst"].space is Space.NONE
                if to_sampler and golden.step_now.sample and self._emitted:
                    raise Undefined(pc, "a matmul to the sampler behind the step's emit")
                self._sampled += to_sampler
            case "emit":
                if golden.step_now.sample and (self._emitted or not self._sampled):
                    raise Undefined(pc, "no matmul to the sampler, or a second emit")
                self._emitted += 1
            case "next":
                if golden.step_now.sample and not self._emitted:
                    raise Undefined(pc, "a step that samples, without emit")
            case "load" | "embed":
                self._check_floats(pc, operands, self._places(instr, operands))
            case "store":
                places = self._places(instr, operands)
                self._check_order(pc, places, self._fetched)
                self._stored += places

    @staticmethod
    def _check_overlap(pc, operands, accesses):
        """A result may replace an operand, but no part of one, and nothing that positions share."""
        for dst in (a for a in accesses if a.writes and a.file == "v"):
            for source in (a for a in accesses if not a.writes and a.meets(dst)):
                if operands[source.field].space is Space.U or source.first != dst.first:
                    raise Undefined(pc, f"v{dst.first} overlaps {source.field}")

    def _use(self, words):
        while words and self._streams:
            used = min(words, self._streams[0][0])
            words -= used
            self._streams[0][0] -= used
            if not self._streams[0][0]:
                self._streams.popleft()

    @staticmethod
    def _check_order(pc, places, others):
        """The memory unit and the weight stream do not wait for each other."""
        for first, end in places:
            if any(first < other_end and other < end for other, other_end in others):
                raise Undefined(pc, "a store and a stream of the same words, without `next`")

    def _places(self, instr, operands):
        """(first, end) of the memory words of a transfer, of each of its vectors."""
        golden, config = self.golden, self.config
        step, base = golden.step_now, golden.r[operands["r"]] + operands["address"]
        if instr.mnemonic == "embed":
            factors = [step.tokens[p] for p in range(config.positions) if step.live >> p & 1]
        elif operands["a" if instr.mnemonic == "store" else "dst"].space is Space.U:
            factors = [0]
        else:
            factors = golden._slots()
        starts = [base + factor * operands["pitch"] & _MASK32 for factor in factors]
        return [(first, first + config.vector_words(operands["n"])) for first in starts]

    def _check_floats(self, pc, operands, places):
        """Memory must hold floats where one is loaded: there are zeros of more than one form, and
        a `store` shows which."""
        config, width = self.config, self.config.float.width
        rows = config.rows(operands["n"]) * config.vector_lanes
        for first, end in places:
            data = self.golden.memory[first * config.word_bytes:end * config.word_bytes]
            bits = np.unpackbits(data, bitorder="little")[:rows * width]
            if len(bits) < rows * width:
                return              # outside: the machine will say so
            bits = bits.reshape(rows, width)
            zero = ~bits[:, config.float.mantissa:-1].any(1)
            if bits[zero].any():
                raise Undefined(pc, "memory holds no float there")
