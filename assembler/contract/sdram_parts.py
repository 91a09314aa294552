"""SDR SDRAM parts: their timing rules, these rules in clock cycles, and the parts of each board."""

from dataclasses import dataclass, fields
from fractions import Fraction
from math import ceil, floor
from typing import Any, Self

from tern_fpga.assembler.contract.config import Config


__all__ = ["Part", "PARTS", "ANY_PART", "BOARDS", "BUNDLE", "SDRAM_BITS", "Timing", "part",
           "words_per_cycle"]


BUNDLE = 8          # refreshes that are postponed and done together
SDRAM_BITS = 16     # width of a part's words
_LATE = 1000        # cycles: seven segments of 64 words and the row changes between them


@dataclass(frozen=True)
class Part:
    """One speed grade of a 16-bit part with four banks; times in nanoseconds.

    Some datasheets also give a rule in clocks. Then both the nanoseconds and the clocks must pass.
    """
    name: str
    row_bits: int
    column_bits: int
    t_ck: dict[int, float]      # shortest clock period, by CAS latency
    t_ac: dict[int, float]      # longest access time from the clock, by CAS latency
    t_oh: float                 # hold time of the data after the clock
    t_rcd: float                # ACTIVE to READ or WRITE
    t_rp: float                 # PRECHARGE to ACTIVE or REFRESH
    t_ras: float                # ACTIVE to PRECHARGE, shortest
    t_ras_max: float            # and longest
    t_rc: float                 # ACTIVE to ACTIVE of a bank
    t_rfc: float                # REFRESH to the next command
    t_rrd: float                # ACTIVE to ACTIVE of another bank
    t_wr: float                 # last word written to PRECHARGE
    t_mrd: float                # LOAD MODE REGISTER to the next command
    rrd_clocks: int = 1
    wr_clocks: int = 1
    mrd_clocks: int = 2
    power_up_us: float = 200    # clock stable to the first command
    t_ref_ms: float = 64        # time in which every row must be refreshed once

    @property
    def words(self) -> int:
        """Words of the whole part."""
        return 4 << self.row_bits + self.column_bits


# Sources, by part:
# AS4C32M16SB-7     Alliance Memory, AS4C32M16SB datasheet rev. 1.0 (June 2016), table 16.
# W9825G6KH-6       Winbond, section 9.5 of the W9825G6JH datasheet (A04, Nov. 2011). The KH
#                   succeeds the JH; LiteDRAM's W9825G6KH6 has the same tRP, tRCD, tRAS, tRFC.
# IS42S16160G-7     ISSI, 42-45S83200G-16160G: tRC, tRAS, tRP, tRCD and tMRD as quoted from it by
#                   dicethrow/amaram. The other times, and the limit of 100 MHz at a CAS latency of
#                   2, from the -7 grade of the IS42S16800A (AC electrical characteristics), which
#                   is of the same family.
# MT48LC16M16A2-75  Micron, 256Mb x4/x8/x16 SDRAM datasheet, table 12.
PARTS = {p.name: p for p in (
    Part("AS4C32M16SB-7", row_bits=13, column_bits=10, t_ck={2: 10, 3: 7}, t_ac={2: 6, 3: 5.4},
         t_oh=2.5, t_rcd=21, t_rp=21, t_ras=42, t_ras_max=120_000, t_rc=63, t_rfc=63, t_rrd=14,
         t_wr=14, t_mrd=14),
    Part("W9825G6KH-6", row_bits=13, column_bits=9, t_ck={2: 7.5, 3: 6}, t_ac={2: 6, 3: 5},
         t_oh=3, t_rcd=15, t_rp=15, t_ras=42, t_ras_max=100_000, t_rc=60, t_rfc=60, t_rrd=0,
         t_wr=0, t_mrd=0, rrd_clocks=2, wr_clocks=2),
    Part("IS42S16160G-7", row_bits=13, column_bits=9, t_ck={2: 10, 3: 7}, t_ac={2: 6, 3: 5.4},
         t_oh=2.5, t_rcd=15, t_rp=15, t_ras=37, t_ras_max=100_000, t_rc=60, t_rfc=60, t_rrd=14,
         t_wr=14, t_mrd=14, wr_clocks=2, power_up_us=100),
    Part("MT48LC16M16A2-75", row_bits=13, column_bits=9, t_ck={2: 10, 3: 7.5},
         t_ac={2: 6, 3: 5.4}, t_oh=3, t_rcd=20, t_rp=20, t_ras=44, t_ras_max=120_000, t_rc=66,
         t_rfc=66, t_rrd=15, t_wr=15, t_mrd=0, power_up_us=100),
)}


