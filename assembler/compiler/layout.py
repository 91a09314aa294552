"""Decides the memory layout from the sizes of a model, before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.compiler import lower
from tern_fpga.assembler.compiler.allocate import NoRoom
from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.assembler.contract.isa import WORD_BITS
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import packing
from tern_fpga.assembler.models.architecture import Architecture
from tern_fpga.assembler.models.program import LayerProgram


__all__ = ["Matrix", "Plan", "plan", "advice"]


_ALIGN = 64                # memory words: a section starts at the start of a burst


@dataclass(frozen=True)
class Matrix:
    """Rows ``start`` to ``stop`` of a ternary matrix of a part's repetition.

    ``tensor``: name of the checkpoint's tensor, without ``.weight``. The rows occupy ``words``
    memory words from ``offset`` on, counted from the first word of the weights.
    """
    name: str
    tensor: str
    part: int
    repetition: int
    start: int
    stop: int
    columns: int
    offset: int
    words: int


@dataclass(frozen=True)
class Plan:
    """The lowered program and the memory layout of a model.

    ``addresses`` and ``sizes``: section -> memory words. ``source``: the whole program text.
    """
    model: Architecture
    program: LayerProgram
    config: Config
    lowered: lower.Lowered
    matrices: list[Matrix]
    addresses: dict[str, int]
    sizes: dict[str, int]
    source: str

    @property
    def words(self) -> int:
        """Memory words of the image."""
        return max(self.addresses[name] + self.sizes[name] for name in self.sizes)

    @property
    def bytes(self) -> int:
        """Bytes of the image."""
        return self.words * self.config.word_bytes


def _matrices(program: LayerProgram, config: Config) -> tuple[list[Matrix], int, int]:
    """All matrices in the order of their use; memory words of those that every token needs, and of
    the head's."""
    out, offset, body = [], 0, 0
    head = len(program.parts) - 1
    for part, repetition, prefix, op in program.linears():
        columns = program.matrices[op.matrix][1]
        words = packing.matrix_words(op.stop - op.start, columns, config)
        out.append(Matrix(op.matrix, prefix + op.matrix, part, repetition, op.start, op.stop,
                          columns, offset, words))
        offset += words
        if part != head:
            body = offset
    return out, body, offset - body


def plan(model: Architecture, config: Config, where: Path | str = "model") -> Plan:
    """Lower a model for a machine, and lay out its memory.

    Parameters
    ----------
    model : assembler.models.architecture.Architecture
    config : Config
    where : str
        Beginning of the messages.

    Raises
    ------
    TernError
        Registers, program memory or a field of an instruction are too small. The size of the
        memory is not checked.
    ValueError
        The architecture contradicts itself.
    """
    program = model.program()
    shapes = model.shapes()
    for _, _, prefix, op in program.linears():
        name = f"{prefix}{op.matrix}.weight"
        if shapes.get(name) != program.matrices[op.matrix]:
            raise ValueError(f"the layer program has {name} of shape "
                             f"{program.matrices[op.matrix]}, the checkpoint {shapes.get(name)}")
    matrices, body, head = _matrices(program, config)
    try:
        lowered = lower.lower(program, config, body, head)
    except NoRoom as error:
        raise TernError(f"{where}: {error}") from None
    names = ("parameters", "embedding", "weights", "states")
    # The number of instructions does not depend on addresses: count them with addresses of 0.
    zeros = "".join(f".alias {name} 0\n" for name in names)
    count = len(text.assemble(zeros + lowered.text, config, str(where)).words)
    sizes = {"program": count * WORD_BITS // config.memory_bits,
             "parameters": sum((part.repeats or 1) * pitch
                               for part, pitch in zip(program.parts, lowered.pitches)),
             "embedding": model.vocab * config.vector_words(program.lengths[program.embedding.out]),
             "weights": body + head,
             "states": lowered.state_words}
    addresses, address = {}, 0
    for name, words in sizes.items():
        addresses[name] = address
        address += -(-words // _ALIGN) * _ALIGN
    aliases = "".join(f".alias  {name:<12} {addresses[name]:#x}\n" for name in names)
    return Plan(model, program, config, lowered, matrices, addresses, sizes, aliases + lowered.text)


def _targets_that_fit(model: Architecture) -> list[str]:
    fitting = []
    for name, config in PRESETS.items():
        try:
            if plan(model, config).bytes <= config.memory_bytes:
                fitting.append(name)
        except TernError:
            pass
    return fitting


def advice(model: Architecture) -> str:
    """Names the targets that the model fits, for a message about one that it does not fit."""
    fitting = _targets_that_fit(model)
    return f"it fits {', '.join(fitting)}" if fitting else "it fits no known target"
