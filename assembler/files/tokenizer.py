"""Text to token ids and back; text that streams never holds half a character."""

import functools
import re

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, guard, image as images
from tern_fpga.assembler.files.decoders import Decoding, Text


__all__ = ["SEPARATOR", "load", "documents", "ByteTokenizer", "FileTokenizer"]


SEPARATOR = "<|endoftext|>"    # a line of its own between the documents of a text file

_BYTES = 256


def documents(text):
    """The documents of a text file, without the lines that separate them."""
    parts = re.split(rf"^{re.escape(SEPARATOR)}$", text, flags=re.MULTILINE)
    return [part.strip("\n") for part in parts if part.strip()]


class ByteTokenizer:
    """Ids are bytes of UTF-8: for models of 256 tokens without a tokenizer."""
    def encode(self, text, *, continues=False):
        """The ids of a text. ``continues``: others come before it, so that it does not get the
        special tokens that a text begins and ends with."""
        return list(text.encode("utf-8", "surrogateescape"))

    def encode_documents(self, text):
        """The ids of a text file; there is no token for what separates documents."""
        return self.encode(text)

    def stream(self, ids=()):
        """A :class:`assembler.files.decoders.Text`; ``ids`` are those before the first, whose text
        is known already. What goes to a terminal is
        :func:`assembler.console.terminal.stream` of it."""
        return Text.of_bytes(ids)


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
            tree = disk.parse_json(data)
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
        self._special = {token.content for token in
                         self._tokenizer.get_added_tokens_decoder().values() if token.special}
        self._decoding = Decoding(self._tokenizer, functools.partial(guard.call, where=where))

    def _encode(self, texts, continues=False):
        texts = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                 for text in texts]
        encodings = guard.call(
            functools.partial(self._tokenizer.encode_batch, add_special_tokens=not continues),
            texts, where=self._where, size=sum(map(len, texts)))
        return [encoding.ids for encoding in encodings]

    def encode(self, text, *, continues=False):
        """As in :class:`ByteTokenizer`."""
        return self._encode([text], continues)[0]

    def encode_documents(self, text):
        """The ids of a text file: each document's, then the separator's.

        A vocabulary without a separator takes the file as one text.
        """
        end = self._tokenizer.token_to_id(SEPARATOR)
        if end is None:
            return self.encode(text)
        return [token for ids in self._encode(documents(text)) for token in (*ids, end)]

    def _token_of(self, token):
        text = self._tokenizer.id_to_token(token)
        return None if text in self._special else text

    def stream(self, ids=()):
        """As in :class:`ByteTokenizer`."""
        return Text(self._decoding.stages(), self._token_of, ids)


def load(image):
    """The tokenizer of an image, or None if its model has none."""
    if images.TOKENIZER in image.files:
        return FileTokenizer(image.files[images.TOKENIZER])
    vocabulary, _ = image.model()
    if vocabulary == _BYTES:
        return ByteTokenizer()
    return None
