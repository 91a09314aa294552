"""Estimates how fast a model would run on a machine, without reading its weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.compiler.estimate import Memory, estimate
from tern_fpga.assembler.compiler.layout import Plan, plan
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import WORD_BITS
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.image import PROGRAM, Image, Section
from tern_fpga.assembler.models import registry


__all__ = ["Prediction", "predicted"]


@dataclass(frozen=True)
class Prediction:
    """The estimate for a model on a machine.

    ``bytes``: size of the image. If the memory is smaller, the other members are None.
    ``cycles``, ``words``: cycles of a token of one stream, and the memory words that it moves.
    ``together``: cycles in which each of ``positions`` streams gets a token.
    """
    bytes: int
    cycles: int | None = None
    words: int | None = None
    together: int | None = None


def _image(planned: Plan) -> Image:
    """An image that holds only the program of a plan."""
    words = text.assemble(planned.source, planned.config, PROGRAM).words
    data  = np.frombuffer(b"".join(word.to_bytes(WORD_BITS // 8, "little") for word in words),
                          np.uint8)
    address = planned.addresses["program"]
    return Image(planned.config, [Section("program", address, len(data), data)], address,
                 len(words))


def predicted(folder: Path | str, config: Config, memory: Memory | None = None) -> Prediction:
    """The :class:`Prediction` for the model in ``folder``.

    ``memory``: an :class:`assembler.compiler.estimate.Memory`; None: one that delivers a word per
    cycle.

    Raises
    ------
    TernError
        The model cannot be read, or the registers are too few for it.
    """
    checkpoint = Checkpoint(folder)
    model = registry.load(checkpoint.config, checkpoint.path)
    planned = plan(model, config, checkpoint.path)
    if planned.bytes > config.memory_bytes:
        return Prediction(planned.bytes)
    image, memory = _image(planned), memory or Memory()
    cycles, words = estimate(image, memory=memory)
    return Prediction(planned.bytes, cycles, words,
                      estimate(image, live=config.positions, memory=memory)[0])
