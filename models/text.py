"""Convert text to tokens, by byte-level BPE of ``tokenizers``, and tokens to windows."""

from collections.abc import Iterable
import lzma
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.tokenizer import SEPARATOR, documents


__all__ = ["SEPARATOR", "read_text", "train_tokenizer", "encode", "windows"]


def read_text(paths: Iterable[Path | str]) -> str:
    """Contents of the files, joined as documents; ``.xz`` files are decompressed.

    Raises TernError, with the file's name, if one is missing, empty or not UTF-8.
    """
    texts = []
    for path in map(Path, paths):
        try:
            data = lzma.open(path).read() if path.suffix == ".xz" else path.read_bytes()
        except OSError as error:
            raise TernError(f"{path}: cannot be read: {error.strerror or error}") from None
        except lzma.LZMAError:
            raise TernError(f"{path}: is not a whole .xz file") from None
        text = disk.as_text(data, path)
        if not text.strip():
            raise TernError(f"{path}: holds no text")
        texts.append(text.strip("\n"))
    return f"\n{SEPARATOR}\n".join(texts)


def train_tokenizer(text: str, vocab: int) -> Tokenizer:
    """A byte-level BPE of ``vocab`` tokens, with :data:`SEPARATOR` as token 0."""
    if vocab < 257:
        raise TernError(f"vocab must be at least 257 (256 bytes and {SEPARATOR}), not {vocab}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=[SEPARATOR],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(documents(text), trainer)
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> NDArray[np.uint16]:
    """Token ids of all documents, with a separator after each: (n,) uint16."""
    ids = []
    for encoding in tokenizer.encode_batch(documents(text)):
        ids += encoding.ids
        ids.append(0)
    return np.array(ids, np.uint16)


def windows(ids: NDArray[np.uint16], starts: ArrayLike, length: int) -> NDArray[np.uint16]:
    """``length + 1`` tokens from each start: (starts, length + 1). All except the first are
    targets."""
    return ids[np.asarray(starts)[:, None] + np.arange(length + 1)]