def _slowest(name: str) -> Any:
    """The value of a field that is within the rules of all parts: str, dict or number."""
    values = [getattr(part, name) for part in PARTS.values()]
    match values[0]:
        case str():
            return "any part"
        case dict():
            return {cas: max(value[cas] for value in values) for cas in values[0]}
        case _:         # the smallest of what a part offers, the largest of what it demands
            return (min if name in ("row_bits", "column_bits", "t_oh", "t_ras_max", "t_ref_ms")
                    else max)(values)


# Batches of a board carry different parts, so a bitstream meets the rules of all parts at once.
# A larger part is then used as one of 32 MB.
ANY_PART = Part(**{each.name: _slowest(each.name) for each in fields(Part)})


# Board -> its part; the slower one if batches of the board carry two.
BOARDS = {**dict.fromkeys(("ulx3s-85f", "ulx3s-85f-133", "ulx3s-45f", "ulx3s-25f", "ulx3s-12f"),
                          "AS4C32M16SB-7"),
          "icepi-zero": "W9825G6KH-6", "icesugar-pro": "IS42S16160G-7"}


def part(name: str) -> Part:
    """The part called ``name``; raises ValueError that lists the known ones."""
    try:
        return PARTS[name]
    except KeyError:
        raise ValueError(f"no SDRAM part {name!r}; known parts: {', '.join(PARTS)}") from None


def words_per_cycle(config: Config, clock_mhz: Fraction | float,
                    sdram_mhz: Fraction | float) -> float:
    """The most words of the core's port that the SDRAM's pins move in a cycle of the core."""
    if sdram_mhz == clock_mhz:
        return 1.0
    return float(sdram_mhz * SDRAM_BITS / (clock_mhz * config.memory_bits))


@dataclass(frozen=True)
class Timing:
    """The rules of a part in cycles of one clock."""
    cas: int
    rcd: int
    rp: int
    ras: int            # with tRC: ``ras + rp`` is at least tRC
    rfc: int
    rrd: int
    wr: int
    mrd: int
    refi: int           # between two refreshes on average

    @classmethod
    def of(cls, part: Part, clock_mhz: float, cas: int | None = None) -> Self:
        """Cycles for ``part`` at ``clock_mhz``.

        ``cas``: the CAS latency; None: the lowest that the part allows at this clock.

        Raises
        ------
        ValueError
            The part is too slow for the clock, at this CAS latency or at any; or the clock is too
            slow for the part's refreshes.
        """
        if not clock_mhz > 0:
            raise ValueError(f"a clock must have more than 0 MHz, not {clock_mhz:g}")
        period = 1000 / clock_mhz
        # 143 MHz parts are specified for a period of 7 ns, and 133 MHz parts for 7.5 ns.
        legal  = [n for n in (2, 3) if part.t_ck[n] <= period * 1.002]
        if not legal or cas is not None and cas not in legal:
            raise ValueError(f"{part.name} does not run at {clock_mhz:g} MHz with a CAS latency "
                             f"of {cas or 3}: its period must be {part.t_ck[cas or 3]:g} ns at "
                             f"least")

        def cycles(ns: float, clocks: int = 1) -> int:
            return max(clocks, ceil(ns / period - 1e-6))

        rp = cycles(part.t_rp)
        timing = cls(
            cas=cas or legal[0], rcd=cycles(part.t_rcd), rp=rp,
            ras=max(cycles(part.t_ras), cycles(part.t_rc) - rp), rfc=cycles(part.t_rfc),
            rrd=cycles(part.t_rrd, part.rrd_clocks), wr=cycles(part.t_wr, part.wr_clocks),
            mrd=cycles(part.t_mrd, part.mrd_clocks),
            # A due refresh waits for the transfer in progress: _LATE cycles at most.
            refi=floor((part.t_ref_ms * 1000 * clock_mhz - _LATE) / (1 << part.row_bits)))
        if timing.refi < 1 or timing.share <= 0:
            raise ValueError(f"{clock_mhz:g} MHz are too slow for the refreshes of {part.name}")
        return timing

    @property
    def share(self) -> float:
        """Share of the cycles of a long read that deliver a word; refreshes take the others."""
        return 1 - (self.rp + BUNDLE * self.rfc + self.rcd + 5) / (BUNDLE * self.refi)
