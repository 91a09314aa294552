"""The instruction set, written once.

Assembler, disassembler, sequencer, golden machine, lockstep, traces and the manual
(``docs/isa.md``, generated) all read this table. Standard library only.
"""

from dataclasses import dataclass
import enum
from typing import Any, Self


__all__ = ["WORD_BITS", "Space", "Operand", "Operands", "Stat", "Unit", "Field", "Instruction",
           "OPCODE", "INSTRUCTIONS", "SCALARS", "ADDRESS_REGISTERS", "INDEX_REGISTER",
           "lookup", "encode", "decode"]


WORD_BITS = 128            # one instruction; 16 bytes, little-endian in memory
SCALARS = 32               # scalar registers s0..s31, one float per position each
ADDRESS_REGISTERS = 8      # r0..r7, 32 bits; r0 reads as 0
INDEX_REGISTER = 7         # added to the register number of an operand marked +x


class Space(enum.IntEnum):
    """Where an operand lives."""
    V = 0       # vector register, one vector per position
    U = 1       # vector registers holding one uniform vector that all positions share
    S = 2       # scalar register, one value per position, repeated over the elements
    NONE = 3    # only as dst: the result is not written, but its statistic is


class Stat(enum.IntEnum):
    """Statistic of an instruction's results, over its elements, per position."""
    NONE = 0
    ABSMAX = 1  # largest magnitude
    SUMSQ = 2   # sum of squares, exact, rounded once


class Unit(enum.Enum):
    """The unit that executes an instruction.

    Units run in parallel; each executes its own instructions in order.
    """
    CONTROL = "control"
    MEMORY = "memory"
    VECTOR = "vector"
    ARRAY = "array"


@dataclass(frozen=True)
class Operand:
    """A register operand. Bits from the top: indexed (1), space (2), number (10)."""
    space: Space
    number: int = 0
    indexed: bool = False

    WIDTH = 13
    NUMBER_BITS = 10

    def to_bits(self) -> int:
        return int(self.indexed) << 12 | int(self.space) << 10 | self.number

    @classmethod
    def from_bits(cls, bits: int) -> Self:
        return cls(Space(bits >> 10 & 3), bits & 0x3ff, bool(bits >> 12 & 1))


# Field name -> value: an Operand for fields of kind "operand", an int for all others. A dict cannot
# state that the type depends on the key, hence Any.
Operands = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """Bits ``hi..lo`` (inclusive) of an instruction word.

    ``kind`` says how it is written as text: ``operand`` (``v3``, ``u3``, ``s3``, ``v3+x``, ``_``),
    ``code`` (``q3``), ``scalar`` (``s3``), ``address`` (``r3``), ``target`` (a label),
    ``float`` (a number, stored as a word of the machine's float), ``stat`` or ``int``. A value
    below ``least`` stops the core with a fault.
    """
    name: str
    hi: int
    lo: int
    kind: str
    unit: str
    least: int = 0

    @property
    def width(self) -> int:
        return self.hi - self.lo + 1


OPCODE  = Field("opcode",  127, 122, "int",     "-")
DST     = Field("dst",     121, 109, "operand", "register")
A       = Field("a",       108,  96, "operand", "register")
B       = Field("b",        95,  83, "operand", "register")
C       = Field("c",        82,  70, "operand", "register")
STAT    = Field("stat",     69,  68, "stat",    "statistic")
STAT_TO = Field("stat_to",  67,  63, "scalar",  "scalar register that takes the statistic")
N       = Field("n",        62,  47, "int",     "elements", least=1)
ROWS    = Field("rows",     62,  47, "int",     "matrix rows", least=1)
Q       = Field("q",        46,  37, "code",    "code register")
BLOCKS  = Field("blocks",   36,  24, "int",     "column blocks of `lanes` columns", least=1)
PITCH   = Field("pitch",    95,  80, "int",     "memory words from a position's vector to the next")
R       = Field("r",        34,  32, "address", "address register")
ADDRESS = Field("address",  31,   0, "int",     "memory words")
WORDS   = Field("words",    95,  64, "int",     "memory words")
IMM     = Field("imm",      31,   0, "int",     "two's complement")
VALUE   = Field("value",    31,   0, "float",   "float word")
TARGET  = Field("target",   31,   0, "target",  "instruction number")


@dataclass(frozen=True)
class Instruction:
    """One row of the table.

    ``reads`` and ``writes`` name the fields whose registers the instruction reads and writes; the
    scoreboard needs nothing else. ``spaces`` maps an operand field to the spaces that it may name,
    as letters of ``Space`` (``_`` for NONE).
    """
    mnemonic: str
    opcode: int
    unit: Unit
    fields: tuple[Field, ...]
    summary: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    spaces: tuple[tuple[str, str], ...] = ()

    @property
    def pattern(self) -> str:
        """Bit pattern for ``m.Case``, most significant bit first, ``-`` for operand bits."""
        return f"{self.opcode:0{OPCODE.width}b}" + "-" * (WORD_BITS - OPCODE.width)


