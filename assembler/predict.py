"""How fast a shipped model would run on a machine: the compiler's estimate, without its weights."""

import numpy as np

from assembler import model as models, text
from assembler.checkpoint import Checkpoint
from assembler.errors import TernError
from assembler.estimate import estimate
from assembler.image import PROGRAM, Image, Section
from assembler.isa import WORD_BITS
from assembler.layout import plan


__all__ = ["predicted"]


def predicted(folder, config):
    """``(bytes, cycles)`` of the model in ``folder``: of its image, and of a token of one stream.

    None if it does not fit.
    """
    checkpoint = Checkpoint(folder)
    model = models.load(checkpoint.config, checkpoint.path)
    try:
        planned = plan(model, config, checkpoint.path)
    except TernError:
        return None
    if planned.bytes > config.memory_bytes:
        return None
    words = text.assemble(planned.source, config, PROGRAM).words
    data  = np.frombuffer(b"".join(word.to_bytes(WORD_BITS // 8, "little") for word in words),
                          np.uint8)
    address = planned.addresses["program"]
    image = Image(config, [Section("program", address, len(data), data)], address, len(words))
    return planned.bytes, estimate(image)[0]
