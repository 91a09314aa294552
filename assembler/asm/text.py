"""Assembler and disassembler of program text, driven by the instruction table.

::

    .alias  hidden v8              ; another name for a register or a number
    .alias  d 128
    loop:                          ; a label is the number of the next instruction
            next
            embed   hidden, r0, n=d, address=0x40, pitch=144
            mul     v10, hidden, u16, n=d, absmax=s3
            const   s1, 0.5        ; rounded to the machine's float; 0x... is a raw word
            bnz     r2, loop

Registers, targets, ``imm`` and ``value`` are written in the order of the table. The other fields
are written ``name=number`` (or a sum of numbers); ``address`` and ``pitch`` may be left out when
they are 0. A statistic is written ``absmax=s3`` or ``sumsq=s3``. ``v8+x`` is an indexed operand,
and ``_`` is no destination. ``.word 0x...`` is any 128-bit word; the disassembler writes it for a
word that is not an instruction.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
import re
from typing import TypeVar

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.formats import Float
from tern_fpga.assembler.errors import TernError


__all__ = ["Program", "assemble", "disassemble", "registers_of"]


_POSITIONAL = {"operand", "code", "scalar", "address", "target", "float"}
_OPTIONAL = {"address", "pitch"}            # 0 when left out
_LONGEST = 4096                             # most characters of a line
_MOST = 100                                 # most mistakes that are reported
_NAMES = 200                                # most names that are compared with an unknown one
# Line ends as editors count them: str.splitlines would also split at characters in comments.
_END = re.compile(r"\r\n?|\n")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
_REGISTER = re.compile(r"([vusqr])([0-9]+)(\+x)?\Z")
_N = TypeVar("_N", int, float)

_STATS = {stat.name.lower(): stat for stat in isa.Stat if stat is not isa.Stat.NONE}


@dataclass
class Program:
    """Assembled text.

    ``words``: 128-bit integers. ``lines``: the text's line of each word, counted from 1.
    ``aliases`` and ``labels``: the names that the text defines.
    """
    words: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)


def _is_positional(f: isa.Field) -> bool:
    return f.kind in _POSITIONAL or f.name == "imm"


def _near(text: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: names similar to it, if there are any."""
    names = [name for name in names if abs(len(name) - len(text)) <= 2 and len(name) < 40]
    near = get_close_matches(text, names[:_NAMES], 3)
    return f"; is it {' or '.join(near)}?" if near else ""


def _number(text: str, parse: Callable[[str], _N]) -> _N:
    """The number that ``parse`` reads from the text. Raises ValueError if it is not one."""
    try:
        if text.isascii():                          # Python accepts the digits of all scripts
            return parse(text)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no number")


def _integer(text: str, aliases: Mapping[str, str]) -> int:
    """The value of a number, an alias of a number, or a sum of these."""
    value = 0
    for term in text.split("+"):
        try:
            value += _number(aliases.get(term.strip(), term), lambda term: int(term, 0))
        except ValueError as error:
            raise ValueError(f"{error}{_near(term.strip(), aliases)}") from None
    if value.bit_length() > isa.WORD_BITS + 1:      # Python refuses to print very long numbers
        raise ValueError(f"{text!r} does not fit {isa.WORD_BITS} bits")
    return value


def _register(text: str, kind: str, aliases: Mapping[str, str]) -> tuple[str, int, bool]:
    """(letter, number, indexed) of a register operand. ``kind``: see :class:`isa.Field`."""
    base, plus, x = text.partition("+")
    match = _REGISTER.match(aliases.get(base, base) + plus + x)
    letters = {"operand": "vus", "code": "q", "scalar": "s", "address": "r"}[kind]
    if not match or match[1] not in letters:
        raise ValueError(f"{text!r} is no {' or '.join(letters)} register{_near(base, aliases)}")
    if match[3] and match[1] not in "vu":
        raise ValueError(f"{text!r}: only v and u registers take +x")
    letter, number = match[1], int(match[2])
    limit = {"s": isa.SCALARS, "r": isa.ADDRESS_REGISTERS}.get(letter, 1 << 10)
    if number >= limit:
        raise ValueError(f"no register {letter}{number}: the last is {letter}{limit - 1}")
    return letter, number, bool(match[3])


