"""The programs of this folder (``*.tasm``), assembled into images for any machine."""

from collections.abc import Callable, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.contract import checksum, isa, messages
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import packing
from tern_fpga.assembler.files.image import Image, Section


__all__ = ["token_loop", "memory_test", "stream_test", "idle", "successor", "GO"]


_FOLDER = Path(__file__).parent
_INSTRUCTION_BYTES = isa.WORD_BITS // 8

GO = messages.prompt(Config(), [0])     # one step, for a program that needs an active position


def _program(name: str, config: Config, **aliases: int) -> bytes:
    """Instructions of ``name.tasm``, in which ``aliases`` replace those of the file."""
    lines = (_FOLDER / f"{name}.tasm").read_text(encoding="utf-8").splitlines()
    for n, line in enumerate(lines):
        words = line.split()
        if words[:1] == [".alias"] and words[1] in aliases:
            lines[n] = f".alias {words[1]} {aliases.pop(words[1])}"
    assert not aliases, f"{name}.tasm has no alias {', '.join(aliases)}"
    program = text.assemble("\n".join(lines), config, f"{name}.tasm")
    return b"".join(word.to_bytes(_INSTRUCTION_BYTES, "little") for word in program.words)


def _image(config: Config, parts: Sequence[tuple[str, int, bytes]], vocab: int = 1,
           streams: list[dict[str, Any]] | None = None) -> Image:
    """Image of parts (name, address, bytes). The first part is the program."""
    sections = []
    for name, address, data in parts:
        data = bytes(data) + bytes(-len(data) % config.word_bytes)
        sections.append(Section(name, address, len(data), np.frombuffer(data, np.uint8)))
    return Image(config, sections, parts[0][1], len(parts[0][2]) // _INSTRUCTION_BYTES,
                 {"model": {"vocab_size": vocab}, "weight_streams": streams})


def _words(config: Config, data: bytes) -> int:
    """Memory words that ``data`` occupies."""
    return -(-len(data) // config.word_bytes)


def idle(config: Config) -> Image:
    """A program that waits for messages of the host."""
    return _image(config, [("program", 0, isa.encode("next").to_bytes(_INSTRUCTION_BYTES,
                                                                      "little"))])


def successor(config: Config) -> tuple[int, Callable[[int], int]]:
    """(vocabulary size, function: token -> next token) of the model of :func:`token_loop`."""
    size = config.lanes
    return size, lambda token: (token * 7 + 3) % size


def token_loop(config: Config) -> Image:
    """``tokens.tasm`` with a table of one-hot vectors, and a head that encodes the successors."""
    size, follows = successor(config)
    table = np.eye(size)
    head = np.full((size, size), -1, np.int8)       # (rows, columns)
    for token in range(size):
        head[follows(token), token] = 1
    vectors = [packing.pack_vector(row, config) for row in table]
    pitch = config.vector_words(size)
    weights = bytes(packing.tile(head, config))
    place = 64 * _INSTRUCTION_BYTES // config.word_bytes
    aliases = {"width": size, "vocab": size, "table": place, "pitch": pitch,
               "head": place + size * pitch, "words": _words(config, weights)}
    return _image(config, [
        ("program", 0, _program("tokens", config, **aliases)),
        ("embedding", place, b"".join(bytes(vector) for vector in vectors)),
        ("weights", aliases["head"], weights)], size,
        [checksum.entry("head", aliases["words"], weights)])


def _pattern(config: Config, count: int, seed: int = 1) -> npt.NDArray[np.int64]:
    """(count,) float words. Every bit of a word, and of its complement, affects the value."""
    fmt, draw = config.float, np.random.default_rng(seed)
    low, high = fmt.significand + 1, (1 << fmt.exponent) - 2 - fmt.significand
    middle = 1 << fmt.exponent - 1
    exponent = draw.integers(min(low, middle), max(high, middle) + 1, count)
    sign, mantissa = draw.integers(0, 2, count), draw.integers(0, 1 << fmt.mantissa, count)
    return (sign << fmt.exponent | exponent) << fmt.mantissa | mantissa


def _packed(config: Config, words: npt.NDArray[np.int64]) -> bytes:
    """Float words as in memory: one bit string without gaps."""
    width = config.float.width
    bits = (words[:, None] >> np.arange(width) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def memory_test(config: Config, words: int | None = None) -> tuple[Image, int]:
    """``memory.tasm`` over the first ``words`` memory words; None: over all.

    Returns
    -------
    (image, result) : assembler.files.image.Image, int
        ``result``: the memory word at which the program stores a row of floats: zeros if every bit
        was right.

    Raises
    ------
    TernError
        ``words`` is less than a block of the test, or more than the memory.
    """
    words = config.memory_words if words is None else words
    whole = config.memory_bits // gcd(config.row_bits, config.memory_bits) * config.vector_lanes
    most = min(4 * config.register_elements, 1024)
    n = most // whole * whole
    block = config.vector_words(n)
    if not block <= words <= config.memory_words:
        raise TernError(f"the memory test takes {block} words to the machine's "
                        f"{config.memory_words}, not {words}")
    pattern = _pattern(config, n)
    last = words - block
    place = 64 * _INSTRUCTION_BYTES // config.word_bytes
    aliases = {"n": n, "block": block, "less": -(words // block), "last": last, "result": 0,
               "pattern": place, "other": place + block, "row": config.vector_lanes}
    mask = (1 << config.float.width) - 1
    return _image(config, [
        ("program", 0, _program("memory", config, **aliases)),
        ("pattern", place, _packed(config, pattern)),
        ("other", place + block, _packed(config, pattern ^ mask))]), aliases["result"]


def stream_test(config: Config, turns: int = 16) -> tuple[Image, int]:
    """``stream.tasm``: (image, memory words that it streams). ``turns``: number of matmuls."""
    rows = 1 << 12
    words = packing.matrix_words(rows, 1, config)
    while words > config.memory_words:
        rows, words = rows // 2, words // 2
    image = _image(config, [("program", 0, _program("stream", config, rows=rows, words=words,
                                                    less=1 - turns))])
    return image, turns * words
