"""Expands operations over named values into instructions over named values.

A BitLinear after a norm (see :mod:`assembler.compiler.fuse`) is computed as ``v = a * G``. G is the
product of both gains and the scale of the matrix. The codes are ``round(127 v / max|v|)``, and the
sums are multiplied by ``max|v| * k`` with
``k = sqrt(n) / 127 / sqrt(sum((a*outer)^2) + eps * (sum(a^2) + n * eps))``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.compiler.allocate import Instr, Reg
from tern_fpga.assembler.compiler.fuse import NormedCodes, fused
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.formats import CODE_MAX
from tern_fpga.assembler.files.packing import blocks
from tern_fpga.assembler.models.program import (
    Add,
    Codes,
    Complement,
    Embed,
    LayerProgram,
    Lerp,
    Linear,
    Map,
    Mul,
    Norm,
    Operation,
    Part,
    Scan,
)


__all__ = ["Parameter", "States", "Expansion"]


_MAX_ROWS = 1 << 15        # rows of one matmul: a multiple of any accumulator_rows


@dataclass(frozen=True)
class Parameter:
    """A vector of parameters in the memory block of a part.

    It is the product of the vectors ``factors``, which an architecture knows by name, and of the
    scale of ``matrix``, if there is one; with ``complement``, 1 minus that. ``offset`` is in memory
    words.
    """
    name: str
    elements: int
    factors: tuple[str, ...] = ()
    matrix: str | None = None
    complement: bool = False
    offset: int = 0


class States:
    """Where the states of a program are: all of them in vector registers, or in memory.

    In registers, r7 counts the registers of the repetitions before this one, and the states of a
    repetition follow each other. In memory, r3 counts words in the same way.

    Parameters
    ----------
    program : assembler.models.program.LayerProgram
    config : Config
    resident : bool
        Whether states stay in vector registers.
    """
    BLOCK = "state"         # the value that has the registers of all states

    def __init__(self, program: LayerProgram, config: Config, *, resident: bool) -> None:
        self._program, self._config, self.resident = program, config, resident
        self._first: dict[str, tuple[int, int]] = {}        # registers, words
        for part in program.parts:
            registers, words = 0, 0
            for name in part.states():
                self._first[name] = registers, words
                registers += registers_of("v", program.states[name], config)
                words += self._words(name)

    def _words(self, name: str) -> int:
        return self._config.positions * self._config.vector_words(self._program.states[name])

    def step(self, part: Part) -> int:
        """Registers, or memory words, of the states of a repetition."""
        return sum(registers_of("v", self._program.states[name], self._config) if self.resident
                   else self._words(name) for name in part.states())

    @property
    def size(self) -> int:
        """Registers, or memory words, of all states."""
        return sum((part.repeats or 1) * self.step(part) for part in self._program.parts)

    def register(self, name: str) -> Reg:
        """A state as an operand."""
        if not self.resident:
            return Reg("v", name, self._program.states[name])
        first, _ = self._first[name]
        block = Reg("v", self.BLOCK, self.size * self._config.register_elements, indexed=True)
        if not first:
            return block
        return Reg("v", name, self._program.states[name], indexed=True, within=block, offset=first)

    def address(self, name: str) -> str:
        """Of a state in memory, as text: r3 is added."""
        _, words = self._first[name]
        return f"states+{words}" if words else "states"


class Expansion:
    """Instructions of one part of a layer program.

    Parameters
    ----------
    program : assembler.models.program.LayerProgram
    config : Config
    states : States
        Where states are.
    constants : dict
        Name -> value, shared by all parts; the constants of this part are added.
    square : dict
        Value -> scalar register that holds its sum of squares when the part begins.

    Members
    -------
    code : list of Instr
    parameters : list of Parameter
        In the order of their first use, without offsets.
    square : dict
        As the parameter, when the part ends.
    """

    def __init__(self, program: LayerProgram, config: Config, *, states: States,
                 constants: dict[str, float], square: Mapping[str, Reg] = {}) -> None:
        self.program, self.config, self.states = program, config, states
        self.constants = constants
        self.code: list[Instr] = []
        self.parameters: list[Parameter] = []
        self.note = ""
        self.square = dict(square)
        # (a, b, outer) -> scalar k, until one of these values is overwritten
        self.scales: dict[tuple[str | None, ...], Reg] = {}

    def _emit(self, mnemonic: str, stat: tuple[str, Reg] | None = None,
              **operands: Reg | int | str) -> None:
        self.code.append(Instr(mnemonic, operands, stat, note=self.note))
        self.note = ""

    def _v(self, name: str, elements: int | None = None) -> Reg:
        return Reg("v", name, self.program.lengths[name] if elements is None else elements)

    def _constant(self, name: str, value: float) -> Reg:
        self.constants[name] = value
        return Reg("s", name)

    def _parameter(self, parameter: Parameter) -> Reg:
        if parameter not in self.parameters:
            if parameter.name in {p.name for p in self.parameters}:
                raise ValueError(f"two parameters of a part are called {parameter.name}")
            self.parameters.append(parameter)
        return Reg("u", parameter.name, parameter.elements)

    def _scalar(self, mnemonic: str, name: str, *sources: Reg) -> Reg:
        """Append an instruction on scalar registers; returns its destination, called ``name``."""
        dst = Reg("s", name)
        fields: dict[str, Reg | int] = dict(zip("abc", sources))
        if mnemonic not in ("div", "sqrt"):
            fields["n"] = 1
        self._emit(mnemonic, None, dst=dst, **fields)
        return dst

    def add_operations(self, part: Part, needed: Sequence[str]) -> None:
        """Append the instructions of a part. ``needed``: values that are used after it."""
        for op in fused(part.operations, needed):
            self.note = str(op)
            _EXPANSIONS[type(op)](self, op)
            self.scales = {k: v for k, v in self.scales.items() if op.out not in k}

    def _sum_of_squares(self, name: str) -> Reg:
        """The scalar that holds a value's sum of squares; computes it if it is not known yet."""
        if name not in self.square:
            n = self.program.lengths[name]
            self.square[name] = Reg("s", f"{name}_sumsq")
            self._emit("mul", ("sumsq", self.square[name]), dst="_", a=self._v(name),
                      b=self._constant("one", 1.0), n=n)
        return self.square[name]

    def _root(self, stem: str, total: Reg, n: int, unit: float, name: str) -> Reg:
        """``sqrt(n) * unit / sqrt(total)``; ``name`` of the constant."""
        self._scalar("sqrt", total.name, total)
        return self._scalar("div", f"{stem}_k", self._constant(name, math.sqrt(n) * unit), total)

    def embed(self, op: Embed) -> None:
        n = self.program.lengths[op.out]
        self._emit("embed", dst=self._v(op.out), r="r0", n=n, address="embedding",
                  pitch=self.config.vector_words(n))
        self.square.pop(op.out, None)
        self._sum_of_squares(op.out)

    def norm(self, op: Norm) -> None:
        """A norm that no codes follow."""
        n, stem = self.program.lengths[op.out], op.out
        gain = self._parameter(Parameter(f"{stem}_gain", n, (op.gain,)))
        total = self._scalar("add", f"{stem}_norm", self._sum_of_squares(op.a),
                             self._constant(f"eps_{n}", n * self.program.eps))
        k = self._root(stem, total, n, 1.0, f"norm_root_{n}")
        self._elementwise("mul", op, self._v(op.a), gain)
        self._elementwise("mul", op, self._v(op.out), k)

    def codes(self, op: Codes) -> None:
        """Codes of a value that no norm precedes."""
        stem = op.out.removesuffix("_codes")
        n = self.program.lengths[op.out]
        gain = self._parameter(Parameter(f"{stem}_gain", n, (), op.matrix))
        largest = self._quantise(op, stem, self._v(op.a), gain)
        self._scalar("mul", f"{stem}_scale", largest,
                     self._constant("one_code", 1 / CODE_MAX))

    def normed_codes(self, op: NormedCodes) -> None:
        stem = op.out.removesuffix("_codes")
        n = self.program.lengths[op.out]
        factors = (op.inner, op.outer) if op.outer else (op.inner,)
        gain = self._parameter(Parameter(f"{stem}_gain", n, factors, op.matrix))
        late, factor = self._v(op.a), gain
        weighted: Reg | None = None
        if op.b:
            # The factor of `a` is computed before `a` becomes available.
            weighted, factor = self._v(op.b), self._v(f"{stem}_factor", n)
            self._emit("mul", dst=factor, a=weighted, b=gain, n=n)
        if op.outer:
            outer = self._parameter(Parameter(op.outer.split(".")[-1], n, (op.outer,)))
            if op.b:
                weighted = self._v(f"{stem}_weighted", n)
                self._emit("mul", dst=weighted, a=self._v(op.b), b=outer, n=n)
            else:
                weighted = outer
        largest = self._quantise(op, stem, late, factor)
        key = (op.a, op.b, op.outer)
        if key not in self.scales:
            self.scales[key] = self._norms(stem, late, weighted or self._constant("one", 1.0), n,
                                          self._sum_of_squares(op.a) if op.outer else None)
        self._scalar("mul", f"{stem}_scale", largest, self.scales[key])

    def _quantise(self, op: Codes | NormedCodes, stem: str, late: Reg, factor: Reg) -> Reg:
        """Codes of ``late * factor``; returns the scalar of its largest magnitude."""
        n = self.program.lengths[op.out]
        code = Reg("q", op.out, blocks(n, self.config) * self.config.lanes)
        value, largest = self._v(f"{stem}_v", n), Reg("s", f"{stem}_max")
        self._emit("mul", ("absmax", largest), dst=value, a=late, b=factor, n=n)
        step = self._scalar("div", f"{stem}_step", self._constant("code_max", CODE_MAX), largest)
        self._emit("quant", q=code, a=value, b=step, n=n)
        return largest

    def _norms(self, stem: str, late: Reg, weighted: Reg, n: int, square: Reg | None) -> Reg:
        """The scalar k of the module's docstring."""
        eps_n = self._constant(f"eps_{n}", n * self.program.eps)
        total = Reg("s", f"{stem}_norm")
        self._emit("mul", ("sumsq", total), dst="_", a=late, b=weighted, n=n)
        if square is None:
            self._scalar("add", total.name, total, eps_n)
        else:
            inner = self._scalar("add", f"{stem}_inner", square, eps_n)
            self._scalar("fma", total.name, inner, self._constant("eps", self.program.eps), total)
        return self._root(stem, total, n, 1 / CODE_MAX, f"root_{n}")

    def linear(self, op: Linear) -> None:
        stem = op.codes.removesuffix("_codes")
        n = self.program.lengths[op.codes]
        width = blocks(n, self.config)
        for start in range(op.start, op.stop, _MAX_ROWS if op.out is None else op.stop):
            rows = (min(_MAX_ROWS, op.stop - start) if op.out is None else op.stop - start)
            self._emit("matmul", dst=self._v(op.out) if op.out else "_",
                      q=Reg("q", op.codes, width * self.config.lanes),
                      a=Reg("s", f"{stem}_scale"), rows=rows, blocks=width)
        if op.out is not None:
            self.square.pop(op.out, None)

    def _elementwise(self, mnemonic: str, op: Operation, *sources: Reg,
                     stat: tuple[str, Reg] | None = None) -> None:
        assert op.out is not None
        self._emit(mnemonic, stat, dst=self._v(op.out), **dict(zip("abc", sources)),
                  n=self.program.lengths[op.out])
        self.square.pop(op.out, None)

    def map(self, op: Map) -> None:
        self._elementwise(op.function, op, self._v(op.a))

    def lerp(self, op: Lerp) -> None:
        n = self.program.lengths[op.out]
        slope = self._parameter(Parameter(f"{op.out}_slope", n, (op.floor,), complement=True))
        floor = self._parameter(Parameter(f"{op.out}_floor", n, (op.floor,)))
        self._elementwise("fma", op, self._v(op.a), slope, floor)

    def complement(self, op: Complement) -> None:
        self._elementwise("fma", op, self._v(op.a), self._constant("minus_one", -1.0),
                          self._constant("one", 1.0))

    def mul(self, op: Mul) -> None:
        self._elementwise("mul", op, self._v(op.a), self._v(op.b))

    def add(self, op: Add) -> None:
        square = Reg("s", f"{op.out}_sumsq")    # a norm of the residual sum follows
        self._elementwise("add", op, self._v(op.a), self._v(op.b), stat=("sumsq", square))
        self.square[op.out] = square

    def scan(self, op: Scan) -> None:
        n = self.program.lengths[op.out]
        state = self.states.register(op.state)
        pitch = self.config.vector_words(n)
        address = self.states.address(op.state)
        if not self.states.resident:
            self._emit("load", dst=state, r="r3", n=n, address=address, pitch=pitch)
        self._emit("scan", dst=self._v(op.out), a=self._v(op.decay), b=state, c=self._v(op.a), n=n)
        self._emit("carry", dst=state, a=self._v(op.out), n=n)
        if not self.states.resident:
            self._emit("store", a=state, r="r3", n=n, address=address, pitch=pitch)


# How each operation is expanded.
_EXPANSIONS: dict[type[Operation], Callable[[Expansion, Any], None]] = {
    Embed: Expansion.embed, Norm: Expansion.norm, Codes: Expansion.codes,
    NormedCodes: Expansion.normed_codes, Linear: Expansion.linear, Map: Expansion.map,
    Lerp: Expansion.lerp, Complement: Expansion.complement, Mul: Expansion.mul, Add: Expansion.add,
    Scan: Expansion.scan,
}
