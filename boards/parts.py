"""The boards that the machine presets are for: chip, memory, clock."""

from dataclasses import dataclass

from assembler.config import PRESETS
from assembler.formats import TRITS_PER_BYTE


__all__ = ["Board", "BOARDS", "Published", "PUBLISHED", "fitting"]


@dataclass(frozen=True)
class Board:
    """What a preset's machine runs on.

    ``clock`` is the core clock in MHz that the blocks are written for; what a whole bitstream
    reaches is in its report.
    """
    title: str
    device: str          # with speed grade
    memory: str          # kind; its size and width are the preset's
    clock: int


BOARDS = {
    "ulx3s-85f":      Board("ULX3S 85F",      "LFE5U-85F-6",    "SDR",  100),
    "ulx3s-25f":      Board("ULX3S 25F",      "LFE5U-25F-6",    "SDR",  100),
    "icepi-zero":     Board("Icepi Zero",     "LFE5U-25F-6",    "SDR",  100),
    "icesugar-pro":   Board("iCESugar-Pro",   "LFE5U-25F-6",    "SDR",  100),
    "orangecrab-85f": Board("OrangeCrab 85F", "LFE5U-85F-8",    "DDR3", 100),
    "ecpix5-85f":     Board("ECPIX-5 85F",    "LFE5UM5G-85F-8", "DDR3", 100),
}


@dataclass(frozen=True)
class Published:
    """Shape of a published checkpoint (arXiv 2406.02528)."""
    width: int
    layers: int
    intermediate: int
    vocabulary: int = 32000

    def matrices(self):
        """``(rows, columns)`` of every ternary matrix."""
        d, i = self.width, self.intermediate
        yield from [(d, d)] * 4 * self.layers
        yield from [(2 * i, d), (d, i)] * self.layers
        yield self.vocabulary, d

    def bytes(self, config):
        """Memory that its weights and embedding take; gains and states are below 1 %."""
        weights = sum(rows * -(-columns // config.lanes) * config.lanes
                      for rows, columns in self.matrices()) // TRITS_PER_BYTE
        return weights + self.vocabulary * config.vector_words(self.width) * config.word_bytes


PUBLISHED = {
    "370M": Published(1024, 24, 2816),
    "1.3B": Published(2048, 24, 5632),
    "2.7B": Published(2560, 32, 6912),
}


def fitting(name):
    """Names of the published checkpoints that fit the memory of the preset ``name``."""
    config = PRESETS[name]
    return [model for model, shape in PUBLISHED.items()
            if shape.bytes(config) <= config.memory_bytes]
