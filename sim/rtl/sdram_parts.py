"""SDRAM parts as the checking model knows them: parameters of ``sim/rtl/sdram.v``.

Copied from the datasheets once more and not from ``assembler/contract/sdram_parts.py``, so that a
slip of the pen there is found; ``tests/hw/test_sdram.py`` compares the two.
"""

from math import floor
from pathlib import Path

from tern_fpga.assembler.contract.config import SDRAM_MHZ
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


# Column bits that the controllers of boards use: those of the smallest part.
USED_COL_BITS = min(part["COL_BITS"] for part in PARTS.values())

# At the pins, of the slowest of all: set-up and hold, time to a word at a CAS latency of 3, and how
# long it stays; shortest times of the clock, high and low.
PINS = dict(tIS=1500, tIH=800, tAC=5400, tOH=2500, tCK=7500, tCH=2500, tCL=2500)


def strictest(*, clock_hz, depth):
    """Parameter assignments for a part that has the strictest of each rule of all parts, and is
    as small as the smallest; ``depth`` words are stored."""
    values = {}
    for rule in sorted(set().union(*PARTS.values())):
        found = [part[rule] for part in PARTS.values() if rule in part]
        values[rule] = (min if rule.endswith(("_MAX", "_BITS")) else max)(found)
    values |= dict(DEPTH=depth, CLOCK_PS=floor(1e12 / clock_hz + 1e-3))
    return ", ".join(f".{key}({value})" for key, value in values.items())


def parameters(name, *, clock_mhz, depth, power_up_us=None, **changes):
    """Verilog parameter assignments for part ``name`` with ``depth`` words stored.

    ``power_up_us``: shorter than the part asks, for simulation.
    """
    values = dict(PARTS[name], DEPTH=depth, CLOCK_PS=floor(1e6 / clock_mhz + 1e-3), **changes)
    if power_up_us is not None:
        values["POWER_UP"] = round(power_up_us * 1e6)
    return ", ".join(f".{key}({value})" for key, value in values.items())


def memory_sources(config, name, *, clock_mhz, depth, sdram_bits=None):
    """Files with the module ``tern_memory``, name: text: controller and part, set up at once.

    ``name``: a board of ``assembler.contract.sdram_parts.BOARDS``, whose controller is then the one
    of its bitstream, with the registers of its pins, before the part that it carries; or a part,
    with the controller made for it alone. ``sdram_bits``: of a word of the part, if it has a clock
    of its own; ``depth`` counts the config's words.

    Raises
    ------
    ValueError
        ``clock_mhz`` is not that of the board's SDRAM.
    """
    if name in BOARDS:
        if clock_mhz != SDRAM_MHZ[name]:
            raise ValueError(f"the SDRAM of {name} runs at {float(SDRAM_MHZ[name]):g} MHz, not at "
                             f"{float(clock_mhz):g}")
        controller = hardware.verilog(config, "sdram", name, "--power-up-us", 0, package="boards")
        name, changes = BOARDS[name], {"USED_COL_BITS": USED_COL_BITS}
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
