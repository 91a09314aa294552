"""Text to token ids and back; text that streams never holds half a character."""

import codecs
import re

from assembler import files, guard, image as images
from assembler.errors import TernError


__all__ = ["SEPARATOR", "load", "byte_alphabet", "documents", "ByteTokenizer", "FileTokenizer"]


SEPARATOR = "<|endoftext|>"    # a line of its own between the documents of a text file

_BYTES = 256
_REPLACEMENT = "\ufffd"
_LONGEST = 4               # bytes of a character in UTF-8, so tokens that may be incomplete


def documents(text):
    """The documents of a text file, without the lines that separate them."""
    parts = re.split(rf"^{re.escape(SEPARATOR)}$", text, flags=re.MULTILINE)
    return [part.strip("\n") for part in parts if part.strip()]


def byte_alphabet():
    """Character -> byte of byte-level vocabularies, GPT-2's: what prints stands for itself."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [byte for byte in range(_BYTES) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(_BYTES + n): byte for n, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


class ByteTokenizer:
    """Ids are bytes of UTF-8: for models of 256 tokens without a tokenizer."""
    def encode(self, text):
        return list(text.encode("utf-8", "surrogateescape"))

    def encode_documents(self, text):
        """The ids of a text file; there is no token for what separates documents."""
        return self.encode(text)

    def stream(self, ids=()):
        """An object whose ``push(id)`` and ``flush()`` return the text that is ready.

        ``ids`` are those before the first, whose text is known already.
        """
        return _ByteStream(lambda token: bytes([token]), ids)


class _ByteStream:
    """Tokens are bytes: a character appears with its last one, and what is none as U+FFFD."""
    def __init__(self, bytes_of, ids):
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # A prompt of ids may end inside a character, which the first tokens then complete.
        for token in ids[-_LONGEST:]:
            self.push(token)

    def push(self, token):
        return self._decoder.decode(self._bytes_of(token))

    def flush(self):
        return self._decoder.decode(b"", final=True)


class FileTokenizer:
    """The model's own ``tokenizer.json``.

    Parameters
    ----------
    data : bytes
        The file.
    where : path
        Its name, for messages.

    Raises
    ------
    TernError
        It is no tokenizer.
    """
    def __init__(self, data, where=images.TOKENIZER):
        from tokenizers import Tokenizer

        try:
            tree = files.parse_json(data)
        except ValueError as error:
            raise TernError(f"{where}: not a tokenizer ({error})") from None
        if not isinstance(tree, dict):
            raise TernError(f"{where}: not a tokenizer (no JSON object)")
        guard.check(tree, where)
        self._where = where
        self._tokenizer = guard.call(Tokenizer.from_buffer, data, where=where)
        # Of the library's batches for training; a prompt is taken as it is.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        decoder = tree.get("decoder")
        self._is_bytes = bool(decoder) and decoder["type"] == "ByteLevel"
        self._added = self._tokenizer.get_added_tokens_decoder()

    def _encode(self, texts):
        texts = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                 for text in texts]
        encodings = guard.call(self._tokenizer.encode_batch, texts, where=self._where,
                               size=sum(map(len, texts)))
        return [encoding.ids for encoding in encodings]

    def encode(self, text):
        return self._encode([text])[0]

    def encode_documents(self, text):
        """The ids of a text file: each document's, then the separator's.

        A vocabulary without a separator takes the file as one text.
        """
        end = self._tokenizer.token_to_id(SEPARATOR)
        if end is None:
            return self.encode(text)
        return [token for ids in self._encode(documents(text)) for token in (*ids, end)]

    def _bytes_of(self, token):
        if token in self._added:
            added = self._added[token]
            return b"" if added.special else added.content.encode()
        text = self._tokenizer.id_to_token(token) or ""
        if not _ALPHABET.keys() >= set(text):       # as the library decodes such a token
            return text.encode()
        return bytes(_ALPHABET[c] for c in text)

    def stream(self, ids=()):
        """As in :class:`ByteTokenizer`."""
        if self._is_bytes:
            return _ByteStream(self._bytes_of, ids)
        return _TokenStream(self._decode, ids)

    def _decode(self, ids):
        return guard.call(lambda: self._tokenizer.decode(ids, skip_special_tokens=True),
                          where=self._where)


class _TokenStream:
    """Decodes a window of the newest tokens: spaces and characters depend on neighbours.

    For decoders that are not byte-level. One that falls back to bytes decodes a run of them as
    a whole, so text that ends in U+FFFD waits for as many tokens as a character has bytes.
    """
    def __init__(self, decode, ids):
        self._text = decode
        self._ids = list(ids[-_LONGEST:])       # the window: tokens given, then pending ones
        self._given = len(self._ids)

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
    vocabulary, _ = image.model()
    if vocabulary == _BYTES:
        return ByteTokenizer()
    return None
