"""A program with all that decides what it does, and its form as a file."""

from dataclasses import asdict, dataclass, fields, replace
import json
import re

import numpy as np

from tern_fpga.assembler.asm.text import assemble, disassemble
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.files import image, packing
from tests.campaigns.programs.machines import Pace


__all__ = ["Places", "Program"]


_HEADER = re.compile(r"; (config|memory|send|pace): *(.*)")


@dataclass(frozen=True)
class Places:
    """What lies where, in memory words: the program, then floats, then trits.

    Floats lie without gaps, so that a vector may start at each ``grain`` of words: there an
    element starts where a word does.
    """
    grain: int
    data: int
    weights: int
    end: int

    @classmethod
    def of(cls, config):
        elements = config.vector_lanes
        while elements * config.float.width % config.memory_bits:
            elements *= 2
        grain = elements * config.float.width // config.memory_bits
        data = config.program_words * isa.WORD_BITS // config.memory_bits
        grains = (config.memory_words - data) // 2 // grain
        return cls(grain, data, data + grains * grain, config.memory_words)


def _floats(config, size, rng):
    """Bytes of ``size`` memory words of floats: of all magnitudes, some of them extreme."""
    count = size * config.memory_bits // config.float.width
    fmt = config.float
    values = rng.standard_normal(count) * 2.0 ** rng.integers(-6, 7, count)
    special = np.array([0.0, 1.0, -1.0, fmt.max, -fmt.max, fmt.tiny, -fmt.tiny])
    some = rng.random(count) < 0.05
    values = np.where(some, special[rng.integers(0, len(special), count)], values)
    return packing.pack_vector(values, config)[:size * config.word_bytes]


@dataclass(frozen=True)
class Program:
    """Instructions, what memory holds, what the host sends, and how the memory behaves.

    ``words``: of 128 bits. ``memory``: seed of everything in memory but the program. ``send``:
    message words in rounds; the next is sent when the machine waits.
    """
    config: Config
    words: tuple[int, ...]
    memory: int = 0
    send: tuple[tuple[int, ...], ...] = ()
    pace: Pace = Pace()

    def image(self):
        """The program at address 0 and its memory, with its text for who reports on it."""
        config, rng = self.config, np.random.default_rng(self.memory)
        places = Places.of(config)
        code = b"".join(word.to_bytes(isa.WORD_BITS // 8, "little") for word in self.words)
        floats = _floats(config, places.weights - places.data, rng)
        trits = rng.integers(0, 256, (places.end - places.weights) * config.word_bytes, np.uint8)
        text = disassemble(self.words, config)
        lines = [n for n, line in enumerate(text.splitlines(), 1) if not line.endswith(":")]
        return image.Image(config, [
            image.Section("program", 0, len(code), np.frombuffer(code, np.uint8)),
            image.Section("data", places.data, len(floats), floats),
            image.Section("weights", places.weights, len(trits), trits),
        ], 0, len(self.words), {"lines": lines}, {image.PROGRAM: text.encode()})

    def text(self, *notes):
        """As a file that :meth:`parse` reads; ``notes`` are lines of comment."""
        config = {f.name: getattr(self.config, f.name) for f in fields(Config)
                  if getattr(self.config, f.name) != f.default}
        header = [*notes, f"config: {json.dumps(config)}", f"memory: {self.memory}",
                  f"pace: {json.dumps(asdict(self.pace))}",
                  *("send: " + " ".join(f"{word:#x}" for word in words) for words in self.send)]
        return "".join(f"; {line}\n" for line in header) + disassemble(self.words, self.config)

    @classmethod
    def parse(cls, text, name="program"):
        found = [match.groups() for match in map(_HEADER.match, text.splitlines()) if match]
        said = dict(found)
        config = Config(**json.loads(said["config"]))
        send = tuple(tuple(int(word, 0) for word in value.split())
                     for key, value in found if key == "send")
        return cls(config, tuple(assemble(text, config, name).words), int(said["memory"]), send,
                   Pace(**json.loads(said["pace"])))

    def without(self, first, count):
        """Lacking ``count`` instructions from ``first`` on; jumps still lead to the same ones."""
        words = []
        for number, word in enumerate(self.words):
            if first <= number < first + count:
                continue
            try:
                mnemonic, operands = isa.decode(word)
            except ValueError:
                words.append(word)
                continue
            target = operands.get("target", 0)
            if target > first:
                word += max(first, target - count) - target
            words.append(word)
        return replace(self, words=tuple(words))
