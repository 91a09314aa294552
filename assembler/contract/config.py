"""The frozen description of a machine that compiler, golden machine, RTL and reports share."""

from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
import hashlib
import json

from tern_fpga.assembler.contract import formats


__all__ = ["Config", "PRESETS", "CLOCK_MHZ", "SDRAM_MHZ", "preset"]


def _power_of_two(value: int, low: int, high: int) -> bool:
    return isinstance(value, int) and low <= value <= high and value & value - 1 == 0


@dataclass(frozen=True)
class Config:
    """All parameters that change the hardware or the image. The environment changes neither.

    Parameters
    ----------
    memory_bits : int
        Width of the memory port, one word: 16, 32, 64 or 128 bits.
    memory_bytes : int
        Size of the memory behind the port.
    lanes : int
        Trits that the array takes in a cycle: 1, 2 or 4 times the trits of a memory word. With
        more than 1, the array catches up with the words prefetched while it waited.
    positions : int
        Tokens that share one pass over the weights: 1, 2, 4 or 8.
    vector_lanes : int
        Elements that the vector unit takes in a cycle: 1, 2, 4 or 8; divides ``lanes``.
    significand, exponent : int
        Bits of :class:`assembler.contract.formats.Float`.
    registers, register_elements : int
        Vector registers, and elements in each, per position. Powers of two; a vector longer
        than a register also occupies the registers after it.
    code_registers : int
        Registers of int8 codes, of ``register_elements`` elements each, per position.
    accumulator_rows : int
        Rows of a weight tile, and of the sums buffered for the drain: a power of two.
    prefetch_words : int
        Memory words of weights that may be prefetched: a power of two.
    program_words : int
        Instructions that the program memory holds: a power of two.

    Raises
    ------
    ValueError
        A value is outside its rule; the message states both.
    """
    memory_bits: int = 16
    memory_bytes: int = 1 << 25
    lanes: int = 20
    positions: int = 1
    vector_lanes: int = 2
    significand: int = 12
    exponent: int = 6
    registers: int = 128
    register_elements: int = 64
    code_registers: int = 64
    accumulator_rows: int = 512
    prefetch_words: int = 2048
    program_words: int = 512

    def __post_init__(self) -> None:
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            if type(value) is not int:      # 8.0 and True would compare equal to 8 and 1
                raise ValueError(f"{parameter.name} must be a whole number, not {value!r}")
        self.float  # raises ValueError for a bad format
        if self.memory_bits not in (16, 32, 64, 128):
            raise ValueError(f"memory_bits must be 16, 32, 64 or 128, not {self.memory_bits!r}")
        if self.lanes not in (self.word_trits, 2 * self.word_trits, 4 * self.word_trits):
            raise ValueError(f"lanes must be 1, 2 or 4 times the {self.word_trits} trits of a "
                             f"{self.memory_bits}-bit word, not {self.lanes!r}")
        for name, low, high in (("positions", 1, 8), ("vector_lanes", 1, 8),
                                ("registers", 16, 512), ("register_elements", 16, 4096),
                                ("code_registers", 4, 512), ("accumulator_rows", 16, 4096),
                                ("prefetch_words", 64, 1 << 16), ("program_words", 16, 4096),
                                ("memory_bytes", 1 << 12, 1 << 34)):
            if not _power_of_two(getattr(self, name), low, high):
                raise ValueError(f"{name} must be a power of two from {low} to {high}, "
                                 f"not {getattr(self, name)!r}")
        if self.lanes % self.vector_lanes:
            raise ValueError(f"vector_lanes must divide lanes, and {self.vector_lanes} does "
                             f"not divide {self.lanes}")
        if self.register_elements < 4 * self.vector_lanes:
            raise ValueError(f"register_elements must be at least 4 rows of {self.vector_lanes} "
                             f"elements, not {self.register_elements!r}")

    @property
    def float(self) -> formats.Float:
        return formats.Float(self.significand, self.exponent)

    @property
    def word_bytes(self) -> int:
        """Bytes of a memory word."""
        return self.memory_bits // 8

    @property
    def word_trits(self) -> int:
        """Trits of a memory word."""
        return self.word_bytes * formats.TRITS_PER_BYTE

    @property
    def beat_words(self) -> int:
        """Memory words that the array takes in a cycle."""
        return self.lanes // self.word_trits

    @property
    def memory_words(self) -> int:
        return self.memory_bytes // self.word_bytes

    @property
    def register_rows(self) -> int:
        """Rows of ``vector_lanes`` elements in a register, of one position."""
        return self.register_elements // self.vector_lanes

    @property
    def vector_rows(self) -> int:
        """Rows of the vector memory."""
        return self.registers * self.positions * self.register_rows

    @property
    def code_rows(self) -> int:
        """Rows of the code memory."""
        return self.code_registers * self.positions * self.register_rows

    @property
    def row_bits(self) -> int:
        """Bits of a vector row; in memory, rows follow each other without a gap."""
        return self.vector_lanes * self.float.width

    def rows(self, elements: int) -> int:
        """Rows that ``elements`` elements of one position occupy."""
        return -(-elements // self.vector_lanes)

    def vector_words(self, elements: int) -> int:
        """Memory words that a vector of ``elements`` occupies; each vector starts at a word."""
        return -(-self.rows(elements) * self.row_bits // self.memory_bits)

    @property
    def digest(self) -> str:
        """64 bits of SHA-256 over all parameters, as 16 hexadecimal digits.

        The image holds it and the board reports it; if they differ, the image is refused.
        """
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


_ECP5_64BIT = Config(memory_bits=64, memory_bytes=1 << 27, lanes=80, positions=1, vector_lanes=4,
                     registers=256, register_elements=128, code_registers=64,
                     accumulator_rows=512, prefetch_words=1024)

_ECP5_25F = Config(registers=128, register_elements=128, code_registers=64)

PRESETS = {
    # The finest float: the machine then differs from PyTorch only at rounding ties of the int8
    # codes. In simulation, area costs nothing.
    "sim-tiny": Config(lanes=10, vector_lanes=1, significand=24, exponent=8, registers=256,
                       code_registers=128, accumulator_rows=256, prefetch_words=512),
    "ulx3s-85f": Config(positions=8, vector_lanes=4, registers=128, register_elements=64,
                        code_registers=64),
    # The SDRAM at 133 MHz, the core at 100: two words of the SDRAM are one of the core.
    "ulx3s-85f-133": Config(memory_bits=32, positions=8, vector_lanes=4, registers=128,
                            register_elements=64, code_registers=64, prefetch_words=1024),
    "ulx3s-45f": Config(positions=4, vector_lanes=4, registers=128, register_elements=64,
                        code_registers=64),
    "ulx3s-25f": _ECP5_25F,
    "ulx3s-12f": _ECP5_25F,         # the same chip under another name
    "icepi-zero": _ECP5_25F,
    "icesugar-pro": _ECP5_25F,
    "orangecrab-85f": _ECP5_64BIT,
    "ecpix5-85f": replace(_ECP5_64BIT, memory_bytes=1 << 29),
}

# Clock of the core that each board's bitstream meets, see docs/reports.
CLOCK_MHZ = dict.fromkeys(PRESETS, 100)
SDRAM_MHZ = CLOCK_MHZ | {"ulx3s-85f-133": Fraction(400, 3)}     # for boards with SDR SDRAM


def preset(name: str) -> Config:
    """The preset called ``name``; raises ValueError that lists the known ones."""
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"no target {name!r}; known targets: {', '.join(PRESETS)}") from None