def _value(f: isa.Field, text: str, program: Program,
           float_format: Float | None) -> isa.Operand | int:
    if f.kind == "target":
        if text in program.labels:
            return program.labels[text]
        if _NAME.match(text) and text not in program.aliases:
            raise ValueError(f"unknown label {text!r}{_near(text, program.labels)}")
        return _integer(text, program.aliases)
    if f.kind == "float":
        text = program.aliases.get(text, text)
        if text.lower().startswith("0x"):
            return _integer(text, {})
        number = _number(text, float)
        if not abs(number) < float("inf"):
            raise ValueError(f"{text!r} is not finite")
        if float_format is None:
            raise ValueError(f"the number {text} needs a target for its float format; "
                             f"or write the raw word as 0x...")
        return int(float_format.encode(float_format.round(number)))
    if f.kind == "int":
        value = _integer(text, program.aliases)
        if f.name == "imm" and -1 << f.width - 1 <= value < 0:
            value += 1 << f.width
        return value
    if f.kind == "operand" and text == "_":
        return isa.Operand(isa.Space.NONE)
    letter, register, indexed = _register(text, f.kind, program.aliases)
    if f.kind == "operand":
        return isa.Operand(isa.Space[letter.upper()], register, indexed)
    return register


def registers_of(space: str, elements: int, config: Config) -> int:
    """Registers that a vector of ``elements`` occupies in ``space``: ``v``, ``u``, ``q``, ``s``."""
    if space == "s":
        return 1
    shared = config.positions if space == "u" else 1
    return max(1, -(-elements // (shared * config.register_elements)))


def _check_registers(mnemonic: str, operands: isa.Operands, config: Config) -> None:
    """Raise ValueError for registers that the machine lacks."""
    elements = operands["n"] if "n" in operands else operands.get("rows", 1)
    for name, value in operands.items():
        if isinstance(value, isa.Operand) and value.space in (isa.Space.V, isa.Space.U):
            space, number, limit = "vu"[value.space], value.number, config.registers
            count = 1 if value.indexed else registers_of(space, elements, config)
        elif name == "q":
            columns = operands.get("n", operands.get("blocks", 0) * config.lanes)
            space, number, limit = "q", value, config.code_registers
            count = registers_of("q", columns, config)
        else:
            continue
        if number + count > limit:
            raise ValueError(f"{mnemonic} {name}: {space}{number} and the {count - 1} after it "
                             f"leave the {limit} registers of this target")


def _operands(instr: isa.Instruction, text: str, program: Program,
              float_format: Float | None) -> isa.Operands:
    """The operands in one instruction's text."""
    positional = [f for f in instr.fields if _is_positional(f) and f.kind != "stat"
                  and f.name != "stat_to"]
    named = {f.name: f for f in instr.fields if not _is_positional(f) and f.kind != "stat"}
    has_stat = any(f.kind == "stat" for f in instr.fields)
    values: list[str] = []
    operands: isa.Operands = {}
    for part in text.split(",") if text else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            values.append(key)
        elif key in operands or (key in _STATS and "stat" in operands):
            raise ValueError(f"{key} is given twice")
        elif key in named:
            operands[key] = _value(named[key], value, program, float_format)
        elif has_stat and key in _STATS:
            operands["stat"] = _STATS[key]
            operands["stat_to"] = _register(value, "scalar", program.aliases)[1]
        else:
            stats: Collection[str] = _STATS if has_stat else ()
            raise ValueError(f"{instr.mnemonic} has no {key}={_near(key, [*named, *stats])}")
    if len(values) != len(positional):
        raise ValueError(f"{instr.mnemonic} takes {len(positional)} operands "
                         f"({', '.join(f.name for f in positional)}), not {len(values)}")
    for f, value in zip(positional, values):
        operands[f.name] = _value(f, value, program, float_format)
    for name in _OPTIONAL & set(named):
        operands.setdefault(name, 0)
    missing = [name for name in named if name not in operands]
    if missing:
        raise ValueError(f"{instr.mnemonic} lacks {missing[0]}=")
    return operands


def _encode(code: str, program: Program, config: Config | None) -> int:
    mnemonic, _, rest = code.partition(" ")
    if mnemonic == ".word":
        word = _integer(rest.strip(), program.aliases)
        if not 0 <= word < 1 << isa.WORD_BITS:
            raise ValueError(f"{rest.strip()} does not fit {isa.WORD_BITS} bits")
        return word
    try:
        instr = isa.lookup(mnemonic)
    except ValueError as error:
        known = [instr.mnemonic for instr in isa.INSTRUCTIONS]
        raise ValueError(f"{error}{_near(mnemonic, known)}") from None
    operands = _operands(instr, rest.strip(), program, config.float if config else None)
    dst = operands.get("dst")
    if isinstance(dst, isa.Operand) and dst.space is isa.Space.S and operands.get("n", 1) != 1:
        raise ValueError(f"{mnemonic} to a scalar register needs n=1")
    word = isa.encode(mnemonic, **operands)
    if config:
        _check_registers(mnemonic, operands, config)
        if operands.get("target", 0) > config.program_words:
            raise ValueError(f"there is no instruction {operands['target']}: the target holds "
                             f"{config.program_words}")
    return word


def assemble(text: str, config: Config | None = None, name: str = "program") -> Program:
    """Translate text into instruction words.

    Parameters
    ----------
    text : str
    config : Config or None
        The target, for its float format and its number of registers. None: numbers of ``const``
        must be raw words, and registers are not checked.
    name : str
        File name, for messages.

    Returns
    -------
    Program

    Raises
    ------
    TernError
        ``name:line: what``, a line for each mistake, up to a hundred of them.
    """
    program = Program()
    code: list[tuple[int, str]] = []                # (line, text of the instruction)
    mistakes: list[tuple[int, ValueError]] = []     # (line, what is wrong)
    for number, line in enumerate(_END.split(text), 1):
        try:
            if len(line) > _LONGEST:
                raise ValueError(f"a line of {len(line)} characters; the most are {_LONGEST}")
            line = line.partition(";")[0].strip().replace("\t", " ")
            while (match := re.match(r"([^\s:=]+):\s*", line)):
                label, line = match[1], line[match.end():]
                if not _NAME.match(label) or label in program.labels:
                    raise ValueError(f"label {label!r} is no name or is used twice")
                program.labels[label] = len(code)
            if line.startswith(".alias"):
                parts = line.split()
                if len(parts) != 3 or not _NAME.match(parts[1]):
                    raise ValueError(".alias takes a name and a register or a number")
                _, alias, value = parts
                if alias in program.aliases or _REGISTER.match(alias) or alias == "_":
                    raise ValueError(f"alias {alias!r} is used twice or is a register")
                program.aliases[alias] = program.aliases.get(value, value)
            elif line:
                code.append((number, line))
        except ValueError as error:
            mistakes.append((number, error))
    limit = config.program_words if config else len(code)
    for number, line in code if len(code) <= limit else ():
        try:
            program.words.append(_encode(line, program, config))
            program.lines.append(number)
        except ValueError as error:
            mistakes.append((number, error))
            if len(mistakes) > _MOST:
                break
    mistakes.sort(key=lambda mistake: mistake[0])
    found = [f"{name}:{number}: {error}" for number, error in mistakes[:_MOST]]
    if len(mistakes) > _MOST:
        found.append(f"{name}: more than {_MOST} mistakes, of which these are the first")
    if len(code) > limit:
        found.append(f"{name}: {len(code)} instructions do not fit the {limit} that the target "
                     f"holds")
    if found:
        raise TernError(*found)
    return program


def _show(f: isa.Field, value: isa.Operand | int, labels: Mapping[int, str],
          float_format: Float | None) -> str:
    if isinstance(value, isa.Operand):
        if value.space is isa.Space.NONE:
            return "_"
        return f"{'vus'[value.space]}{value.number}{'+x' * value.indexed}"
    if f.kind == "target":
        return labels.get(value, str(value))
    if f.kind == "float":
        if float_format is None:
            return f"{value:#x}"
        return repr(float(float_format.decode(value)))
    if f.kind == "int":
        if f.name == "imm":
            return str(value - (value >> f.width - 1 << f.width))
        return f"{value:#x}" if f.name == "address" else str(value)
    return {"code": "q", "scalar": "s", "address": "r"}[f.kind] + str(value)


def _line(word: int, labels: Mapping[int, str], float_format: Float | None) -> str:
    mnemonic, operands = isa.decode(word)
    positional, named = [], []
    for f in isa.lookup(mnemonic).fields:
        value = operands[f.name]
        if f.kind == "stat":
            if value:
                named.append(f"{isa.Stat(value).name.lower()}=s{operands['stat_to']}")
        elif f.name == "stat_to":
            continue
        elif _is_positional(f):
            positional.append(_show(f, value, labels, float_format))
        elif value or f.name not in _OPTIONAL:
            named.append(f"{f.name}={_show(f, value, labels, float_format)}")
    return f"{mnemonic:<8}{', '.join(positional + named)}".rstrip()


def disassemble(words: Sequence[int], config: Config | None = None) -> str:
    """Text of instruction words. :func:`assemble` with the same config returns the same words.

    Without a config, the values of ``const`` are shown as raw words.
    """
    float_format = config.float if config else None
    targets = set()
    for word in words:
        try:
            targets.add(isa.decode(word)[1].get("target"))
        except ValueError:      # shown as .word
            pass
    labels = {n: f"L{n}" for n in range(len(words) + 1) if n in targets}

    known = Program(labels={label: n for n, label in labels.items()})
    lines = []
    for number, word in enumerate(words):
        if number in labels:
            lines.append(f"{labels[number]}:")
        try:
            line = _line(word, labels, float_format)
            if _encode(line, known, config) != word:
                raise ValueError("bits that the text does not show")
        except ValueError:
            line = f".word   {word:#034x}"
        lines.append(f"        {line}")
    if len(words) in labels:
        lines.append(f"{labels[len(words)]}:")
    return "\n".join(lines) + "\n"
