"""From a layer program to instructions: a loop over the layers, registers, readable text.

The parameters of a layer are one block of memory in the order of their use; all blocks have the
same pitch. The first norm's gains of the *next* layer are loaded while this layer runs its last
part, so one more block, after the last layer's, holds those of the head.

A BitLinear after a norm, ``v = a * G`` with G = both gains times the scale of the matrix:
codes ``round(127 v / max|v|)``, and sums times ``max|v| * k`` with
``k = sqrt(n) / 127 / sqrt(sum((a*outer)^2) + eps * (sum(a^2) + n * eps))``.
"""

from dataclasses import dataclass, replace
import math

from assembler import isa, model
from assembler.allocate import Instr, NoRoom, Reg, allocate
from assembler.formats import CODE_MAX
from assembler.packing import blocks
from assembler.text import registers_of


__all__ = ["Parameter", "Lowered", "lower"]


_EPS = model.Hgrn.EPS
_MAX_ROWS = 1 << 15        # rows of one matmul: a multiple of any accumulator_rows


@dataclass(frozen=True)
class Parameter:
    """A vector of parameters in the block of a layer.

    ``kind``: ``gain`` (both gains of the Codes ``op``, times the scale of its matrix), ``outer``
    (its outer gain), ``floor`` or ``slope`` (of the Lerp ``op``; slope is 1 - floor).
    ``offset`` is in memory words.
    """
    name: str
    kind: str
    op: object
    elements: int
    offset: int = 0


@dataclass
class Lowered:
    """What lowering gives.

    ``text``: the program without the aliases of its addresses ``parameters``, ``embedding``,
    ``weights`` and ``states``. ``symbols``: value -> register. ``blocks``: the parameters of a
    layer and of the head; ``pitch``, words of a layer's block. ``state_words``: of all states
    in memory, 0 if they stay in registers. ``resident``: whether they do.
    """
    text: str
    symbols: dict[str, str]
    layer_block: list[Parameter]
    head_block: list[Parameter]
    pitch: int
    state_words: int
    resident: bool


