"""What is in order: small files of every kind, made once."""

import io
import json
from pathlib import Path
import tempfile

import numpy as np

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.compiler.export import export
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.decoders import byte_alphabet
from tern_fpga.assembler.files.image import PROGRAM
from tests import random_model


__all__ = ["Corpus", "CONFIG", "SHAPE", "tokenizers", "header_of", "safetensors"]


CONFIG = Config(memory_bytes=1 << 20, lanes=10, vector_lanes=1, registers=128,
                register_elements=16, code_registers=64, accumulator_rows=64, prefetch_words=64)
SHAPE  = {"hidden": 10, "inner": 15, "layers": 1, "vocab": 260}

_TASM = b"""\
        .alias  hidden v8
        .alias  d 16
        stream  r0, address=0x40, words=64
again:  next
        embed   hidden, r0, n=d, address=0x100, pitch=9
        const   s1, 0.5
        mul     v10, hidden, u16, n=d, absmax=s3
        quant   q1, v10, s3, n=d ; codes
        bns     last
        set     r2, -3
        matmul  v11+x, q1, s1, rows=16, blocks=2
        add_r   r2, 1
        bnz     r2, again
last:   emit
        jump    again
"""


def _folder(path):
    return {name.name: name.read_bytes() for name in sorted(Path(path).iterdir())}


def header_of(data):
    """(header, body) of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8:8 + length]), data[8 + length:]


def safetensors(text, body, length=None):
    """A safetensors file of its header's bytes; ``length``: what it claims to be."""
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def tokenizers():
    """Name -> tokenizer.json of 260 tokens at most, as a tree."""
    def file(model, pre, decoder, **more):
        return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [
            {"id": 1, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}], "normalizer": None, "pre_tokenizer": pre,
            "post_processor": None, "decoder": decoder, "model": model} | more

    letters = {c: n + 2 for n, c in enumerate(byte_alphabet())}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    space = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    words = {w: n for n, w in enumerate(["<unk>", "<s>", "▁the", "▁lion", "s", "▁", "a"])}
    return {
        "bytes": file({"type": "BPE", "dropout": None, "unk_token": None, "ignore_merges": False,
                       "continuing_subword_prefix": None, "end_of_word_suffix": None,
                       "fuse_unk": False, "byte_fallback": False,
                       "vocab": {"<unk>": 0, "<s>": 1} | letters | {"th": 258, "the": 259},
                       "merges": [["t", "h"], ["th", "e"]]}, level, level),
        "words": file({"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}, space, space,
                      normalizer={"type": "Sequence", "normalizers": [
                          {"type": "NFKC"}, {"type": "Replace", "pattern": {"String": "x"},
                                             "content": "y"}]}),
        "pieces": file({"type": "Unigram", "unk_id": 0, "byte_fallback": False,
                        "vocab": [[w, -n / 2] for w, n in words.items()]}, space, space),
        "split": file({"type": "WordPiece", "vocab": words, "unk_token": "<unk>",
                       "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
                      {"type": "Sequence", "pretokenizers": [
                          {"type": "Split", "pattern": {"Regex": "\\s+|\\w+"},
                           "behavior": "Isolated", "invert": False}]},
                      {"type": "WordPiece", "prefix": "##", "cleanup": True},
                      post_processor={"type": "TemplateProcessing", "single": [
                          {"SpecialToken": {"id": "<s>", "type_id": 0}},
                          {"Sequence": {"id": "A", "type_id": 0}}],
                          "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                          "special_tokens": {"<s>": {"id": "<s>", "ids": [1],
                                                     "tokens": ["<s>"]}}})}


class Corpus:
    """Members: folders as name -> bytes.

    ``whole``, ``shards``, ``packed``: checkpoints. ``image``: a compiled model with a tokenizer.
    ``tasm``, ``words``: a program as text and as instructions. ``ids``: a .npy file.
    """
    def __init__(self):
        words = json.dumps(tokenizers()["bytes"]).encode()
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            made = random_model.write(folder / "whole", **SHAPE, dtype="BF16")
            (made / "tokenizer.json").write_bytes(words)
            export(Checkpoint(made), folder / "packed")
            image = compile_model(made, CONFIG, "sim-tiny")
            image.save(folder / "image")
            self.shards = _folder(random_model.write(folder / "shards", **SHAPE, shards=3))
            self.shards["tokenizer.json"] = words
            self.whole, self.packed, self.image = (_folder(folder / name) for name in
                                                   ("whole", "packed", "image"))
        self.source = self.image[PROGRAM]
        self.tasm = _TASM
        self.words = b"".join(word.to_bytes(16, "little") for word in image.instructions())
        file = io.BytesIO()
        np.save(file, np.arange(6).reshape(2, 3))
        self.ids = file.getvalue()
