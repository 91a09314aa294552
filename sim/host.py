"""What a user of the command line says to a machine."""

import argparse

from assembler import registers
from assembler.messages import conversation, prompt


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
