"""Clock and reset of a board: domains ``sync`` and ``part``."""

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out

from boards.pll import Pll


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
        held = Signal(HELD)
        m.d.locked += held.eq(Cat(1, held))
        m.d.locked += self.reset.eq(~held[-1])
        return m


class Clocks(wiring.Component):
    """Drives ``sync``, from the board's oscillator by the PLL, and ``part``, the clock that the
    SDRAM gets inverted. Whoever instantiates it defines both domains, ``part`` without a reset.

    Parameters
    ----------
    clock_hz : int
        Of ``sync``.
    shift : float
        Degrees by which ``part`` is later: see :class:`boards.pll.Pll`.
    """
    def __init__(self, *, clock_hz, shift):
        self.clock_hz, self.shift = clock_hz, shift
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = io.Buffer("i", platform.request(platform.default_clk,
                                                                       dir="-"))
        m.submodules.pll = pll = Pll(input_hz=round(platform.default_clk_frequency),
                                     output_hz=self.clock_hz, shift=self.shift)
        m.submodules.release = release = DomainRenamer("boot")(Release())
        m.domains.boot = ClockDomain(reset_less=True, local=True)
        m.d.comb += [
            pll.i.eq(buffer.i),
            release.locked.eq(pll.locked),
            ClockSignal("sync").eq(pll.clock),
            ClockSignal("boot").eq(pll.clock),
            ClockSignal("part").eq(pll.shifted),
            ResetSignal("sync").eq(release.reset),
        ]
        for clock in (pll.clock, pll.shifted):
            platform.add_clock_constraint(clock, self.clock_hz)
        return m
