"""The tokenizers library with a stranger's file: what it may do, and for how long.

A ``tokenizer.json`` holds regular expressions, replacements and templates, so it is a program. The
library runs it without limits, and panics where parts of the file contradict each other: with an
exception that is no ``Exception``, and lines of its own on standard error.
"""

import base64
from contextlib import contextmanager
import os
import sys
import threading

from tern_fpga.assembler.errors import TernError


__all__ = ["check", "call", "SECONDS"]


SECONDS = 4                # that a text may take, and one more for each _RATE characters
_RATE   = 20_000           # a fiftieth of what the library does
_GROWTH = 64               # times as long as it was may a text become
_PIECES = 16               # of a template: how often a text may be repeated


def _parts(tree):
    """All objects in a JSON value; the value is not deep, for it was parsed."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _is_charsmap(text):
    """Whether a table of SentencePiece holds as much as it says: the library allocates that."""
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return False
    return int.from_bytes(data[:4], "little") <= len(data) - 4


def check(tree, where):
    """TernError if the normalizer, decoder or template in a tokenizer.json multiplies a text, or
    takes memory that the file does not fill."""
    for name in ("normalizer", "pre_tokenizer", "decoder"):
        growth = 1
        for part in _parts(tree.get(name)):
            charsmap = part.get("precompiled_charsmap")
            if charsmap is not None and not _is_charsmap(charsmap):
                raise TernError(f"{where}: not a tokenizer (a damaged precompiled_charsmap)")
            for key in ("content", "prepend"):
                if isinstance(part.get(key), str):
                    growth *= max(1, len(part[key]))
        if growth > _GROWTH:
            raise TernError(f"{where}: not a tokenizer (its {name} could make a text {growth} "
                            f"times as long)")
    for part in _parts(tree.get("post_processor")):
        for key in ("single", "pair", "ids", "tokens"):
            if isinstance(part.get(key), list) and len(part[key]) > _PIECES:
                raise TernError(f"{where}: not a tokenizer (a template of {len(part[key])} "
                                f"pieces)")


@contextmanager
def _silence():
    """Nothing reaches standard error, not even from Rust."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def call(function, *arguments, where, size=None):
    """What a function of the library returns.

    Parameters
    ----------
    where : path
        The file that it works with, for messages.
    size : int or None
        Characters that it works on, which limit its time. It must let other threads run, as
        ``encode_batch`` does. None: no limit.

    Raises
    ------
    TernError
        The library refuses, panics, or does not end.
    """
    outcome = []

    def run():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:      # a panic is derived from this
            outcome.append((None, error))

    with _silence():
        if size is None:
            run()
        else:
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            thread.join(SECONDS + size / _RATE)
    if not outcome:
        raise TernError(f"{where}: not a tokenizer (a text of {size} characters takes it more "
                        f"than {SECONDS + size / _RATE:.0f} s)")
    result, error = outcome[0]
    if error is None:
        return result
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    raise TernError(f"{where}: not a tokenizer ({error})") from None