class _Builder:
    """Collects instructions of one part of the program."""

    def __init__(self, program, config, resident, constants):
        self.program, self.config, self.resident = program, config, resident
        self.constants = constants      # name -> value, shared by all parts
        self.code, self.parameters = [], []
        self.square = {}                # value -> scalar that holds its sum of squares
        self.scales = {}                # (a, b, outer) -> scalar k, as long as they stay

    def emit(self, mnemonic, stat=None, **operands):
        self.code.append(Instr(mnemonic, operands, stat, note=self.note))
        self.note = ""

    def v(self, name, elements=None):
        return Reg("v", name, self.program.lengths[name] if elements is None else elements)

    def constant(self, name, value):
        self.constants[name] = value
        return Reg("s", name)

    def parameter(self, name, kind, op, elements):
        if name not in {p.name for p in self.parameters}:
            self.parameters.append(Parameter(name, kind, op, elements))
        return Reg("u", name, elements)

    def scalar(self, mnemonic, name, *sources):
        """dst s = f(sources); returns dst."""
        dst = Reg("s", name)
        fields = dict(zip("abc", sources)) | ({} if mnemonic in ("div", "sqrt") else {"n": 1})
        self.emit(mnemonic, dst=dst, **fields)
        return dst

    def lower(self, op):
        self.note = str(op)
        getattr(self, type(op).__name__.lower())(op)
        out = getattr(op, "out", None)
        self.scales = {k: v for k, v in self.scales.items() if out not in k}

    def sum_of_squares(self, name):
        """A pass over a value that came without its statistic."""
        if name not in self.square:
            n = self.program.lengths[name]
            self.square[name] = Reg("s", f"{name}_sumsq")
            self.emit("mul", ("sumsq", self.square[name]), dst="_", a=self.v(name),
                      b=self.constant("one", 1.0), n=n)
        return self.square[name]

    def embed(self, op):
        n = self.program.lengths[op.out]
        self.emit("embed", dst=self.v(op.out), r="r0", n=n, address="embedding",
                  pitch=self.config.vector_words(n))
        self.square.pop(op.out, None)
        self.sum_of_squares(op.out)

    def codes(self, op):
        stem = op.out.removesuffix("_codes")
        n = self.program.lengths[op.out]
        code = Reg("q", op.out, blocks(n, self.config) * self.config.lanes)
        gain = self.parameter(f"{stem}_gain", "gain", op, n)
        late, factor, outer = self.v(op.a), gain, None
        weighted = self.v(op.b) if op.b else None
        if op.b:
            # What `a` is multiplied with is made before `a` comes.
            factor = self.v(f"{stem}_factor", n)
            self.emit("mul", dst=factor, a=weighted, b=gain, n=n)
        if op.outer:
            outer = self.parameter(op.outer.split(".")[-1], "outer", op, n)
            if op.b:
                weighted = self.v(f"{stem}_weighted", n)
                self.emit("mul", dst=weighted, a=self.v(op.b), b=outer, n=n)
            else:
                weighted = outer
        value, largest = self.v(f"{stem}_v", n), Reg("s", f"{stem}_max")
        self.emit("mul", ("absmax", largest), dst=value, a=late, b=factor, n=n)
        step = self.scalar("div", f"{stem}_step", self.constant("code_max", CODE_MAX), largest)
        self.emit("quant", q=code, a=value, b=step, n=n)
        key = (op.a, op.b, op.outer)
        if key not in self.scales:
            self.scales[key] = self.norm(stem, late, weighted or self.constant("one", 1.0), n,
                                         self.sum_of_squares(op.a) if op.outer else None)
        self.scalar("mul", f"{stem}_scale", largest, self.scales[key])

    def norm(self, stem, late, weighted, n, square):
        """k of the module's docstring, as a scalar."""
        eps_n = self.constant(f"eps_{n}", n * _EPS)
        total = Reg("s", f"{stem}_norm")
        self.emit("mul", ("sumsq", total), dst="_", a=late, b=weighted, n=n)
        if square is None:
            self.scalar("add", total.name, total, eps_n)
        else:
            inner = self.scalar("add", f"{stem}_inner", square, eps_n)
            self.scalar("fma", total.name, inner, self.constant("eps", _EPS), total)
        self.scalar("sqrt", total.name, total)
        root = self.constant(f"root_{n}", math.sqrt(n) / CODE_MAX)
        return self.scalar("div", f"{stem}_k", root, total)

    def linear(self, op):
        stem = op.codes.removesuffix("_codes")
        n = self.program.lengths[op.codes]
        width = blocks(n, self.config)
        for start in range(op.start, op.stop, _MAX_ROWS if op.out is None else op.stop):
            rows = (min(_MAX_ROWS, op.stop - start) if op.out is None else op.stop - start)
            self.emit("matmul", dst=self.v(op.out) if op.out else "_",
                      q=Reg("q", op.codes, width * self.config.lanes),
                      a=Reg("s", f"{stem}_scale"), rows=rows, blocks=width)
        self.square.pop(op.out, None)

    def _elementwise(self, mnemonic, op, *sources, stat=None):
        self.emit(mnemonic, stat, dst=self.v(op.out), **dict(zip("abc", sources)),
                  n=self.program.lengths[op.out])
        self.square.pop(op.out, None)

    def map(self, op):
        self._elementwise(op.function, op, self.v(op.a))

    def lerp(self, op):
        n = self.program.lengths[op.out]
        slope = self.parameter(f"{op.out}_slope", "slope", op, n)
        floor = self.parameter(f"{op.out}_floor", "floor", op, n)
        self._elementwise("fma", op, self.v(op.a), slope, floor)

    def complement(self, op):
        self._elementwise("fma", op, self.v(op.a), self.constant("minus_one", -1.0),
                          self.constant("one", 1.0))

    def mul(self, op):
        self._elementwise("mul", op, self.v(op.a), self.v(op.b))

    def add(self, op):
        square = Reg("s", f"{op.out}_sumsq")    # a residual sum goes to a norm next
        self._elementwise("add", op, self.v(op.a), self.v(op.b), stat=("sumsq", square))
        self.square[op.out] = square

    def scan(self, op):
        n = self.program.lengths[op.out]
        if self.resident:
            count = self.program.layers * registers_of("v", n, self.config)
            elements = count * self.config.register_elements
            state = Reg("v", "state", elements, indexed=True)
        else:
            state = Reg("v", "state", n)
            pitch = self.config.vector_words(n)
            self.emit("load", dst=state, r="r3", n=n, address="states", pitch=pitch)
        self.emit("scan", dst=self.v(op.out), a=self.v(op.decay), b=state, c=self.v(op.a), n=n)
        self.emit("carry", dst=state, a=self.v(op.out), n=n)
        if not self.resident:
            self.emit("store", a=state, r="r3", n=n, address="states", pitch=pitch)


