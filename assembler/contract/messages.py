"""Messages from a host to the core: prompts in chunks, and the number of tokens to sample."""

from collections.abc import Sequence

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.contract.sampling import Sampling


__all__ = ["prompt", "conversation"]


def prompt(config: Config, ids: Sequence[int], *, slot: int = 0, every: bool = False,
           fresh: bool = True) -> list[int]:
    """Message words that give ``ids`` to the stream in ``slot``, in chunks of ``positions``.

    The core samples after the last id; with ``every``, after each. With ``fresh``, the stream
    begins with an empty state; otherwise with the state that the slot holds.
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


def conversation(config: Config, ids: Sequence[int], tokens: int, *, slot: int = 0,
                 sampling: Sampling | None = None, fresh: bool = True) -> list[int]:
    """Message words that make ``slot`` continue ``ids`` by ``tokens`` tokens.

    ``sampling``: an :class:`assembler.contract.sampling.Sampling`. None keeps the slot's settings;
    after reset the slot is greedy. ``fresh``: see :func:`prompt`; if false, the core also
    remembers which tokens the repetition penalty has seen.
    """
    return [*(sampling.messages(slot, fresh=fresh) if sampling is not None else ()),
            message(MessageKind.GENERATE, slot, tokens),
            *prompt(config, ids, slot=slot, fresh=fresh)]
