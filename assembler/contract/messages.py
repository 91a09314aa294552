"""What a host says to the core: prompts in chunks, and limits."""

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.registers import MessageKind, message


__all__ = ["prompt", "conversation"]


def prompt(config, ids, *, slot=0, every=False, fresh=True):
    """Message words that give ``ids`` to the stream in ``slot``, in chunks of ``positions``.

    The core samples after the last id; with ``every``, after each. ``fresh``: the stream begins
    with an empty state, otherwise with what the slot holds.
    """
    words = []
    for start in range(0, len(ids), config.positions):
        chunk = ids[start:start + config.positions]
        flags = registers.PROMPT_FRESH if fresh and start == 0 else 0
        if every:
            flags |= registers.PROMPT_SAMPLE | registers.PROMPT_ALL
        elif start + len(chunk) == len(ids):
            flags |= registers.PROMPT_SAMPLE
        words += [message(MessageKind.PROMPT, slot, len(chunk) | flags), *chunk]
    return words


def conversation(config, ids, tokens, *, slot=0, sampling=None, fresh=True):
    """Message words that make ``slot`` continue ``ids`` by ``tokens`` tokens.

    ``sampling``: an :class:`assembler.contract.sampling.Sampling`; None leaves the slot's settings
    as they are, which is greedy at first. ``fresh``: see :func:`prompt`; if not, the tokens that a
    penalty has seen stay so as well.
    """
    return [*(sampling.messages(slot, fresh=fresh) if sampling is not None else ()),
            message(MessageKind.GENERATE, slot, tokens),
            *prompt(config, ids, slot=slot, fresh=fresh)]