def _loads(code, parameters, pitch, preloaded, lookahead, config):
    """``code`` with the loads of its parameters, each ``lookahead`` instructions before it."""
    def load(p):
        return Instr("load", {"dst": Reg("u", p.name, p.elements), "r": "r1", "n": p.elements,
                              "address": f"parameters+{p.offset + (p in preloaded) * pitch}",
                              "pitch": 0})

    before = [[] for _ in range(len(code) + 1)]
    for p in parameters:
        used = [n for n, instr in enumerate(code) if p.name in instr.uses()]
        if p in preloaded:      # for the next layer
            before[max(used[-1] + 1, len(code) - lookahead)].append(load(p))
        else:
            before[max(0, used[0] - lookahead)].append(load(p))
    out = []
    for n, loads in enumerate(before):
        if loads:
            out.append(replace(loads[0], note="parameters, ahead of their use"))
            out += loads[1:]
        out += code[n:n + 1]
    return out


def _with_offsets(parameters, config):
    out, offset = [], 0
    for p in parameters:
        out.append(replace(p, offset=offset))
        offset += config.vector_words(p.elements)
    return out, offset


def _control(mnemonic, note="", labels=(), **operands):
    return Instr(mnemonic, operands, labels=tuple(labels), note=note)


def _build(program, config, body_words, head_words, resident, lookahead):
    """All instructions, and what :class:`Lowered` tells about memory."""
    constants = {}
    parts = []
    for ops in (program.start, program.layer, program.head):
        part = _Builder(program, config, resident, constants)
        if parts:               # the residual stream comes with its sum of squares
            part.square = dict(parts[0].square)
        for op in ops:
            part.lower(op)
        parts.append(part)
    start, layer, head = parts
    # The head's gains use the registers of the layer's first ones, see the module's docstring.
    block, pitch = _with_offsets(layer.parameters, config)
    preloaded = block[:len(head.parameters)]
    renamed = {h.name: p.name for h, p in zip(head.parameters, preloaded)}
    if [p.elements for p in preloaded] != [p.elements for p in head.parameters]:
        raise ValueError("the head's parameters must be as long as the layer's first ones")
    for instr in head.code:
        instr.operands = {k: replace(v, name=renamed.get(v.name, v.name))
                          if isinstance(v, Reg) else v for k, v in instr.operands.items()}
    head_block, _ = _with_offsets(head.parameters, config)
    n = max((program.lengths[op.out] for op in program.layer if isinstance(op, model.Scan)),
            default=0)
    state_registers = registers_of("v", n, config)
    state_pitch = config.positions * config.vector_words(n)

    body = _loads(layer.code, block, pitch, preloaded, lookahead, config)
    first = [Instr("load", {"dst": Reg("u", p.name, p.elements), "r": "r0", "n": p.elements,
                            "address": f"parameters+{p.offset}", "pitch": 0}) for p in preloaded]
    body[0] = replace(body[0], labels=("layer",))

    def again(labels=()):
        """What the next step needs early."""
        return [replace(first[0], labels=labels, note="the first layer's parameters again"),
                *(replace(i) for i in first[1:]),
                _control("stream", "for the next step", r="r0", address="weights",
                         words=body_words)]

    tail = [i for i, instr in enumerate(head.code) if instr.mnemonic == "matmul"][0]
    code = [
        _control("stream", "the weights of all layers, fetched ahead", r="r0",
                 address="weights", words=body_words),
        *(Instr("const", {"dst": Reg("s", name), "value": repr(float(value))})
          for name, value in constants.items()),
        *[replace(i) for i in first],
        _control("next", "one token in each position", labels=("step",)),
        _control("bns", target="no_head"),
        _control("stream", "those of the head", r="r0", address=f"weights+{body_words}",
                 words=head_words),
        _control("set", labels=("no_head",), r="r1", imm=0),
        _control("set", r="r2", imm=program.layers),
        (_control("set", r="r7", imm=0) if resident else _control("set", r="r3", imm=0)),
        *start.code,
        *body,
        _control("add_r", "to the next layer", r="r1", imm=pitch),
        (_control("add_r", r="r7", imm=state_registers) if resident
         else _control("add_r", r="r3", imm=state_pitch)),
        _control("add_r", r="r2", imm=-1),
        _control("bnz", r="r2", target="layer"),
        _control("bns", target="rest"),
        *head.code[:tail],
        *again(), *head.code[tail:], _control("emit"), _control("jump", target="step"),
        *again(labels=("rest",)), _control("jump", target="step"),
    ]
    state_words = 0 if resident else program.layers * state_pitch
    return code, block, head_block, pitch, state_words


