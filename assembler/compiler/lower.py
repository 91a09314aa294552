"""Lowers a layer program to program text: loops over its parts, with registers assigned.

The parameters of a repetition are one block of memory in the order of their use; the blocks follow
each other. Where the sizes allow it, the last part of each repetition of the last loop loads the
gains of the first norm of the *next* repetition; after the last one, these are the gains of the
head, whose block follows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tern_fpga.assembler.compiler.allocate import Instr, NoRoom, Reg, allocate
from tern_fpga.assembler.compiler.expand import Expansion, Parameter, States
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.models.program import LayerProgram, Part


__all__ = ["Lowered", "lower"]


@dataclass
class Lowered:
    """The result of lowering.

    ``text``: the program without the aliases of its addresses ``parameters``, ``embedding``,
    ``weights`` and ``states``. ``symbols``: value -> register. ``blocks``: for each part, the
    parameters of a repetition. ``pitches``: memory words of these blocks. ``resident``: whether all
    states stay in registers. ``state_words``: memory words of all states; 0 if they are resident.
    """
    text: str
    symbols: dict[str, str]
    blocks: list[list[Parameter]]
    pitches: list[int]
    state_words: int
    resident: bool


def _loads(code: Sequence[Instr], parameters: Sequence[Parameter], pitch: int,
           preloaded: Sequence[Parameter], lookahead: int) -> list[Instr]:
    """``code`` with the loads of its parameters, each ``lookahead`` instructions before its use."""
    def load(p: Parameter) -> Instr:
        return Instr("load", {"dst": Reg("u", p.name, p.elements), "r": "r1", "n": p.elements,
                              "address": f"parameters+{p.offset + (p in preloaded) * pitch}",
                              "pitch": 0})

    before: list[list[Instr]] = [[] for _ in range(len(code) + 1)]
    for p in parameters:
        used = [n for n, instr in enumerate(code) if p.name in instr.uses()]
        if p in preloaded:      # for the next layer
            before[max(used[-1] + 1, len(code) - lookahead)].append(load(p))
        else:
            before[max(0, used[0] - lookahead)].append(load(p))
    out: list[Instr] = []
    for n, loads in enumerate(before):
        if loads:
            out.append(replace(loads[0], note="parameters, ahead of their use"))
            out += loads[1:]
        out += code[n:n + 1]
    return out


def _with_offsets(parameters: Iterable[Parameter], config: Config) -> tuple[list[Parameter], int]:
    """The parameters with their offsets in a block, and the words of the block."""
    out, offset = [], 0
    for p in parameters:
        out.append(replace(p, offset=offset))
        offset += config.vector_words(p.elements)
    return out, offset


def _control(mnemonic: str, note: str = "", labels: Iterable[str] = (),
             **operands: Reg | int | str) -> Instr:
    return Instr(mnemonic, operands, labels=tuple(labels), note=note)


def _expanded(program: LayerProgram, config: Config, states: States,
              constants: dict[str, float]) -> list[Expansion]:
    """The instructions of all parts."""
    # Values that a part takes from the parts before it, or from its repetition before.
    needed: set[str] = set()
    for part in program.parts:
        defined: set[str] = set()
        for op in part.operations:
            needed.update(set(op.reads) - defined)
            defined.update([op.out] if op.out else [])
    expansions: list[Expansion] = []
    for part in program.parts:
        # Sums of squares that are known when the part begins, in every repetition.
        square = dict(expansions[-1].square) if expansions else {}
        while True:
            found: dict[str, float] = {}
            expansion = Expansion(program, config, states=states, constants=found, square=square)
            expansion.add_operations(part, sorted(needed))
            lost = set(square) - set(expansion.square) if part.repeats else set()
            if not lost:
                break
            square = {name: reg for name, reg in square.items() if name not in lost}
        constants.update(found)
        # A part between two others leaves the sums that it does not touch as they are.
        expansions.append(expansion)
    return expansions


def _build(program: LayerProgram, config: Config, body_words: int, head_words: int, resident: bool,
           lookahead: int) -> tuple[list[Instr], list[list[Parameter]], list[int]]:
    """All instructions; the blocks and pitches of :class:`Lowered`."""
    constants: dict[str, float] = {}
    states = States(program, config, resident=resident)
    expansions = _expanded(program, config, states, constants)
    blocks, pitches = zip(*(_with_offsets(each.parameters, config) for each in expansions))
    *body_parts, head_part = program.parts
    head = expansions[-1]
    loops = [n for n, part in enumerate(body_parts) if part.repeats]
    last = loops[-1]

    # The gains of the head use the registers of the last loop's first parameters: see the module's
    # docstring.
    preloaded = blocks[last][:len(head.parameters)]
    if ([p.elements for p in preloaded] != [p.elements for p in head.parameters]
            or last != len(body_parts) - 1):
        preloaded = []
    renamed = {h.name: p.name for h, p in zip(head.parameters, preloaded)}
    for instr in head.code:
        instr.operands = {k: replace(v, name=renamed.get(v.name, v.name))
                          if isinstance(v, Reg) else v for k, v in instr.operands.items()}
    head_code = head.code if preloaded else _loads(head.code, blocks[-1], 0, (), lookahead)
    start = sum((part.repeats or 1) * pitch for part, pitch in zip(body_parts[:last], pitches))
    first = [Instr("load", {"dst": Reg("u", p.name, p.elements), "r": "r0", "n": p.elements,
                            "address": f"parameters+{start + p.offset}", "pitch": 0})
             for p in preloaded]
    early = first if loops == [last] else []        # loaded before the step begins

    def again(labels: tuple[str, ...] = ()) -> list[Instr]:
        """Loads and the weight stream for the next step, issued before this step ends."""
        out = [*(replace(i) for i in early),
               _control("stream", "for the next step", r="r0", address="weights",
                        words=body_words)]
        out[0] = replace(out[0], labels=labels, note=(
            "the first layer's parameters again" if early else out[0].note))
        return out

    def looped(number: int, part: Part) -> list[Instr]:
        """The code of a part, with its loop."""
        ahead = preloaded if number == last else ()
        code = _loads(expansions[number].code, blocks[number], pitches[number], ahead, lookahead)
        step = states.step(part)
        pointers = []
        if pitches[number]:
            pointers.append(_control("add_r", r="r1", imm=pitches[number]))
        if step:
            pointers.append(_control("add_r", r="r7" if resident else "r3", imm=step))
        if not part.repeats:
            return [*code, *pointers]
        label = "layer" if number == loops[0] else f"layer_{number}"
        code[0] = replace(code[0], labels=(label,))
        begin = [] if number == loops[0] else [_control("set", r="r2", imm=part.repeats)]
        if number == last and not early:
            begin += [replace(i) for i in first]
        if pointers:
            pointers[0] = replace(pointers[0], note="to the next layer")
        return [*begin, *code, *pointers, _control("add_r", r="r2", imm=-1),
                _control("bnz", r="r2", target=label)]

    tail = next(i for i, instr in enumerate(head_code) if instr.mnemonic == "matmul")
    repeats = body_parts[loops[0]].repeats
    assert repeats
    code = [
        _control("stream", "the weights of all layers, fetched ahead", r="r0",
                 address="weights", words=body_words),
        *(Instr("const", {"dst": Reg("s", name), "value": repr(float(value))})
          for name, value in constants.items()),
        *[replace(i) for i in early],
        _control("next", "one token in each position", labels=("step",)),
        _control("bns", target="no_head"),
        _control("stream", "those of the head", r="r0", address=f"weights+{body_words}",
                 words=head_words),
        _control("set", labels=("no_head",), r="r1", imm=0),
        _control("set", r="r2", imm=repeats),
        *([_control("set", r="r7" if resident else "r3", imm=0)] if states.size else []),
        *(instr for number, part in enumerate(body_parts) for instr in looped(number, part)),
        _control("bns", target="rest"),
        *head_code[:tail],
        *again(), *head_code[tail:], _control("emit"), _control("jump", target="step"),
        *again(labels=("rest",)), _control("jump", target="step"),
    ]
    return code, list(blocks), list(pitches)


def _render(code: Sequence[Instr], places: Mapping[str, int]) -> tuple[str, dict[str, str]]:
    """The text of the program, and value -> register."""
    registers: dict[str, str] = {}
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


def lower(program: LayerProgram, config: Config, body_words: int, head_words: int) -> Lowered:
    """Lower a layer program for a machine.

    Parameters
    ----------
    program : assembler.models.program.LayerProgram
    config : Config
    body_words, head_words : int
        Memory words of the matrices of all layers, and of the head's matrices, which follow them.

    Returns
    -------
    Lowered

    Raises
    ------
    NoRoom
        The values do not fit the registers, even with states and parameters in memory.
    """
    whole, near, none = 1 << 30, 12, 0      # instructions from a parameter's load to its first use
    failure: NoRoom | None = None
    for resident, lookahead in ((True, whole), (True, near), (True, none),
                                (False, whole), (False, near), (False, none)):
        code, blocks, pitches = _build(program, config, body_words, head_words, resident,
                                       lookahead)
        try:
            places = allocate(code, config, pinned=(States.BLOCK,) if resident else ())
        except NoRoom as error:
            failure = error
            continue
        text, registers = _render(code, places)
        words = 0 if resident else States(program, config, resident=False).size
        return Lowered(text, registers, blocks, pitches, words, resident)
    assert failure is not None
    raise failure
