"""The ECP5's PLL: choice of its dividers, and its instance."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Dividers", "dividers", "Pll"]


# MHz; Lattice FPGA-DS-02012 (ECP5 family), table of sysCLOCK PLL timing.
VCO     = 400, 800
PHASE   = 10, 400          # at the phase detector
STEPS   = 8                # steps of an output's phase in a VCO period
LARGEST = 128              # largest divider


@dataclass(frozen=True)
class Dividers:
    """The phase detector runs at ``f_in / reference``, and the VCO at ``feedback`` times that.
    Output n runs at the frequency of the VCO divided by ``outputs[n]``."""
    reference: int
    feedback: int
    outputs: tuple[int, ...]


def dividers(input_hz: int, *outputs_hz: int | Fraction) -> Dividers:
    """The dividers that make all of ``outputs_hz`` exactly, with the fastest phase detector.

    Raises
    ------
    ValueError
        No dividers make these frequencies.
    """
    middle = 1e6 * sum(VCO) / 2
    for reference in range(1, LARGEST + 1):
        if not PHASE[0] * 1e6 <= input_hz / reference <= PHASE[1] * 1e6:
            continue
        found = []
        for output in range(1, LARGEST + 1):
            vco = outputs_hz[0] * output
            (feedback, rest), *outputs = (divmod(vco, hz) for hz in
                                          (Fraction(input_hz, reference), *outputs_hz))
            if not rest and not any(rest for _, rest in outputs) and feedback <= LARGEST and \
                    VCO[0] * 1e6 <= vco <= VCO[1] * 1e6:
                found.append(Dividers(reference, feedback, tuple(by for by, _ in outputs)))
        if found:       # the VCO nearest to the middle of its range; on ties, the finer phases
            return min(found, key=lambda by: (abs(outputs_hz[0] * by.outputs[0] - middle),
                                              -by.outputs[0]))
    raise ValueError("no dividers of the PLL make "
                     + " and ".join(f"{float(hz) / 1e6:g} MHz" for hz in outputs_hz)
                     + f" of {input_hz / 1e6:g} MHz")


class Pll(wiring.Component):
    """One EHXPLLL with three clocks: the core's, the memory's, and a shifted one of the memory.

    Parameters
    ----------
    input_hz : int
    output_hz, memory_hz : int or Fraction
    shift : float
        Degrees by which ``shifted`` lags ``memory``, -90 to 360; rounded to an eighth of a VCO
        period.

    Members
    -------
    i : In(1)
        Clock of ``input_hz``.
    clock : Out(1)
        Of ``output_hz``.
    memory, shifted : Out(1)
        Of ``memory_hz``. If that equals ``output_hz``, ``memory`` is ``clock``.
    locked : Out(1)
        Asynchronous.

    Raises
    ------
    ValueError
        No dividers make the clocks.
    """
    i:       In(1)
    clock:   Out(1)
    memory:  Out(1)
    shifted: Out(1)
    locked:  Out(1)

    def __init__(self, *, input_hz: int, output_hz: int | Fraction, memory_hz: int | Fraction,
                 shift: float) -> None:
        self.dividers = dividers(input_hz, output_hz, memory_hz)
        self.input_hz, self.output_hz, self.memory_hz = input_hz, output_hz, memory_hz
        self.steps = round(self.dividers.outputs[1] * STEPS * shift / 360)
        super().__init__()

    @property
    def shift(self) -> float:
        """The shift after rounding, in degrees."""
        return 360 * self.steps / (self.dividers.outputs[1] * STEPS)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        by = self.dividers
        # CLKOP runs at the frequency of the phase detector and is the PLL's feedback, so that the
        # VCO may run at any multiple of it. An output's phase counts VCO periods from CPHASE on;
        # only the difference between `memory` and `shifted` matters here.
        feedback = Signal()
        by_clock, by_memory = by.outputs
        whole, eighths = divmod(self.steps, STEPS)
        if self.memory_hz == self.output_hz:
            third = {}
            m.d.comb += self.memory.eq(self.clock)
        else:
            third = {
                "a_FREQUENCY_PIN_CLKOS3": f"{float(self.memory_hz) / 1e6:g}",
                "p_CLKOS3_ENABLE": "ENABLED",
                "p_CLKOS3_DIV":    by_memory,
                "p_CLKOS3_CPHASE": by_memory - 1,
                "p_CLKOS3_FPHASE": 0,
                "i_ENCLKOS3":      Const(0),
                "o_CLKOS3":        self.memory,
            }
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{self.input_hz / 1e6:g}",
            a_FREQUENCY_PIN_CLKOP=f"{self.input_hz / by.reference / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS=f"{float(self.output_hz) / 1e6:g}",
            a_FREQUENCY_PIN_CLKOS2=f"{float(self.memory_hz) / 1e6:g}",
            a_ICP_CURRENT="12",         # analogue settings as in Lattice's examples
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
            p_CLKOS_DIV=by_clock,
            p_CLKOS_CPHASE=by_clock - 1,
            p_CLKOS_FPHASE=0,
            p_CLKOS2_ENABLE="ENABLED",
            p_CLKOS2_DIV=by_memory,
            p_CLKOS2_CPHASE=by_memory - 1 + whole,
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
            **third,
        )
        return m