def _render(code, places):
    """Text of the program and value -> register."""
    registers = {}
    for instr in code:
        for reg in instr.registers():
            registers.setdefault(reg.name, f"{reg.space}{places[reg.name]}")
    lines = [f".alias  {name:<12} {register}" for name, register in registers.items()]
    lines.append("")
    for instr in code:
        lines += [f"{label}:" for label in instr.labels]
        if instr.note:
            lines.append(f"        ; {instr.note}")
        positional, named = [], []
        for f in isa.lookup(instr.mnemonic).fields:
            if f.kind in ("stat", "scalar"):
                continue
            value = instr.operands[f.name]
            if f.kind == "int" and f.name != "imm":
                if value or f.name not in ("pitch", "address"):
                    named.append(f"{f.name}={value}")
            else:
                positional.append(str(value))
        if instr.stat:
            named.append(f"{instr.stat[0]}={instr.stat[1]}")
        lines.append(f"        {instr.mnemonic:<8}{', '.join(positional + named)}".rstrip())
    return "\n".join(lines) + "\n", registers


def lower(program, config, body_words, head_words):
    """Lower a layer program for a machine.

    Parameters
    ----------
    program : assembler.model.LayerProgram
    config : Config
    body_words, head_words : int
        Memory words of the matrices of all layers, and of the head's; they lie one after the
        other.

    Returns
    -------
    Lowered

    Raises
    ------
    NoRoom
        The values do not fit the registers, even with states and parameters in memory.
    """
    whole, near, none = 1 << 30, 12, 0      # how far ahead of its use a parameter is loaded
    for resident, lookahead in ((True, whole), (True, near), (True, none),
                                (False, whole), (False, near), (False, none)):
        code, block, head_block, pitch, state_words = _build(
            program, config, body_words, head_words, resident, lookahead)
        try:
            places = allocate(code, config, pinned=("state",) if resident else ())
        except NoRoom as error:
            failure = error
            continue
        text, registers = _render(code, places)
        return Lowered(text, registers, block, head_block, pitch, state_words, resident)
    raise failure
