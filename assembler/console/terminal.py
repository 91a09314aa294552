"""Makes untrusted text safe for a terminal: text of models, tokenizers, and names of files.

A terminal obeys escape sequences: they set its title, write the clipboard, or hide the text after
them. All text of a model is printed through :func:`stream` or :func:`shown`, and through
:func:`markup` where rich prints it as markup.
"""

from collections.abc import Iterable
from typing import Protocol
import unicodedata


__all__ = ["TextStream", "Tokenizer", "shown", "markup", "stream", "typed"]


class TextStream(Protocol):
    """The text of a stream of ids: see :class:`assembler.files.decoders.Text`."""
    def push(self, token: int) -> str: ...
    def flush(self) -> str: ...


class Tokenizer(Protocol):
    """The method of a tokenizer that this module uses."""
    def stream(self, ids: Iterable[int] = ()) -> TextStream: ...


# Bidi_Control of Unicode's PropList.txt: these reorder the text around them.
_BIDI = (0x61c, 0x200e, 0x200f, *range(0x202a, 0x202f), *range(0x2066, 0x206a))
_LINES = (0x2028, 0x2029)       # line ends that only some tools recognise

# C0, DEL and C1 without newline and tab; surrogates, which no encoding has. Joiners (U+200C,
# U+200D), variation selectors and tags are kept: scripts and emoji need them.
_HIDDEN = {code: chr(code).encode("unicode_escape").decode() for code in (
    *(code for code in range(0xa0) if unicodedata.category(chr(code)) == "Cc"
      and chr(code) not in "\n\t"), *_BIDI, *_LINES, *range(0xd800, 0xe000))}


def shown(text: object) -> str:
    r"""The text with control characters in Python's notation: ``\x1b``, ``\u202e``."""
    return str(text).translate(_HIDDEN)


def markup(text: object) -> str:
    """:func:`shown` for text inside rich's markup: characters special to rich are escaped."""
    from rich.markup import escape  # slow to import, and most commands need none

    return escape(shown(text))


class _Shown:
    """A stream of :mod:`assembler.files.tokenizer` whose pieces go through :func:`shown`."""
    def __init__(self, source: TextStream) -> None:
        self._source = source

    def push(self, token: int) -> str:
        return shown(self._source.push(token))

    def flush(self) -> str:
        return shown(self._source.flush())


def stream(words: Tokenizer, ids: Iterable[int] = ()) -> TextStream:
    """The text of a stream of tokens, for a terminal.

    ``words``: a tokenizer. ``ids``: earlier tokens, whose text is already known; see
    :class:`assembler.files.decoders.Text`.
    """
    return _Shown(words.stream(ids))


def typed(text: str) -> str:
    """A prompt without a byte order mark, and with LF in place of CR LF."""
    # In a locale without this character, its three bytes arrive as surrogates.
    return text.removeprefix("\ufeff").removeprefix("\udcef\udcbb\udcbf").replace("\r\n", "\n")
