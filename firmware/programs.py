"""The programs of this folder, for any machine: text with its aliases set, as an image."""

from math import gcd
from pathlib import Path

import numpy as np

from tern_fpga.assembler.asm import text
from tern_fpga.assembler.contract import checksum, isa, messages
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import packing
from tern_fpga.assembler.files.image import Image, Section


__all__ = ["token_loop", "memory_test", "stream_test", "idle", "successor", "GO"]


_FOLDER = Path(__file__).parent
_INSTRUCTION_BYTES = isa.WORD_BITS // 8

GO = messages.prompt(Config(), [0])     # a step, for a program that needs a live position


def _program(name, config, **aliases):
    """Bytes of ``name.tasm`` with these aliases in place of those of the file."""
    lines = (_FOLDER / f"{name}.tasm").read_text(encoding="utf-8").splitlines()
    for n, line in enumerate(lines):
        words = line.split()
        if words[:1] == [".alias"] and words[1] in aliases:
            lines[n] = f".alias {words[1]} {aliases.pop(words[1])}"
    assert not aliases, f"{name}.tasm has no alias {', '.join(aliases)}"
    program = text.assemble("\n".join(lines), config, f"{name}.tasm")
    return b"".join(word.to_bytes(_INSTRUCTION_BYTES, "little") for word in program.words)


def _image(config, parts, vocab=1, streams=None):
    """Image of parts of (name, address, bytes), the first being the program."""
    sections = []
    for name, address, data in parts:
        data = bytes(data) + bytes(-len(data) % config.word_bytes)
        sections.append(Section(name, address, len(data), np.frombuffer(data, np.uint8)))
    return Image(config, sections, parts[0][1], len(parts[0][2]) // _INSTRUCTION_BYTES,
                 {"model": {"vocab_size": vocab}, "weight_streams": streams})


def _words(config, data):
    return -(-len(data) // config.word_bytes)


def idle(config):
    """A program that waits for the host."""
    return _image(config, [("program", 0, isa.encode("next").to_bytes(_INSTRUCTION_BYTES,
                                                                      "little"))])


def successor(config):
    """(vocabulary, function) of the model in :func:`token_loop`: which token follows which."""
    size = config.lanes
    return size, lambda token: (token * 7 + 3) % size


def token_loop(config):
    """``tokens.tasm`` with a table of one-hot vectors and a head that knows the successors."""
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


def _pattern(config, count, seed=1):
    """(count,) words such that any other word, and the complements, differ as floats too."""
    fmt, draw = config.float, np.random.default_rng(seed)
    low, high = fmt.significand + 1, (1 << fmt.exponent) - 2 - fmt.significand
    middle = 1 << fmt.exponent - 1
    exponent = draw.integers(min(low, middle), max(high, middle) + 1, count)
    sign, mantissa = draw.integers(0, 2, count), draw.integers(0, 1 << fmt.mantissa, count)
    return (sign << fmt.exponent | exponent) << fmt.mantissa | mantissa


def _packed(config, words):
    """Float words as they lie in memory: one dense bit string."""
    width = config.float.width
    bits = (words[:, None] >> np.arange(width) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(-1), bitorder="little").tobytes()


def memory_test(config, words=None):
    """``memory.tasm`` over the first ``words`` memory words, all by default.

    Returns
    -------
    (image, result) : assembler.files.image.Image, int
        The memory word where the program leaves a row of floats: zeros if all is well.

    Raises
    ------
    TernError
        That is less than a block of the test, or more than the memory.
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


def stream_test(config, turns=16):
    """``stream.tasm``; returns (image, memory words that it streams)."""
    rows = 1 << 12
    words = packing.matrix_words(rows, 1, config)
    while words > config.memory_words:
        rows, words = rows // 2, words // 2
    image = _image(config, [("program", 0, _program("stream", config, rows=rows, words=words,
                                                    less=1 - turns))])
    return image, turns * words
