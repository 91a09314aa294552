"""What a terminal is shown of text that others wrote: models, their tokenizers, names of files.

A terminal obeys escape sequences: they set its title, write the clipboard, or hide what follows.
All text of a model goes through :func:`stream` or :func:`shown`, all of it that rich prints
as markup through :func:`markup`.
"""

import unicodedata


__all__ = ["shown", "markup", "stream", "typed"]


# Bidi_Control of Unicode's PropList.txt: they reorder what stands around them.
_BIDI = (0x61c, 0x200e, 0x200f, *range(0x202a, 0x202f), *range(0x2066, 0x206a))
_LINES = (0x2028, 0x2029)       # ends of lines that line tools disagree about

# C0, DEL and C1 but newline and tab; surrogates, which no encoding has. Joiners (U+200C, U+200D),
# variation selectors and tags stay: scripts and emoji are made of them.
_HIDDEN = {code: chr(code).encode("unicode_escape").decode() for code in (
    *(code for code in range(0xa0) if unicodedata.category(chr(code)) == "Cc"
      and chr(code) not in "\n\t"), *_BIDI, *_LINES, *range(0xd800, 0xe000))}


def shown(text):
    r"""The text with what controls a terminal as Python writes it: ``\x1b``, ``\u202e``."""
    return str(text).translate(_HIDDEN)


def markup(text):
    """:func:`shown`, and without a meaning for rich, where it is part of markup."""
    from rich.markup import escape  # slow to import, and most commands need none

    return escape(shown(text))


class _Shown:
    """A stream of :mod:`assembler.files.tokenizer`, made harmless piece by piece."""
    def __init__(self, source):
        self._source = source

    def push(self, token):
        return shown(self._source.push(token))

    def flush(self):
        return shown(self._source.flush())


def stream(words, ids=()):
    """The text of tokens as they come, for a terminal. ``words``: a tokenizer; ``ids``: those
    before the first; see :class:`assembler.files.decoders.Text`."""
    return _Shown(words.stream(ids))


def typed(text):
    """A prompt as it was meant: without a byte order mark, and LF where lines end with CR LF."""
    # The second: its bytes where the locale has no such character.
    return text.removeprefix("\ufeff").removeprefix("\udcef\udcbb\udcbf").replace("\r\n", "\n")
