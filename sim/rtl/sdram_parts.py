"""SDRAM parts for the checking model: parameters of ``sim/rtl/sdram.v``.

They are copied from the datasheets, independently of ``assembler/contract/sdram_parts.py``, so that
``tests/hw/test_sdram.py`` finds a copying error in either by comparing the two.
"""

from fractions import Fraction
from math import floor
from pathlib import Path

from tern_fpga.assembler.contract.config import SDRAM_MHZ, Config
from tern_fpga.assembler.contract.sdram_parts import BOARDS
from tern_fpga.sim.rtl import hardware


__all__ = ["PARTS", "PINS", "USED_COL_BITS", "parameters", "strictest", "memory_sources"]


_SOURCES = Path(__file__).resolve().parent


# Times in ps.
PARTS = {
    # Alliance Memory, AS4C32M16SB rev. 1.0, table 16
    "AS4C32M16SB-7": dict(
        ROW_BITS=13, COL_BITS=10, tCK2=10_000, tCK3=7_000, tRCD=21_000, tRP=21_000, tRAS=42_000,
        tRAS_MAX=120_000_000, tRC=63_000, tRFC=63_000, tRRD=14_000, tWR=14_000, tMRD=14_000,
        POWER_UP=200_000_000, INIT_REFRESHES=2),
    # Winbond, W9825G6JH rev. A04, section 9.5, column -6
    "W9825G6KH-6": dict(
        ROW_BITS=13, COL_BITS=9, tCK2=7_500, tCK3=6_000, tRCD=15_000, tRP=15_000, tRAS=42_000,
        tRAS_MAX=100_000_000, tRC=60_000, tRFC=60_000, tRRD=0, tWR=0, tMRD=0, RRD_CLOCKS=2,
        WR_CLOCKS=2, MRD_CLOCKS=2, POWER_UP=200_000_000, INIT_REFRESHES=8),
    # ISSI, 42-45S83200G-16160G, column -7
    "IS42S16160G-7": dict(
        ROW_BITS=13, COL_BITS=9, tCK2=10_000, tCK3=7_000, tRCD=15_000, tRP=15_000, tRAS=37_000,
        tRAS_MAX=100_000_000, tRC=60_000, tRFC=60_000, tRRD=14_000, tWR=14_000, tMRD=14_000,
        WR_CLOCKS=2, POWER_UP=100_000_000, INIT_REFRESHES=8),
    # Micron, 256Mb: x4, x8, x16 SDRAM, table 12, column -75
    "MT48LC16M16A2-75": dict(
        ROW_BITS=13, COL_BITS=9, tCK2=10_000, tCK3=7_500, tRCD=20_000, tRP=20_000, tRAS=44_000,
        tRAS_MAX=120_000_000, tRC=66_000, tRFC=66_000, tRRD=15_000, tWR=15_000, tMRD=0,
        MRD_CLOCKS=2, POWER_UP=100_000_000, INIT_REFRESHES=2),
}


# Column bits that the boards' controllers use: those of the smallest part.
USED_COL_BITS = min(part["COL_BITS"] for part in PARTS.values())

# Timing at the pins, in ps, of the slowest part: set-up and hold; access time at a CAS latency of
# 3, and output hold; minimum clock period, high time and low time.
PINS = dict(tIS=1500, tIH=800, tAC=5400, tOH=2500, tCK=7500, tCH=2500, tCL=2500)


def strictest(*, clock_hz: int | Fraction, depth: int) -> str:
    """Verilog parameter assignments for a part with the strictest value of each rule, and with the
    size of the smallest part. ``depth``: words that the model stores."""
    values = {}
    for rule in sorted(set().union(*PARTS.values())):
        found = [part[rule] for part in PARTS.values() if rule in part]
        values[rule] = (min if rule.endswith(("_MAX", "_BITS")) else max)(found)
    values |= dict(DEPTH=depth, CLOCK_PS=floor(1e12 / clock_hz + 1e-3))
    return ", ".join(f".{key}({value})" for key, value in values.items())


def parameters(name: str, *, clock_mhz: float | Fraction, depth: int,
               power_up_us: float | None = None, **changes: int) -> str:
    """Verilog parameter assignments for part ``name``. ``depth``: words that the model stores.

    ``power_up_us``: replaces the part's power-up time, to shorten simulation. ``changes``:
    parameters that replace or extend the part's.
    """
    values = dict(PARTS[name], DEPTH=depth, CLOCK_PS=floor(1e6 / clock_mhz + 1e-3), **changes)
    if power_up_us is not None:
        values["POWER_UP"] = round(power_up_us * 1e6)
    return ", ".join(f".{key}({value})" for key, value in values.items())


def memory_sources(config: Config, name: str, *, clock_mhz: int | Fraction, depth: int,
                   sdram_bits: int | None = None) -> dict[str, str]:
    """Files with the module ``tern_memory`` as {name: text}: controller and part, without a
    power-up time.

    ``name``: a board of ``assembler.contract.sdram_parts.BOARDS``, for the controller of its
    bitstream, with the registers of its pins, and the part on the board; or a part, for a
    controller made for it alone. ``sdram_bits``: width of the part's words, if it has a clock of
    its own. ``depth``: words of the memory, counted in the config's words.

    Raises
    ------
    ValueError
        ``clock_mhz`` is not the clock of the board's SDRAM.
    """
    if name in BOARDS:
        if clock_mhz != SDRAM_MHZ[name]:
            raise ValueError(f"the SDRAM of {name} runs at {float(SDRAM_MHZ[name]):g} MHz, not at "
                             f"{float(clock_mhz):g}")
        controller = hardware.verilog(config, "sdram", name, "--power-up-us", 0, package="boards")
        changes = {"USED_COL_BITS": USED_COL_BITS}
        name = BOARDS[name]
    else:
        own_clock = () if sdram_bits is None else ("--sdram-bits", sdram_bits)
        controller = hardware.verilog(config, "sdram", "--part", name, "--clock-mhz",
                                      float(clock_mhz), "--power-up-us", 0, *own_clock)
        changes = {}
    depth *= config.memory_bits // (sdram_bits or config.memory_bits)
    part = parameters(name, clock_mhz=clock_mhz, depth=depth, power_up_us=0, **changes)
    return {"sdram_controller.v": controller, "sdram.v": (_SOURCES / "sdram.v").read_text("utf-8"),
            "sdram_memory.v": f"`define TERN_PART {part}\n"
                              + (_SOURCES / "sdram_memory.v").read_text(encoding="utf-8")}