_STATS = (STAT, STAT_TO)
_ANY = "vus"

INSTRUCTIONS = (
    Instruction("halt",    0x00, Unit.CONTROL, (),
                "Wait until all units are idle and stop."),
    Instruction("next",    0x01, Unit.CONTROL, (),
                "Wait until all units are idle and a step is ready, of a prompt or of the running "
                "streams; take its tokens, positions and mode."),
    Instruction("emit",    0x02, Unit.ARRAY,   (),
                "Send the sampled tokens to the host and to their streams; clear the sampler."),
    Instruction("set",     0x03, Unit.CONTROL, (R, IMM),    "r = imm"),
    Instruction("add_r",   0x04, Unit.CONTROL, (R, IMM),    "r = r + imm, modulo 2**32"),
    Instruction("jump",    0x05, Unit.CONTROL, (TARGET,),   "Continue at target."),
    Instruction("bnz",     0x06, Unit.CONTROL, (R, TARGET), "Continue at target if r != 0."),
    Instruction("bns",     0x07, Unit.CONTROL, (TARGET,),
                "Continue at target if this step samples no token (a prompt's inner chunk)."),
    Instruction("stream",  0x08, Unit.CONTROL, (R, ADDRESS, WORDS),
                "Append `words` words at r + address to the weight stream, which is prefetched; "
                "matmul consumes it."),

    Instruction("load",    0x10, Unit.MEMORY, (DST, N, R, ADDRESS, PITCH),
                "u: dst = memory[r + address]; v: slot by slot, dst[slot] = memory[r + address "
                "+ slot * pitch]",
                writes=("dst",), spaces=(("dst", "vu"),)),
    Instruction("store",   0x11, Unit.MEMORY, (A, N, R, ADDRESS, PITCH),
                "u: memory[r + address] = a; v: slot by slot, memory[r + address + slot * pitch] "
                "= a[slot]",
                reads=("a",), spaces=(("a", "vu"),)),
    Instruction("embed",   0x12, Unit.MEMORY, (DST, N, R, ADDRESS, PITCH),
                "dst[p] = memory[r + address + token[p] * pitch]",
                writes=("dst",), spaces=(("dst", "v"),)),

    Instruction("mul",     0x20, Unit.VECTOR, (DST, A, B, N, *_STATS), "dst = a * b",
                reads=("a", "b"), writes=("dst", "stat_to"),
                spaces=(("dst", "vs_"), ("a", _ANY), ("b", _ANY))),
    Instruction("add",     0x21, Unit.VECTOR, (DST, A, B, N, *_STATS), "dst = a + b",
                reads=("a", "b"), writes=("dst", "stat_to"),
                spaces=(("dst", "vs_"), ("a", _ANY), ("b", _ANY))),
    Instruction("fma",     0x22, Unit.VECTOR, (DST, A, B, C, N, *_STATS),
                "dst = a * b + c, the product rounded too",
                reads=("a", "b", "c"), writes=("dst", "stat_to"),
                spaces=(("dst", "vs_"), ("a", _ANY), ("b", _ANY), ("c", _ANY))),
    Instruction("sigmoid", 0x23, Unit.VECTOR, (DST, A, N, *_STATS), "dst = sigmoid(a)",
                reads=("a",), writes=("dst", "stat_to"),
                spaces=(("dst", "vs_"), ("a", _ANY))),
    Instruction("silu",    0x24, Unit.VECTOR, (DST, A, N, *_STATS), "dst = a * sigmoid(a)",
                reads=("a",), writes=("dst", "stat_to"),
                spaces=(("dst", "vs_"), ("a", _ANY))),
    Instruction("scan",    0x25, Unit.VECTOR, (DST, A, B, C, N, *_STATS),
                "dst = a * h + c, where h is the state before: in a stream step b[p]; in a prompt "
                "step b[slot] for the first position and dst[p - 1] for the others; 0 if the state "
                "is fresh",
                reads=("a", "b", "c"), writes=("dst", "stat_to"),
                spaces=(("dst", "v"), ("a", _ANY), ("b", "v"), ("c", _ANY))),
    Instruction("carry",   0x26, Unit.VECTOR, (DST, A, N),
                "Keep the state after the step: in a stream step dst[p] = a[p]; in a prompt step "
                "dst[slot] = a[last position]",
                reads=("a",), writes=("dst",),
                spaces=(("dst", "v"), ("a", "v"))),
    Instruction("quant",   0x27, Unit.VECTOR, (Q, A, B, N),
                "q = clamp(round(a * b), -128, 127), rounded once",
                reads=("a", "b"), writes=("q",), spaces=(("a", _ANY), ("b", "s"))),
    Instruction("div",     0x28, Unit.VECTOR, (DST, A, B), "dst = a / b; x / 0 is 0",
                reads=("a", "b"), writes=("dst",),
                spaces=(("dst", "s"), ("a", "s"), ("b", "s"))),
    Instruction("sqrt",    0x29, Unit.VECTOR, (DST, A), "dst = sqrt(a); 0 for a <= 0",
                reads=("a",), writes=("dst",), spaces=(("dst", "s"), ("a", "s"))),
    Instruction("const",   0x2a, Unit.VECTOR, (DST, VALUE), "dst = value, in all positions",
                writes=("dst",), spaces=(("dst", "s"),)),

    Instruction("matmul",  0x30, Unit.ARRAY, (DST, Q, A, ROWS, BLOCKS),
                "dst = float(W q) * a, where W is the next rows * blocks beats of the weight "
                "stream; with dst = _, the result goes to the sampler",
                reads=("q", "a"), writes=("dst",), spaces=(("dst", "v_"), ("a", "s"))),
)

