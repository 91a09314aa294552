"""Clocks and resets of a board: domains ``sync``, ``memory`` and ``part``."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.boards.pll import Pll


__all__ = ["Clocks", "Release"]


HELD = 16                  # cycles that the reset lasts after the clock is there


class Release(wiring.Component):
    """Ends a reset a while after the PLL has locked, and begins it again when the lock is lost.

    Members
    -------
    locked : In(1)
        Asynchronous.
    reset : Out(1)
        From a register of ``sync``, which itself must have no other reset.
    """
    locked: In(1)
    reset:  Out(1, init=1)

    def elaborate(self, platform):
        m = Module()
        # The clock may stand still while the lock is missing, so this reset does not wait for it.
        m.domains.locked = locked = ClockDomain(async_reset=True, local=True)
        m.d.comb += [locked.clk.eq(ClockSignal("sync")), locked.rst.eq(~self.locked)]
        held = Signal(HELD - 2)
        # On their way to registers all over the chip: the last one of three lies among them.
        first, second = Signal(init=1), Signal(init=1)
        m.d.locked += [
            held.eq(Cat(1, held)),
            first.eq(~held[-1]),
            second.eq(first),
            self.reset.eq(second),
        ]
        return m


class Clocks(wiring.Component):
    """Drives ``sync`` and ``memory``, from the board's oscillator by the PLL, and ``part``, the
    clock that the SDRAM gets inverted. Whoever instantiates it defines the three domains, ``part``
    without a reset.

    Parameters
    ----------
    clock_hz, memory_hz : int or Fraction
        Of ``sync``, and of ``memory`` and ``part``.
    shift : float
        Degrees by which ``part`` is later than ``memory``: see :class:`boards.pll.Pll`.
    """
    def __init__(self, *, clock_hz, memory_hz, shift):
        self.clock_hz, self.memory_hz, self.shift = clock_hz, memory_hz, shift
        super().__init__({})

    def elaborate(self, platform):
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
