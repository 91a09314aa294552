"""Text to tokens: byte-level BPE through ``tokenizers``, and batches of windows."""

import lzma
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.tokenizer import SEPARATOR, documents


__all__ = ["SEPARATOR", "read_text", "train_tokenizer", "encode", "windows"]


def read_text(paths):
    """Contents of the files, joined as documents; ``.xz`` is decompressed.

    Raises TernError, with the file's name, for one that is missing, empty or not UTF-8.
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


def train_tokenizer(text, vocab):
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


def encode(tokenizer, text):
    """Token ids of all documents, each ended by the separator. -> (n,) uint16"""
    ids = []
    for encoding in tokenizer.encode_batch(documents(text)):
        ids += encoding.ids
        ids.append(0)
    return np.array(ids, np.uint16)


def windows(ids, starts, length):
    """``length + 1`` tokens from each start, so that all but the first are targets."""
    return ids[np.asarray(starts)[:, None] + np.arange(length + 1)]
