"""Arguments and messages with which a command line drives a machine."""

import argparse

from rich.console import Console
from rich.progress import Progress

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.messages import conversation, prompt


__all__ = ["parse_ids", "parse_count", "check_count", "progress_bar", "prompt", "conversation"]


def parse_ids(text: str) -> list[int]:
    """Parse ``1,5,9`` as a list of token ids; ArgumentTypeError if it is not one."""
    try:
        ids = [int(part, 0) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of token ids like 1,5,9") from None
    if not all(0 <= token < 1 << registers.PAYLOAD_BITS for token in ids):
        raise argparse.ArgumentTypeError(f"{text!r} names an id that no token has")
    return ids


def parse_count(text: str) -> int:
    """Parse a number of tokens to sample; ArgumentTypeError if it is not positive or too large."""
    try:
        return check_count(int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number below "
                                         f"{1 << registers.PAYLOAD_BITS:,}") from None


def check_count(count: int) -> int:
    """``count``, a number of tokens to sample; ValueError if a message cannot hold it."""
    if not 0 < count < 1 << registers.PAYLOAD_BITS:
        raise ValueError(f"count must be positive and below {1 << registers.PAYLOAD_BITS:,}, not "
                         f"{count}")
    return count


def progress_bar() -> Progress:
    """A progress bar on standard error, which shows nothing unless that is a terminal."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
