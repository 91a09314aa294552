"""What a host says to the core: prompts in chunks, limits, and what the tokens mean."""

import argparse

from assembler import registers
from assembler.registers import MessageKind, message


__all__ = ["parse_ids", "prompt", "conversation"]


def parse_ids(text):
    """``1,5,9`` as a list of token ids."""
    try:
        ids = [int(part, 0) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of token ids like 1,5,9") from None
    if not all(0 <= token < 1 << registers.PAYLOAD_BITS for token in ids):
        raise argparse.ArgumentTypeError(f"{text!r} names an id that no token has")
    return ids


def prompt(config, ids, *, slot=0, every=False):
    """Message words that give ``ids`` to a new stream in ``slot``, in chunks of ``positions``.

    The core samples after the last id; with ``every``, after each.
    """
    words = []
    for start in range(0, len(ids), config.positions):
        chunk = ids[start:start + config.positions]
        flags = registers.PROMPT_FRESH if start == 0 else 0
        if every:
            flags |= registers.PROMPT_SAMPLE | registers.PROMPT_ALL
        elif start + len(chunk) == len(ids):
            flags |= registers.PROMPT_SAMPLE
        words += [message(MessageKind.PROMPT, slot, len(chunk) | flags), *chunk]
    return words


def conversation(config, ids, tokens, *, slot=0):
    """Message words that make ``slot`` continue ``ids`` by ``tokens`` tokens."""
    return [message(MessageKind.GENERATE, slot, tokens), *prompt(config, ids, slot=slot)]