_BY_MNEMONIC = {i.mnemonic: i for i in INSTRUCTIONS}
_BY_OPCODE   = {i.opcode: i for i in INSTRUCTIONS}


def _check_table() -> None:
    if len(_BY_OPCODE) != len(INSTRUCTIONS) or len(_BY_MNEMONIC) != len(INSTRUCTIONS):
        raise ValueError("two instructions share an opcode or a mnemonic")
    for instr in INSTRUCTIONS:
        if not 0 <= instr.opcode < 1 << OPCODE.width:
            raise ValueError(f"{instr.mnemonic}: opcode {instr.opcode:#x} does not fit")
        used = set(range(OPCODE.lo, OPCODE.hi + 1))
        for field in instr.fields:
            bits = set(range(field.lo, field.hi + 1))
            if bits & used or not bits <= set(range(WORD_BITS)):
                raise ValueError(f"{instr.mnemonic}.{field.name} overlaps or leaves the word")
            used |= bits
            if field.kind == "operand" and field.width != Operand.WIDTH:
                raise ValueError(f"{instr.mnemonic}.{field.name} is no operand's width")
        names = {f.name for f in instr.fields}
        if not {*instr.reads, *instr.writes, *dict(instr.spaces)} <= names:
            raise ValueError(f"{instr.mnemonic} reads or writes a field it does not have")
        if {f.name for f in instr.fields if f.kind == "operand"} != set(dict(instr.spaces)):
            raise ValueError(f"{instr.mnemonic}: spaces must name every operand field")


_check_table()


def lookup(mnemonic: str) -> Instruction:
    """The row of ``mnemonic``; raises ValueError if there is none."""
    try:
        return _BY_MNEMONIC[mnemonic]
    except KeyError:
        raise ValueError(f"no instruction {mnemonic!r}") from None


def _check_least(instr: Instruction, field: Field, value: int) -> None:
    if value < field.least:
        raise ValueError(f"{instr.mnemonic} {field.name} must be at least {field.least}, not "
                         f"{value}")


def encode(mnemonic: str, **operands: Operand | int) -> int:
    """Return the word for ``mnemonic``; operands are integers or :class:`Operand`.

    Raises ValueError on a missing, extra, wide or too small operand, or on a space that the
    instruction does not take. ``stat`` and ``stat_to`` may be left out.
    """
    instr = lookup(mnemonic)
    names = {f.name for f in instr.fields}
    for optional in {"stat", "stat_to"} & names:
        operands.setdefault(optional, 0)
    if set(operands) != names:
        raise ValueError(f"{mnemonic} takes {[f.name for f in instr.fields]}, got {list(operands)}")
    word = instr.opcode << OPCODE.lo
    for field in instr.fields:
        value = operands[field.name]
        if isinstance(value, Operand):
            letter = "vus_"[value.space]
            if letter not in dict(instr.spaces)[field.name]:
                raise ValueError(f"{mnemonic} {field.name} takes one of "
                                 f"{', '.join(dict(instr.spaces)[field.name])}, not {letter}")
            if not 0 <= value.number < 1 << Operand.NUMBER_BITS:
                raise ValueError(f"{mnemonic} {field.name}: no register {value.number}")
            value = value.to_bits()
        if not 0 <= value < 1 << field.width:
            raise ValueError(f"{mnemonic} {field.name}={value} does not fit {field.width} bits")
        _check_least(instr, field, value)
        word |= value << field.lo
    return word


def decode(word: int) -> tuple[str, Operands]:
    """Return ``(mnemonic, operands)``; operand fields are returned as :class:`Operand`.

    Raises ValueError where the core stops with a fault: at an unassigned opcode, or at a value
    below the ``least`` of its field.
    """
    opcode = word >> OPCODE.lo
    if opcode not in _BY_OPCODE:
        raise ValueError(f"unassigned opcode {opcode:#x} in word {word:#034x}")
    instr = _BY_OPCODE[opcode]
    operands: Operands = {}
    for field in instr.fields:
        value = word >> field.lo & (1 << field.width) - 1
        _check_least(instr, field, value)
        operands[field.name] = Operand.from_bits(value) if field.kind == "operand" else value
    return instr.mnemonic, operands
