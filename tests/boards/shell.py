"""A board's ``Top`` without core and memory controller, at its pads, in Amaranth's simulator.

:class:`Shell` elaborates :class:`boards.top.Top` on its real platform. Stubs that note their
arguments stand for the SoC and the controller, and behavioural models for each cell of the ECP5,
in place of the instances that Amaranth and ``boards`` made. So a whole board takes a second. What
ships, with its core and controller, is simulated by :mod:`tests.campaigns.boards_sim`.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
import importlib
import inspect
from unittest import mock

from amaranth import *
from amaranth.hdl import Fragment, IOPort
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from tern_fpga.boards import top
from tern_fpga.boards.parts import BOARDS
from tern_fpga.hw.common.signatures import MemoryPort
from tern_fpga.hw.control.host import STATUS_BITS
from tern_fpga.hw.memory.crossing import FastSdram, memory_side
from tern_fpga.hw.memory.sdr.sdram import SdramController, SdramPins
from tern_fpga.hw.soc import Soc


__all__ = ["PllOutput", "Shell", "pll_outputs", "stubs"]


FS = 10 ** 15
LIMIT = FS * 30 // 10 ** 6      # of the board's time for a bench: 30 us

# The EHXPLLL as ecppll of Project Trellis writes it, but for dividers and phases.
SETTINGS = {"PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED",
            "DPHASE_SOURCE": "DISABLED", "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB",
            "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD", "FEEDBK_PATH": "CLKOP"}
ANALOGUE = {"ICP_CURRENT": "12", "LPF_RESISTOR": "8", "MFG_ENABLE_FILTEROPAMP": "1",
            "MFG_GMCREF_SEL": "2"}
LEVELS   = {"RST": 0, "STDBY": 0, "PHASESEL0": 0, "PHASESEL1": 0, "PHASEDIR": 1, "PHASESTEP": 1,
            "PHASELOADREG": 1, "PLLWAKESYNC": 0}
OUTPUTS  = ("CLKOP", "CLKOS", "CLKOS2", "CLKOS3")


@dataclass(frozen=True)
class PllOutput:
    """``hz`` and ``phase`` (degrees, 0 to 360, behind the PLL's input) are exact."""
    hz:     Fraction
    phase:  Fraction


def pll_outputs(input_hz, parameters, attributes, ports):
    """``{output: PllOutput}`` of an EHXPLLL, by FPGA-TN-02200 (ECP5 sysCLOCK).

    ``ports``: those that are connected, with the level of those that are constant.

    Raises
    ------
    AssertionError
        Something is missing, is not modelled, or is outside of the datasheet's limits.
    """
    assert {name: parameters.get(name) for name in SETTINGS} == SETTINGS
    assert {name: attributes.get(name) for name in ANALOGUE} == ANALOGUE
    enabled = [name for name in OUTPUTS if f"{name}_ENABLE" in parameters]
    known   = {*SETTINGS, "CLKI_DIV", "CLKFB_DIV", *(
        f"{name}_{what}" for name in enabled for what in ("ENABLE", "DIV", "CPHASE", "FPHASE"))}
    assert set(parameters) == known, set(parameters) ^ known
    levels = {**LEVELS, **{f"EN{name}": 0 for name in enabled}}
    wanted = {*levels, "CLKI", "CLKFB", "LOCK", *enabled}
    assert set(ports) == wanted, set(ports) ^ wanted
    assert {name: ports[name] for name in levels} == levels
    number = {name: value for name, value in parameters.items() if isinstance(value, int)}
    assert all(1 <= number[name] <= 128 for name in number if name.endswith("DIV"))
    detector = Fraction(input_hz) / number["CLKI_DIV"]
    assert 10e6 <= detector <= 400e6
    vco = detector * number["CLKFB_DIV"] * number["CLKOP_DIV"]      # of FEEDBK_PATH CLKOP
    assert 400e6 <= vco <= 800e6
    found = {}
    for name in enabled:
        assert parameters[f"{name}_ENABLE"] == "ENABLED"
        by, coarse, fine = (number[f"{name}_{what}"] for what in ("DIV", "CPHASE", "FPHASE"))
        assert 0 <= coarse <= 127 and 0 <= fine <= 7
        late = coarse - (by - 1) + Fraction(fine, 8)                # VCO periods
        found[name] = PllOutput(vco / by, 360 * late / by % 360)
    frequencies = {"CLKI": Fraction(input_hz), **{name: each.hz for name, each in found.items()}}
    assert {name.removeprefix("FREQUENCY_PIN_"): value for name, value in attributes.items()
            if name.startswith("FREQUENCY_PIN_")} == \
        {name: f"{float(hz) / 1e6:g}" for name, hz in frequencies.items()}
    return found


class _Pad:
    """One bit of a port of the chip: what the board sets, what the chip drives."""
    def __init__(self, name):
        self.i  = Signal(name=f"{name}_i")
        self.o  = Signal(name=f"{name}_o")
        self.oe = Signal(name=f"{name}_oe")
        self.used = False


def _arguments(real, given):
    """As a call of ``real`` would take them."""
    bound = inspect.signature(real).bind(**given)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    return {**arguments, **arguments.pop("options", {})}


def _alive(m, domain):
    """A register of ``domain`` that is 0 in a reset and toggles then, and one without a reset."""
    beat, tick = Signal(2, name=f"{domain}_beat"), Signal(name=f"{domain}_tick", reset_less=True)
    m.d[domain] += [beat.eq(Cat(~beat[0], 1)), tick.eq(~tick)]
    return beat, tick


class _Soc(wiring.Component):
    """In place of the SoC: its ports, driven by nothing."""
    def __init__(self, **given):
        self.given = _arguments(Soc, given)
        super().__init__({
            "rx": In(1), "tx": Out(1, init=1), "memory": Out(MemoryPort(self.given["config"])),
            "active": Out(1), "busy": Out(1), "stopped": Out(1), "status": Out(STATUS_BITS),
            "token": Out(1)})

    def elaborate(self, platform):
        m = Module()
        self.sync = _alive(m, "sync")
        return m


class _Controller(wiring.Component):
    """In place of the controller, of the core's clock and width."""
    def __init__(self, **given):
        self.given  = _arguments(SdramController, given)
        self.narrow = self.given["config"]
        super().__init__({"port": In(MemoryPort(self.narrow)), "pins": Out(SdramPins(self.narrow)),
                          "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        self.memory = self.port_side = _alive(m, "sync")
        return m


class _FastController(wiring.Component):
    """In place of the controller that has a clock of its own."""
    def __init__(self, **given):
        self.given  = _arguments(FastSdram, given)
        for name, each in inspect.signature(SdramController).parameters.items():
            if each.default is not each.empty:
                self.given.setdefault(name, each.default)
        config = self.given["config"]
        self.narrow = memory_side(config, self.given["memory_bits"])
        super().__init__({"port": In(MemoryPort(config)), "pins": Out(SdramPins(self.narrow)),
                          "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        self.memory, self.port_side = _alive(m, "memory"), _alive(m, "sync")
        return m


@contextmanager
def stubs():
    """While this lasts, ``boards.top`` has stubs for core and controller; a list of those that were
    made."""
    made = []

    def stub(kind):
        def make(**given):
            made.append(kind(**given))
            return made[-1]
        return make

    with mock.patch.multiple(top, Soc=stub(_Soc), SdramController=stub(_Controller),
                             FastSdram=stub(_FastController)):
        yield made


class Shell:
    """The board ``name``, elaborated.

    Parameters
    ----------
    name : str
    board : boards.parts.Board or None
        None: that of the name.

    Attributes
    ----------
    platform : amaranth.vendor.LatticePlatform
    soc, sdram : wiring.Component
        The stubs; ``given`` has their arguments.
    pads : dict[str, list of _Pad]
        By name of the port, as in the constraints; only those that a cell uses.
    pll : dict[str, PllOutput]
    now : int
        Femtoseconds at the last edge of the PLL's clocks.
    running : bool
        Whether the PLL makes clocks; ``lock``, its output, is the bench's to set.
    """
    def __init__(self, name, board=None):
        self.name, self.board = name, board or BOARDS[name]
        module, platform = self.board.platform.split(".")
        self.platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), platform)()
        self.pads = {}
        self.now  = 0
        self.running = False
        with stubs() as made:
            self.fragment = Fragment.get(top.Top(name=name, board=self.board), self.platform)
        self.soc   = next(each for each in made if isinstance(each, _Soc))
        self.sdram = next(each for each in made if not isinstance(each, _Soc))
        assert len(made) == 2
        self._plls = []
        self._replace(self.fragment)
        (self._pll,) = self._plls
        levels = {}
        for port, (value, _) in self._pll.ports.items():
            levels[port] = value.value if isinstance(value, Const) else None
        self.pll = pll_outputs(round(self.platform.default_clk_frequency), self._pll.parameters,
                               self._pll.attrs, levels)
        signals = {port: value for port, (value, _) in self._pll.ports.items()}
        assert signals["CLKFB"] is signals["CLKOP"]
        self.clki, self.lock = signals["CLKI"], signals["LOCK"]
        self.outputs = {port: signals[port] for port in self.pll}
        self._simulator = None

    def simulate(self, bench, other=None):
        """Run ``async bench(ctx)`` from the moment at which the chip is configured, and
        one beside it."""
        self.now, self.running = 0, False
        self._benches = bench, other
        if self._simulator:
            self._simulator.reset()
        else:           # a fragment is good for one
            self._simulator = Simulator(self.fragment)
            self._simulator.add_process(self._clocks)
            self._simulator.add_testbench(self._bench)
            self._simulator.add_testbench(self._beside, background=True)
        self._simulator.run()

    async def _bench(self, ctx):
        await self._benches[0](ctx)

    async def _beside(self, ctx):
        if self._benches[1]:
            await self._benches[1](ctx)

    async def _clocks(self, ctx):
        """The PLL: clocks while it runs, each with its frequency and phase."""
        half  = {port: Fraction(FS, 2) / each.hz for port, each in self.pll.items()}
        phase = {port: each.phase / 360 * 2 * half[port] for port, each in self.pll.items()}
        count = dict.fromkeys(self.pll, 0)
        while True:
            next_ = {port: phase[port] + count[port] * half[port] for port in self.pll}
            soon  = round(min(next_.values()))
            await ctx.delay((soon - self.now) / FS)
            self.now = soon
            assert self.now < LIMIT, "what the bench waits for does not come"
            for port, at in next_.items():
                if round(at) == soon:
                    if self.running:
                        ctx.set(self.outputs[port], 1 - count[port] % 2)
                    count[port] += 1

    def _replace(self, fragment):
        for index, (inside, name, where) in enumerate(fragment.subfragments):
            if isinstance(inside, Instance):
                model = getattr(self, f"_{inside.type.lower()}")(
                    **{port: value for port, (value, _) in inside.ports.items()}) \
                    if inside.type != "EHXPLLL" else self._plls.append(inside) or Module()
                fragment.subfragments[index] = Fragment.get(model, None), name, where
            else:
                self._replace(inside)

    def _pad(self, value):
        """The pad of one bit of a port."""
        while not isinstance(value, IOPort):
            assert len(value) == 1
            start, value = value.start, value.value
        bits = self.pads.setdefault(value.name, [_Pad(f"{value.name}{n}")
                                                 for n in range(len(value))])
        assert not bits[start].used, f"{value.name}: two cells at one pad"
        bits[start].used = True
        return bits[start]

    def _ib(self, I, O):
        m = Module()
        m.d.comb += O.eq(self._pad(I).i)
        return m

    def _obz(self, T, I, O):
        m, pad = Module(), self._pad(O)
        m.d.comb += [pad.o.eq(I), pad.oe.eq(~T)]
        return m

    def _bb(self, T, I, O, B):
        m, pad = Module(), self._pad(B)
        m.d.comb += [pad.o.eq(I), pad.oe.eq(~T), O.eq(Mux(T, pad.i, I))]
        return m

    def _register(self, D, Q, SCLK, SP, CD):
        """One in an I/O cell, always enabled and never cleared."""
        assert (SP.value, CD.value) == (1, 0)
        return self._fd1s3ax(CK=SCLK, D=D, Q=Q)

    _ifs1p3dx = _ofs1p3dx = _register

    def _fd1s3ax(self, CK, D, Q):
        m, held = Module(), Signal(reset_less=True)
        m.d[CK.domain] += held.eq(D)
        m.d.comb += Q.eq(held)
        return m

    def _oddrx1f(self, SCLK, RST, D0, D1, Q):
        """``D0`` in the first half of a cycle of ``SCLK``, ``D1`` in the second."""
        assert RST.value == 0
        m, held = Module(), Signal(2, reset_less=True)
        m.d[SCLK.domain] += held.eq(Cat(D0, D1))
        m.d.comb += Q.eq(Mux(ClockSignal(SCLK.domain), held[0], held[1]))
        return m
