"""The boards of the machine presets: chip, memory, clocks, LEDs and loader."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
import difflib
from fractions import Fraction
import re
from typing import Any

from tern_fpga.assembler.contract.config import CLOCK_MHZ, PRESETS, SDRAM_MHZ, Config
from tern_fpga.assembler.contract.formats import TRITS_PER_BYTE
from tern_fpga.assembler.contract.sdram_parts import ANY_PART
from tern_fpga.assembler.errors import TernError


__all__ = ["ANY_PART", "Board", "BOARDS", "named", "find", "Published", "PUBLISHED", "fitting"]


@dataclass(frozen=True)
class Board:
    """The board of a preset.

    Parameters
    ----------
    title, device : str
        Name for readers, and FPGA with its speed grade.
    memory : str
        Kind of the memory: ``SDR`` or ``DDR3``. Its size and width are the preset's.
    platform : str or None
        Module and class in amaranth_boards; None: no bitstream is made for this board.
    loader : tuple[str, ...]
        Options of openFPGALoader that name the board or its cable.
    leds : dict[str, str]
        See :class:`boards.lights.Lights`.
    baud : int
        Rate of the serial line.
    shift : float
        Degrees by which the rising edge of the SDRAM's clock lags the middle of the core's clock
        period: see ``docs/boards.md``.
    capture : int
        Half cycles by which words from the SDRAM are sampled later: see
        :class:`hw.memory.sdr.sdram.SdramController`.
    high : tuple[tuple[str, str], ...]
        Pins that are driven high, as (resource, part).
    clock : int
        MHz of the core.
    sdram_clock : int or Fraction or None
        MHz of the SDRAM; None: the core's.
    sdram_bits : int
        Width of an SDRAM word.
    seed : int
        Seed of place and route. It meets the clock if such a seed is known.
    """
    title: str
    device: str
    memory: str
    platform: str | None = None
    loader: tuple[str, ...] = ()
    leds: dict[str, str] = field(default_factory=dict)
    baud: int = 3_000_000
    shift: float = 45
    capture: int = 0
    high: tuple[tuple[str, str], ...] = ()
    clock: int = 100
    sdram_clock: int | Fraction | None = None
    sdram_bits: int = 16
    seed: int = 1

    @property
    def memory_clock(self) -> int | Fraction:
        """MHz of the SDRAM."""
        return self.sdram_clock or self.clock


def _leds(*meanings: str) -> dict[str, str]:
    return {f"led.{number}": meaning for number, meaning in enumerate(meanings)}


def _ulx3s(size: str, **options: Any) -> dict[str, Board]:
    return {f"ulx3s-{size.lower()}": Board(
        f"ULX3S {size}", f"LFE5U-{size}-6", "SDR", f"ulx3s.ULX3S_{size}_Platform", ("-b", "ulx3s"),
        _leds("heartbeat", "ready", "link", "memory", "running", "waiting", "token", "fault"),
        high=(("esp32", "gpio0"),),         # while low, the ESP32 resets the board
        clock=CLOCK_MHZ[f"ulx3s-{size.lower()}"], **options)}


BOARDS = {
    **_ulx3s("85F"),
    "ulx3s-85f-133": replace(_ulx3s("85F")["ulx3s-85f"], title="ULX3S 85F, SDRAM at 133 MHz",
                             clock=CLOCK_MHZ["ulx3s-85f-133"], shift=-22.5,
                             sdram_clock=SDRAM_MHZ["ulx3s-85f-133"], seed=4),
    **_ulx3s("45F"), **_ulx3s("25F"), **_ulx3s("12F"),
    "icepi-zero": Board(
        "Icepi Zero", "LFE5U-25F-6", "SDR", "icepi_zero.IcepiZero1_3Platform",
        ("-b", "icepi-zero"), _leds("heartbeat", "link", "memory", "running", "fault"),
        clock=CLOCK_MHZ["icepi-zero"]),
    "icesugar-pro": Board(
        "iCESugar-Pro", "LFE5U-25F-6", "SDR", "icesugar_pro.ICESugarProPlatform",
        ("-c", "cmsisdap", "--vid", "0x1d50", "--pid", "0x602b"),
        {"rgb_led.r": "fault", "rgb_led.g": "heartbeat", "rgb_led.b": "link"},
        baud=1_000_000, clock=CLOCK_MHZ["icesugar-pro"]),
    "orangecrab-85f": Board("OrangeCrab 85F", "LFE5U-85F-8", "DDR3"),
    "ecpix5-85f": Board("ECPIX-5 85F", "LFE5UM5G-85F-8", "DDR3"),
}


def named(name: str) -> Board:
    """The board of this name; TernError, with similar names, if there is none."""
    if name in BOARDS:
        return BOARDS[name]
    # Names have no capitals, spaces or underscores; a size at the end is easily left out.
    plain = re.sub(r"[\s_]+", "-", name.strip().lower())
    near  = [plain] if plain in BOARDS else \
        [each for each in BOARDS if plain and each.startswith(plain)] or \
        difflib.get_close_matches(plain, BOARDS, n=1, cutoff=0.7)
    raise TernError(f"no board {name!r}; known boards: {', '.join(BOARDS)}"
                    + (f"; did you mean {' or '.join(near)}?" if 0 < len(near) < 4 else ""))


def find(name: str) -> Board:
    """The board of this name; TernError if there is none, or no bitstreams are made for it."""
    board = named(name)
    if board.platform is None:
        able = [each for each, board in BOARDS.items() if board.platform]
        raise TernError(f"{name} has {board.memory} memory, for which there is no controller yet; "
                        f"bitstreams are made for {', '.join(able)}")
    return board


@dataclass(frozen=True)
class Published:
    """Shape of a published checkpoint (arXiv 2406.02528)."""
    width: int
    layers: int
    intermediate: int
    vocabulary: int = 32000

    def matrices(self) -> Iterator[tuple[int, int]]:
        """``(rows, columns)`` of every ternary matrix."""
        d, i = self.width, self.intermediate
        yield from [(d, d)] * 4 * self.layers
        yield from [(2 * i, d), (d, i)] * self.layers
        yield self.vocabulary, d

    def bytes(self, config: Config) -> int:
        """Memory bytes of weights and embedding. Gains and states are less than 1 % of them."""
        weights = sum(rows * -(-columns // config.lanes) * config.lanes
                      for rows, columns in self.matrices()) // TRITS_PER_BYTE
        return weights + self.vocabulary * config.vector_words(self.width) * config.word_bytes


PUBLISHED = {
    "370M": Published(1024, 24, 2816),
    "1.3B": Published(2048, 24, 5632),
    "2.7B": Published(2560, 32, 6912),
}


def fitting(name: str) -> list[str]:
    """Names of the published checkpoints that fit into the memory of the preset ``name``."""
    config = PRESETS[name]
    return [model for model, shape in PUBLISHED.items()
            if shape.bytes(config) <= config.memory_bytes]
