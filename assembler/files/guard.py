"""Limits for the tokenizers library when it works with an untrusted file.

A ``tokenizer.json`` holds regular expressions, replacements and templates, so it is a program. The
library runs it without limits. If parts of the file contradict each other, the library panics: it
raises an exception that is not derived from ``Exception``, and prints to standard error.
"""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import sys
import threading
from typing import Any, TypeVar

from tern_fpga.assembler.errors import TernError


__all__ = ["check", "call", "SECONDS"]


SECONDS = 4                # time limit of a text, plus one second for each _RATE characters
_RATE   = 20_000           # a fiftieth of the library's speed
_GROWTH = 64               # the largest factor by which a text may grow
_PIECES = 16               # most pieces of a template: each may repeat the text

_T = TypeVar("_T")


def _parts(tree: object) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value. ``files.disk.parse_json`` has limited its depth."""
    waiting: list[Any] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _is_charsmap(text: Any) -> bool:
    """Whether a SentencePiece table is as long as its header says.

    The library allocates the length in the header.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return False
    return int.from_bytes(data[:4], "little") <= len(data) - 4


def check(tree: dict[str, Any], where: Path | str) -> None:
    """Check the normalizer, pre-tokenizer, decoder and template of a tokenizer.json.

    Raises TernError if one of them can multiply the length of a text, or would allocate more memory
    than the file fills.
    """
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
def _silence() -> Iterator[None]:
    """Discard standard error, including what the Rust code prints."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def call(function: Callable[..., _T], *arguments: object, where: Path | str,
         size: int | None = None) -> _T:
    """Call a function of the library and return its result.

    Parameters
    ----------
    function, arguments
        What to call.
    where : path
        The tokenizer's file, for messages.
    size : int or None
        Number of characters to work on, which sets the time limit. The function must let other
        threads run, as ``encode_batch`` does. None: no limit.

    Raises
    ------
    TernError
        The library refuses, panics, or exceeds the time limit.
    """
    results: list[_T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function(*arguments))
        except BaseException as error:      # a panic is derived from this
            errors.append(error)

    with _silence():
        if size is None:
            run()
        else:
            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            thread.join(SECONDS + size / _RATE)
    if results:
        return results[0]
    if not errors:
        assert size is not None
        raise TernError(f"{where}: not a tokenizer (a text of {size} characters takes it more "
                        f"than {SECONDS + size / _RATE:.0f} s)")
    if isinstance(errors[0], (KeyboardInterrupt, SystemExit)):
        raise errors[0]
    raise TernError(f"{where}: not a tokenizer ({errors[0]})") from None
