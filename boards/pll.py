"""The ECP5's PLL: dividers for a clock, and its instance."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Dividers", "dividers", "Pll"]


# MHz; Lattice FPGA-DS-02012 (ECP5 family), table of sysCLOCK PLL timing.
VCO    = 400, 800
PHASE  = 3.125, 400        # of the phase detector
STEPS  = 8                 # of a VCO period, in which an output's phase can be moved


@dataclass(frozen=True)
class Dividers:
    """``f_out = f_in * feedback / reference``; the VCO runs at ``f_out * output``."""
    reference: int
    feedback: int
    output: int


def dividers(input_hz, output_hz):
    """The dividers that make ``output_hz`` exactly, with the fastest phase detector.

    Raises
    ------
    ValueError
        No dividers make it.
    """
    low, high = (1e6 * limit for limit in VCO)
    for reference in range(1, 129):
        compared = input_hz / reference
        if not PHASE[0] * 1e6 <= compared <= PHASE[1] * 1e6:
            continue
        feedback, rest = divmod(output_hz * reference, input_hz)
        if rest or not 1 <= feedback <= 128:
            continue
        outputs = [n for n in range(1, 129) if low <= output_hz * n <= high]
        if outputs:     # the VCO in the middle of its range
            middle = (low + high) / 2
            return Dividers(reference, feedback,
                            min(outputs, key=lambda n: abs(output_hz * n - middle)))
    raise ValueError(f"no dividers of the PLL make {output_hz / 1e6:g} MHz of "
                     f"{input_hz / 1e6:g} MHz")


class Pll(wiring.Component):
    """One EHXPLLL: a clock, and the same clock later by a part of its period.

    Parameters
    ----------
    input_hz, output_hz : int
    shift : float
        Degrees by which ``shifted`` is later than ``clock``, 0 to 360; rounded to an eighth of a
        period of the VCO.

    Members
    -------
    i : In(1)
        Clock of ``input_hz``.
    clock, shifted : Out(1)
    locked : Out(1)
        Asynchronous.

    Raises
    ------
    ValueError
        No dividers make the clock.
    """
    i:       In(1)
    clock:   Out(1)
    shifted: Out(1)
    locked:  Out(1)

    def __init__(self, *, input_hz, output_hz, shift):
        self.dividers = dividers(input_hz, output_hz)
        self.input_hz, self.output_hz = input_hz, output_hz
        self.steps = round(self.dividers.output * STEPS * shift / 360)
        super().__init__()

    @property
    def shift(self):
        """Degrees after rounding."""
        return 360 * self.steps / (self.dividers.output * STEPS)

    def elaborate(self, platform):
        m = Module()
        by = self.dividers
        # An output's phase counts VCO periods from CPHASE on. The PLL compares its input with
        # `clock`, so only the difference of the two counts.
        start = by.output - 1
        whole, eighths = divmod(self.steps, STEPS)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.output_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self.output_hz / 1e6:g}",
            a_ICP_CURRENT="12",         # analogue settings as in Lattice's own examples
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=by.reference,
            p_CLKFB_DIV=by.feedback,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=by.output,
            p_CLKOP_CPHASE=start,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=by.output,
            p_CLKOS_CPHASE=start + whole,
            p_CLKOS_FPHASE=eighths,
            i_CLKI=self.i,
            i_CLKFB=self.clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            i_ENCLKOS=Const(0),
            o_CLKOP=self.clock,
            o_CLKOS=self.shifted,
            o_LOCK=self.locked,
        )
        return m
