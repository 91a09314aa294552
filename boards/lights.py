"""The LEDs of a board and their meanings."""

from typing import Any

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In


__all__ = ["MEANINGS", "Lights"]


# In order of importance, for boards with few LEDs.
MEANINGS = {
    "heartbeat": "blinks: configured, and the PLL has locked",
    "link":      "requests of the host come",
    "fault":     "the core stopped at an instruction that does not exist",
    "memory":    "the memory is read or written",
    "running":   "a program runs",
    "waiting":   "it waits for a prompt",
    "ready":     "the SDRAM is set up",
    "token":     "tokens are made",
}

HEARTBEAT_BITS = 26        # 1.5 blinks a second at 100 MHz
STRETCH_BITS   = 21        # 20 ms at 100 MHz, the shortest visible time
DIM_BITS       = 3         # LEDs are lit in one of 8 cycles, because they are very bright


class Lights(wiring.Component):
    """Drives the board's LEDs.

    Parameters
    ----------
    leds : dict[str, str]
        A meaning, one of ``MEANINGS``, for each LED. ``led.0`` is number 0 of resource ``led``;
        ``rgb_led.r`` is a part of resource ``rgb_led``.

    Members
    -------
    One :py:`In(1)` for each of ``MEANINGS`` except ``heartbeat``. They are levels, except ``token``
    and ``memory``, which are strobes that this block lengthens.

    Raises
    ------
    ValueError
        An LED has an unknown meaning.
    """
    def __init__(self, *, leds: dict[str, str]) -> None:
        if unknown := set(leds.values()) - set(MEANINGS):
            raise ValueError(f"an LED cannot mean {', '.join(sorted(unknown))}; it can mean "
                             f"{', '.join(MEANINGS)}")
        self.leds = leds
        super().__init__({name: In(1) for name in MEANINGS if name != "heartbeat"})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        time  = Signal(HEARTBEAT_BITS)
        dim   = Signal()
        m.d.sync += time.eq(time + 1)
        m.d.sync += dim.eq(time[:DIM_BITS] == 0)
        levels = {name: getattr(self, name) for name in MEANINGS if name != "heartbeat"}
        levels["heartbeat"] = time[-1]
        # A strobe lights the LED until the end of the interval of 2 ** STRETCH_BITS cycles that
        # follows its own.
        turn = Signal()
        m.d.sync += turn.eq(time[:STRETCH_BITS] == 0)
        for name in ("memory", "token"):
            seen  = Signal(name=f"{name}_seen")
            shown = Signal(name=f"{name}_shown")
            m.d.sync += seen.eq((seen & ~turn) | levels[name])
            m.d.sync += shown.eq(Mux(turn, seen, shown | levels[name]))
            levels[name] = shown
        requested = {}
        for place, name in self.leds.items():
            resource, _, part = place.partition(".")
            if part.isdigit():
                port = platform.request(resource, int(part), dir="-")
            else:
                if resource not in requested:
                    requested[resource] = platform.request(resource, dir="-")
                port = getattr(requested[resource], part)
            lit = Signal(name=f"{name}_lit")
            m.d.sync += lit.eq(levels[name] & dim)
            m.submodules[f"led_{name}"] = buffer = io.Buffer("o", port)
            m.d.comb += buffer.o.eq(lit)
        return m
