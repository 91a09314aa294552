"""Lowers a layer program to program text: a loop over the layers, with registers assigned.

The parameters of a layer are one block of memory in the order of their use; all blocks have the
same pitch. The last part of each layer loads the gains of the first norm of the *next* layer.
Therefore one more block, after that of the last layer, holds the gains of the head.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tern_fpga.assembler.asm.text import registers_of
from tern_fpga.assembler.compiler.allocate import Instr, NoRoom, Reg, allocate
from tern_fpga.assembler.compiler.expand import Expansion, Parameter
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.models import hgrn as model


__all__ = ["Lowered", "lower"]


@dataclass
class Lowered:
    """The result of lowering.

    ``text``: the program without the aliases of its addresses ``parameters``, ``embedding``,
    ``weights`` and ``states``. ``symbols``: value -> register. ``layer_block``, ``head_block``: the
    parameters of a layer and of the head. ``pitch``: memory words of a layer's block.
    ``resident``: whether all states stay in registers. ``state_words``: memory words of all
    states; 0 if they are resident.
    """
    text: str
    symbols: dict[str, str]
    layer_block: list[Parameter]
    head_block: list[Parameter]
    pitch: int
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


def _build(program: model.LayerProgram, config: Config, body_words: int, head_words: int,
           resident: bool,
           lookahead: int) -> tuple[list[Instr], list[Parameter], list[Parameter], int, int]:
    """All instructions; the blocks, pitch and state words of :class:`Lowered`."""
    constants: dict[str, float] = {}
    parts: list[Expansion] = []
    for ops in (program.start, program.layer, program.head):
        # The sum of squares of the residual stream is known when a part begins.
        part = Expansion(program, config, resident=resident, constants=constants,
                         square=parts[0].square if parts else {})
        for op in ops:
            part.add_operation(op)
        parts.append(part)
    start, layer, head = parts
    # The gains of the head use the registers of the layer's first parameters: see the module's
    # docstring.
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

    body = _loads(layer.code, block, pitch, preloaded, lookahead)
    first = [Instr("load", {"dst": Reg("u", p.name, p.elements), "r": "r0", "n": p.elements,
                            "address": f"parameters+{p.offset}", "pitch": 0}) for p in preloaded]
    body[0] = replace(body[0], labels=("layer",))

    def again(labels: tuple[str, ...] = ()) -> list[Instr]:
        """Loads and the weight stream for the next step, issued before this step ends."""
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


def lower(program: model.LayerProgram, config: Config, body_words: int, head_words: int) -> Lowered:
    """Lower a layer program for a machine.

    Parameters
    ----------
    program : assembler.models.hgrn.LayerProgram
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
        code, block, head_block, pitch, state_words = _build(
            program, config, body_words, head_words, resident, lookahead)
        try:
            places = allocate(code, config, pinned=("state",) if resident else ())
        except NoRoom as error:
            failure = error
            continue
        text, registers = _render(code, places)
        return Lowered(text, registers, block, head_block, pitch, state_words, resident)
    assert failure is not None
    raise failure
