"""The ECP5's PLL: dividers for a clock, and its instance."""

from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Dividers", "dividers", "Pll"]


# MHz; Lattice FPGA-DS-02012 (ECP5 family), table of sysCLOCK PLL timing.
VCO     = 400, 800
PHASE   = 10, 400          # of the phase detector
STEPS   = 8                # of a VCO period, in which an output's phase can be moved
LARGEST = 128              # divider


@dataclass(frozen=True)
class Dividers:
    """The VCO runs at ``f_in * feedback / reference``, the output at that over ``output``."""
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
    middle = 1e6 * sum(VCO) / 2
    for reference in range(1, LARGEST + 1):
        if not PHASE[0] * 1e6 <= input_hz / reference <= PHASE[1] * 1e6:
            continue
        found = []
        for output in range(1, LARGEST + 1):
            feedback, rest = divmod(output_hz * output * reference, input_hz)
            if not rest and feedback <= LARGEST and \
                    VCO[0] * 1e6 <= output_hz * output <= VCO[1] * 1e6:
                found.append(Dividers(reference, feedback, output))
        if found:       # the VCO in the middle of its range
            return min(found, key=lambda by: abs(output_hz * by.output - middle))
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
        # The first output runs at the speed of the phase detector and is what the PLL compares, so
        # that the VCO may run at any multiple of it. An output's phase counts VCO periods from
        # CPHASE on; only the difference between `clock` and `shifted` counts here.
        feedback = Signal()
        start    = by.output - 1
        whole, eighths = divmod(self.steps, STEPS)
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.input_hz / by.reference / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{self.output_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS2=f"{self.output_hz / 1e6:g}",
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
            p_CLKFB_DIV=1,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=by.feedback,
            p_CLKOP_CPHASE=by.feedback - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=by.output,
            p_CLKOS_CPHASE=start,
            p_CLKOS_FPHASE=0,
            p_CLKOS2_ENABLE="ENABLED",
            p_CLKOS2_DIV=by.output,
            p_CLKOS2_CPHASE=start + whole,
            p_CLKOS2_FPHASE=eighths,
            i_CLKI=self.i,
            i_CLKFB=feedback,
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
            i_ENCLKOS2=Const(0),
            o_CLKOP=feedback,
            o_CLKOS=self.clock,
            o_CLKOS2=self.shifted,
            o_LOCK=self.locked,
        )
        return m
