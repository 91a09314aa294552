"""Text to token ids and back; text that streams never holds half a character."""

import codecs

from assembler import image as images
from assembler.errors import TernError


__all__ = ["load", "ByteTokenizer", "FileTokenizer"]


_BYTES = 256
_REPLACEMENT = "\ufffd"
_LONGEST = 4               # bytes of a character in UTF-8, so tokens that may be incomplete


class ByteTokenizer:
    """Ids are bytes of UTF-8: for models of 256 tokens without a tokenizer."""
    def encode(self, text):
        return list(text.encode("utf-8", "surrogateescape"))

    def stream(self, ids=()):
        """An object whose ``push(id)`` and ``flush()`` return the text that is ready.

        ``ids`` are those before the first, whose text is known already.
        """
        return _ByteStream()


class _ByteStream:
    def __init__(self):
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token):
        return self._decoder.decode(bytes([token]))

    def flush(self):
        return self._decoder.decode(b"", final=True)


class FileTokenizer:
    """The model's own ``tokenizer.json``.

    Parameters
    ----------
    data : bytes
        The file.

    Raises
    ------
    TernError
        It is no tokenizer.
    """
    def __init__(self, data):
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_buffer(data)
        except Exception as error:      # the library raises Exception itself
            raise TernError(f"{images.TOKENIZER}: not a tokenizer ({error})") from None

    def encode(self, text):
        return self._tokenizer.encode(text).ids

    def stream(self, ids=()):
        """As in :class:`ByteTokenizer`."""
        return _TokenStream(self._tokenizer, ids)


class _TokenStream:
    """Decodes a window of the newest tokens: spaces and characters depend on neighbours."""
    def __init__(self, tokenizer, ids):
        self._tokenizer = tokenizer
        self._ids = list(ids[-_LONGEST:])       # the window: tokens given, then pending ones
        self._given = len(self._ids)

    def _text(self, ids):
        return self._tokenizer.decode(ids, skip_special_tokens=True)

    def push(self, token):
        self._ids.append(token)
        pending = len(self._ids) - self._given
        if self._text(self._ids).endswith(_REPLACEMENT) and pending < _LONGEST:
            return ""
        return self.flush()

    def flush(self):
        new = self._text(self._ids)[len(self._text(self._ids[:self._given])):]
        self._ids = self._ids[self._given:]
        self._given = len(self._ids)
        return new


def load(image):
    """The tokenizer of an image, or None if its model has none."""
    if images.TOKENIZER in image.files:
        return FileTokenizer(image.files[images.TOKENIZER])
    if image.manifest["model"]["vocab_size"] == _BYTES:
        return ByteTokenizer()
    return None
