"""Clocks and resets of a board: domains ``sync``, ``memory`` and ``part``."""

from fractions import Fraction
from typing import Any

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.boards.pll import Pll


__all__ = ["Clocks", "Release"]


HELD = 16                  # cycles of reset after the PLL has locked


class Release(wiring.Component):
    """Holds a reset until ``HELD`` cycles after the PLL has locked, and again when it loses lock.

    Members
    -------
    locked : In(1)
        Asynchronous.
    reset : Out(1)
        Driven by a register of ``sync``. That domain must have no other reset.
    """
    locked: In(1)
    reset:  Out(1, init=1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        # This reset is asynchronous, because the clock may stop while the PLL is not locked.
        m.domains.locked = locked = ClockDomain(async_reset=True, local=True)
        m.d.comb += [locked.clk.eq(ClockSignal("sync")), locked.rst.eq(~self.locked)]
        held = Signal(HELD - 2)
        # Three registers in series, because the reset goes to the whole chip and its route is long.
        first, second = Signal(init=1), Signal(init=1)
        m.d.locked += [
            held.eq(Cat(1, held)),
            first.eq(~held[-1]),
            second.eq(first),
            self.reset.eq(second),
        ]
        return m


class Clocks(wiring.Component):
    """Drives the clock domains ``sync``, ``memory`` and ``part`` from the board's oscillator
    through the PLL. The SDRAM gets the inverted clock of ``part``. The parent defines the three
    domains, ``part`` without a reset.

    Parameters
    ----------
    clock_hz, memory_hz : int or Fraction
        Frequencies of ``sync``, and of ``memory`` and ``part``.
    shift : float
        Degrees by which ``part`` lags ``memory``: see :class:`boards.pll.Pll`.
    """
    def __init__(self, *, clock_hz: int | Fraction, memory_hz: int | Fraction,
                 shift: float) -> None:
        self.clock_hz, self.memory_hz, self.shift = clock_hz, memory_hz, shift
        super().__init__({})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.buffer = buffer = io.Buffer("i", platform.request(platform.default_clk,
                                                                       dir="-"))
        m.submodules.pll = pll = Pll(input_hz=round(platform.default_clk_frequency),
                                     output_hz=self.clock_hz, memory_hz=self.memory_hz,
                                     shift=self.shift)
        m.d.comb += [pll.i.eq(buffer.i), ClockSignal("part").eq(pll.shifted)]
        for name, clock in ("sync", pll.clock), ("memory", pll.memory):
            boot = f"{name}_boot"
            m.submodules[f"{name}_release"] = release = DomainRenamer(boot)(Release())
            m.domains += ClockDomain(boot, reset_less=True, local=True)
            m.d.comb += [
                release.locked.eq(pll.locked),
                ClockSignal(name).eq(clock),
                ClockSignal(boot).eq(clock),
                ResetSignal(name).eq(release.reset),
            ]
        constraints = [(pll.clock, self.clock_hz), (pll.shifted, self.memory_hz)]
        if self.memory_hz != self.clock_hz:
            constraints.append((pll.memory, self.memory_hz))
        for clock, hz in constraints:
            platform.add_clock_constraint(clock, float(hz))
        return m
