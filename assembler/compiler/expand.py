"""Expands operations over named values into instructions over named values.

A BitLinear after a norm is computed as ``v = a * G``, where G is the product of both gains and the
scale of the matrix. The codes are ``round(127 v / max|v|)``, and the sums are multiplied by
``max|v| * k`` with ``k = sqrt(n) / 127 / sqrt(sum((a*outer)^2) + eps * (sum(a^2) + n * eps))``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.compiler.allocate import Instr, Reg
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.formats import CODE_MAX
from tern_fpga.assembler.files.packing import blocks
from tern_fpga.assembler.models import hgrn as model


__all__ = ["Parameter", "Expansion"]


_Elementwise = model.Map | model.Lerp | model.Complement | model.Mul | model.Add

_EPS = model.Hgrn.EPS
_MAX_ROWS = 1 << 15        # rows of one matmul: a multiple of any accumulator_rows


@dataclass(frozen=True)
class Parameter:
    """A vector of parameters in the memory block of a layer.

    ``kind``: ``gain`` (both gains of the Codes ``op``, times the scale of its matrix), ``outer``
    (its outer gain), ``floor`` or ``slope`` (of the Lerp ``op``; slope is 1 - floor).
    ``offset`` is in memory words.
    """
    name: str
    kind: str
    op: model.Codes | model.Lerp
    elements: int
    offset: int = 0


class Expansion:
    """Instructions of one part of a layer program.

    Parameters
    ----------
    program : assembler.models.hgrn.LayerProgram
    config : Config
    resident : bool
        Whether states stay in vector registers.
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

    def __init__(self, program: model.LayerProgram, config: Config, *, resident: bool,
                 constants: dict[str, float], square: Mapping[str, Reg] = {}) -> None:
        self.program, self.config, self.resident = program, config, resident
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

    def _parameter(self, name: str, kind: str, op: model.Codes | model.Lerp, elements: int) -> Reg:
        if name not in {p.name for p in self.parameters}:
            self.parameters.append(Parameter(name, kind, op, elements))
        return Reg("u", name, elements)

    def _scalar(self, mnemonic: str, name: str, *sources: Reg) -> Reg:
        """Append an instruction on scalar registers; returns its destination, called ``name``."""
        dst = Reg("s", name)
        fields: dict[str, Reg | int] = dict(zip("abc", sources))
        if mnemonic not in ("div", "sqrt"):
            fields["n"] = 1
        self._emit(mnemonic, None, dst=dst, **fields)
        return dst

    def add_operation(self, op: model.Operation) -> None:
        """Append the instructions of one operation."""
        self.note = str(op)
        getattr(self, "_" + type(op).__name__.lower())(op)
        out = getattr(op, "out", None)
        self.scales = {k: v for k, v in self.scales.items() if out not in k}

    def _sum_of_squares(self, name: str) -> Reg:
        """The scalar that holds a value's sum of squares; computes it if it is not known yet."""
        if name not in self.square:
            n = self.program.lengths[name]
            self.square[name] = Reg("s", f"{name}_sumsq")
            self._emit("mul", ("sumsq", self.square[name]), dst="_", a=self._v(name),
                      b=self._constant("one", 1.0), n=n)
        return self.square[name]

    def _embed(self, op: model.Embed) -> None:
        n = self.program.lengths[op.out]
        self._emit("embed", dst=self._v(op.out), r="r0", n=n, address="embedding",
                  pitch=self.config.vector_words(n))
        self.square.pop(op.out, None)
        self._sum_of_squares(op.out)

    def _codes(self, op: model.Codes) -> None:
        stem = op.out.removesuffix("_codes")
        n = self.program.lengths[op.out]
        code = Reg("q", op.out, blocks(n, self.config) * self.config.lanes)
        gain = self._parameter(f"{stem}_gain", "gain", op, n)
        late, factor = self._v(op.a), gain
        weighted: Reg | None = None
        if op.b:
            # The factor of `a` is computed before `a` becomes available.
            weighted, factor = self._v(op.b), self._v(f"{stem}_factor", n)
            self._emit("mul", dst=factor, a=weighted, b=gain, n=n)
        if op.outer:
            outer = self._parameter(op.outer.split(".")[-1], "outer", op, n)
            if op.b:
                weighted = self._v(f"{stem}_weighted", n)
                self._emit("mul", dst=weighted, a=self._v(op.b), b=outer, n=n)
            else:
                weighted = outer
        value, largest = self._v(f"{stem}_v", n), Reg("s", f"{stem}_max")
        self._emit("mul", ("absmax", largest), dst=value, a=late, b=factor, n=n)
        step = self._scalar("div", f"{stem}_step", self._constant("code_max", CODE_MAX), largest)
        self._emit("quant", q=code, a=value, b=step, n=n)
        key = (op.a, op.b, op.outer)
        if key not in self.scales:
            self.scales[key] = self._norm(stem, late, weighted or self._constant("one", 1.0), n,
                                         self._sum_of_squares(op.a) if op.outer else None)
        self._scalar("mul", f"{stem}_scale", largest, self.scales[key])

    def _norm(self, stem: str, late: Reg, weighted: Reg, n: int, square: Reg | None) -> Reg:
        """The scalar k of the module's docstring."""
        eps_n = self._constant(f"eps_{n}", n * _EPS)
        total = Reg("s", f"{stem}_norm")
        self._emit("mul", ("sumsq", total), dst="_", a=late, b=weighted, n=n)
        if square is None:
            self._scalar("add", total.name, total, eps_n)
        else:
            inner = self._scalar("add", f"{stem}_inner", square, eps_n)
            self._scalar("fma", total.name, inner, self._constant("eps", _EPS), total)
        self._scalar("sqrt", total.name, total)
        root = self._constant(f"root_{n}", math.sqrt(n) / CODE_MAX)
        return self._scalar("div", f"{stem}_k", root, total)

    def _linear(self, op: model.Linear) -> None:
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

    def _elementwise(self, mnemonic: str, op: _Elementwise, *sources: Reg,
                     stat: tuple[str, Reg] | None = None) -> None:
        self._emit(mnemonic, stat, dst=self._v(op.out), **dict(zip("abc", sources)),
                  n=self.program.lengths[op.out])
        self.square.pop(op.out, None)

    def _map(self, op: model.Map) -> None:
        self._elementwise(op.function, op, self._v(op.a))

    def _lerp(self, op: model.Lerp) -> None:
        n = self.program.lengths[op.out]
        slope = self._parameter(f"{op.out}_slope", "slope", op, n)
        floor = self._parameter(f"{op.out}_floor", "floor", op, n)
        self._elementwise("fma", op, self._v(op.a), slope, floor)

    def _complement(self, op: model.Complement) -> None:
        self._elementwise("fma", op, self._v(op.a), self._constant("minus_one", -1.0),
                          self._constant("one", 1.0))

    def _mul(self, op: model.Mul) -> None:
        self._elementwise("mul", op, self._v(op.a), self._v(op.b))

    def _add(self, op: model.Add) -> None:
        square = Reg("s", f"{op.out}_sumsq")    # a norm of the residual sum follows
        self._elementwise("add", op, self._v(op.a), self._v(op.b), stat=("sumsq", square))
        self.square[op.out] = square

    def _scan(self, op: model.Scan) -> None:
        n = self.program.lengths[op.out]
        if self.resident:
            count = self.program.layers * registers_of("v", n, self.config)
            elements = count * self.config.register_elements
            state = Reg("v", "state", elements, indexed=True)
        else:
            state = Reg("v", "state", n)
            pitch = self.config.vector_words(n)
            self._emit("load", dst=state, r="r3", n=n, address="states", pitch=pitch)
        self._emit("scan", dst=self._v(op.out), a=self._v(op.decay), b=state, c=self._v(op.a), n=n)
        self._emit("carry", dst=state, a=self._v(op.out), n=n)
        if not self.resident:
            self._emit("store", a=state, r="r3", n=n, address="states", pitch=pitch)
