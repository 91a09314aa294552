"""Text to token ids and back. Streamed text never contains an incomplete character."""

from collections.abc import Iterable, Sequence
import functools
from pathlib import Path
import re

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, guard, image as images
from tern_fpga.assembler.files.decoders import Decoding, Text


__all__ = ["SEPARATOR", "load", "documents", "ByteTokenizer", "FileTokenizer"]


SEPARATOR = "<|endoftext|>"    # on its own line between the documents of a text file

_BYTES = 256


def documents(text: str) -> list[str]:
    """The documents of a text file, without the lines that separate them."""
    parts = re.split(rf"^{re.escape(SEPARATOR)}$", text, flags=re.MULTILINE)
    return [part.strip("\n") for part in parts if part.strip()]


class ByteTokenizer:
    """Ids are bytes of UTF-8: for models of 256 tokens without a tokenizer."""
    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """The ids of a text.

        ``continues``: the text continues an earlier one, so the special tokens at the beginning and
        end of a text are not added.
        """
        return list(text.encode("utf-8", "surrogateescape"))

    def encode_documents(self, text: str) -> list[int]:
        """The ids of a text file; this vocabulary has no token that separates documents."""
        return self.encode(text)

    def stream(self, ids: Iterable[int] = ()) -> Text:
        """A :class:`assembler.files.decoders.Text`.

        ``ids``: earlier tokens, whose text is already known. For a terminal, use
        :func:`assembler.console.terminal.stream`, which escapes control characters.
        """
        return Text.of_bytes(ids)


class FileTokenizer:
    """The model's own ``tokenizer.json``.

    Parameters
    ----------
    data : bytes
        Contents of the file.
    where : path
        Name of the file, for messages.

    Raises
    ------
    TernError
        The file does not hold a tokenizer.
    """
    def __init__(self, data: bytes, where: Path | str = images.TOKENIZER) -> None:
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
        # Padding and truncation are meant for training batches; a prompt needs neither.
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._special = {token.content for token in
                         self._tokenizer.get_added_tokens_decoder().values() if token.special}
        self._decoding = Decoding(self._tokenizer, functools.partial(guard.call, where=where))

    def _encode(self, texts: Sequence[str], continues: bool = False) -> list[list[int]]:
        texts = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
                 for text in texts]
        encodings = guard.call(
            functools.partial(self._tokenizer.encode_batch, add_special_tokens=not continues),
            texts, where=self._where, size=sum(map(len, texts)))
        return [encoding.ids for encoding in encodings]

    def encode(self, text: str, *, continues: bool = False) -> list[int]:
        """As in :class:`ByteTokenizer`."""
        return self._encode([text], continues)[0]

    def encode_documents(self, text: str) -> list[int]:
        """The ids of a text file: those of each document, each followed by the separator's.

        If the vocabulary has no separator, the file is one text.
        """
        end = self._tokenizer.token_to_id(SEPARATOR)
        if end is None:
            return self.encode(text)
        return [token for ids in self._encode(documents(text)) for token in (*ids, end)]

    def _token_of(self, token: int) -> str | None:
        text = self._tokenizer.id_to_token(token)
        return None if text in self._special else text

    def stream(self, ids: Iterable[int] = ()) -> Text:
        """As in :class:`ByteTokenizer`."""
        return Text(self._decoding.stages(), self._token_of, ids)


def load(image: images.Image) -> ByteTokenizer | FileTokenizer | None:
    """The tokenizer of an image, or None if its model has none."""
    if images.TOKENIZER in image.files:
        return FileTokenizer(image.files[images.TOKENIZER])
    vocabulary, _ = image.model()
    if vocabulary == _BYTES:
        return ByteTokenizer()
    return None
