# amaranth: UnusedElaboratable=no
"""What ships, simulated at the pins of its board: docs/reports/boards-sim.md.

    python -m tests.campaigns.boards_sim -o docs/reports/boards-sim.md    every board (long)
    python -m tests.campaigns.boards_sim ulx3s-25f --small                one, with a small core

:func:`check` is for tests, also for those that put faults into ``boards``.
"""

import argparse
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
import re
import tempfile
import time
from types import SimpleNamespace

from amaranth import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.back import verilog
from amaranth.lib.wiring import In
import numpy as np

from tern_fpga.assembler.console.commit import made_by
from tern_fpga.assembler.contract import link, registers
from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.assembler.errors import TernError, report
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.image import Section
from tern_fpga.firmware import programs, selftest
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.upload import upload
from tern_fpga.hw.common.rest import RESTING
from tern_fpga.hw.core import Core
from tern_fpga.hw.tools.verilog import Refused
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tern_fpga.sim.rtl import pins, verilate
from tests.verilog import ROOT


__all__ = ["FACTS", "Facts", "netlist", "constraints", "check"]


_SMALL = dict(memory_bytes=1 << 25, vector_lanes=1, registers=64, register_elements=16,
              code_registers=4, accumulator_rows=16, prefetch_words=64, program_words=64)
_SMALL_16 = Config(memory_bits=16, lanes=10, **_SMALL)
_SMALL_32 = Config(memory_bits=32, lanes=20, **_SMALL)


@dataclass(frozen=True)
class Facts:
    """What is right for a board, by docs/boards.md and its schematic; never from ``boards``.

    Parameters
    ----------
    oscillator_hz, clock_hz, memory_hz : int or Fraction
    shift : float
        Degrees by which the SDRAM's clock rises later than half a period after its other pins
        change.
    baud : int
    lights : dict[str, str]
        What an output pin shows.
    high : tuple[str, ...]
        Output pins that are never low.
    small : assembler.contract.config.Config
        A small machine whose memory port is as wide as the board's.
    """
    oscillator_hz: int
    clock_hz: int
    memory_hz: int | Fraction
    shift: float
    baud: int
    lights: dict[str, str]
    high: tuple[str, ...] = ()
    small: Config = field(default=_SMALL_16, repr=False)


def _leds(*meanings):
    return {f"led_{n}": meaning for n, meaning in enumerate(meanings)}


_ULX3S = Facts(25_000_000, 100_000_000, 100_000_000, 45, 3_000_000, _leds(
    "heartbeat", "ready", "link", "memory", "running", "waiting", "token", "fault"),
    ("esp32_0__gpio0",))
FACTS = {
    **dict.fromkeys(("ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f"), _ULX3S),
    "ulx3s-85f-133": Facts(25_000_000, 100_000_000, Fraction(400_000_000, 3), -22.5, 3_000_000,
                           _ULX3S.lights, _ULX3S.high, _SMALL_32),
    "icepi-zero": Facts(50_000_000, 100_000_000, 100_000_000, 45, 3_000_000, _leds(
        "heartbeat", "link", "memory", "running", "fault")),
    "icesugar-pro": Facts(25_000_000, 100_000_000, 100_000_000, 45, 1_000_000, {
        "rgb_led_0__r": "fault", "rgb_led_0__g": "heartbeat", "rgb_led_0__b": "link"}),
}


# Netlists

_PARTS = {"top.soc.core": "tern_core", "top.soc.link": "tern_link"}


def _black_box(component, module):
    """``component``'s class with an Instance in place of what is inside."""
    class BlackBox(component):
        made: list[dict] = []

        def __init__(self, **arguments):
            super().__init__(**arguments)
            self.made.append(arguments)

        def elaborate(self, platform):
            m = Module()
            m.submodules.cell = Instance(module, i_clk=ClockSignal(), i_rst=ResetSignal(), **{
                f"{'i' if member.flow == In else 'o'}_{'__'.join(map(str, path))}":
                    Value.cast(value)
                for path, member, value in self.signature.flatten(self)})
            return m
    return BlackBox


# Blocks of the core that rest do not get their clock, which takes half of the simulator's time:
# hw/common/rest.py, and tests/hw/test_rest.py for that nothing else differs.
_GATED = """
module tern_core ({ports});
    wire [{last}:0] needed;
    reg  [{last}:0] open;
    always_latch if (!clk) open = needed;
    gated_core core (.*, .clocks(open & {{{count}{{clk}}}}));
endmodule
"""


def _part(component, module, arguments):
    """The Verilog of a component by itself, made once."""
    sources = [path for folder in ("hw", "assembler")
               for path in sorted((ROOT / folder).rglob("*.py"))]
    key = verilate.digest("part", module, sorted(arguments.items()), _GATED,
                          *(path.read_bytes() for path in sources))
    made = component(**arguments)
    ports = [("clk", 1, True), ("rst", 1, True), *(
        ("__".join(map(str, path)), len(Value.cast(value)), member.flow == In)
        for path, member, value in made.signature.flatten(made))]
    ports = tuple(port for port in ports if port[1])

    def build(folder):
        if component is not Core:
            text = verilog.convert(made, name=module, emit_src=False)
        else:
            text = verilog.convert(Core(**arguments, gated=True), name="gated_core",
                                   emit_src=False)
            text += _GATED.format(last=len(RESTING) - 1, count=len(RESTING), ports=", ".join(
                f"{'input' if into else 'output'} wire [{width - 1}:0] {port}"
                for port, width, into in ports))
        (folder / "part.v").write_text(text, encoding="utf-8")

    folder = verilate.once(verilate.cache() / "pins" / key, build)
    return pins.Part((folder / "part.v").read_text(encoding="utf-8"), module, ports)


def _verilog(rtlil):
    """Verilog of RTLIL, as Amaranth makes it; from the cache if it was made before."""
    def build(folder):
        text = verilog._convert_rtlil_text(rtlil, strip_internal_attrs=True)
        (folder / "top.v").write_text(text, encoding="utf-8")

    key = verilate.digest("verilog", rtlil)
    return (verilate.once(verilate.cache() / "pins" / key, build) / "top.v").read_text("utf-8")


def _cut(rtlil):
    """The RTLIL without the modules of _PARTS and what is below them, and these apart."""
    modules = re.split(r"(?=^attribute .*\n(?:attribute .*\n)*module |^module )", rtlil,
                       flags=re.M)
    taken = {name: [] for name in _PARTS.values()}
    rest = []
    for text in modules:
        for path, name in _PARTS.items():
            text = re.sub(rf"\\{re.escape(path)}(?=[.\s])", rf"\\{name}", text)
        found = re.search(r"^module \\(\w+)", text, re.M)
        (taken.get(found and found[1], rest)).append(text)
    parts = {}
    for name, texts in taken.items():
        top = next(text for text in texts if re.search(rf"^module \\{name}$", text, re.M))
        ports = re.findall(r"^  wire width (\d+) (input|output) \d+ +\\(\S+)$", top, re.M)
        (clock,) = [port for _, _, port in ports if re.fullmatch(r"(\w+_)?clk", port)]
        parts[name] = pins.Part(_verilog(rest[0] + "".join(texts)), name, tuple(
            (port, int(width), way == "input") for width, way, port in ports), clock)
    return "".join(rest), parts


def _pll(rtlil):
    """Parameters and attributes of the only EHXPLLL."""
    found = re.findall(r"((?:^  attribute .*\n)*)^  cell \\EHXPLLL .*\n((?:^    .*\n)*)", rtlil,
                       re.M)
    if len(found) != 1:
        raise pins.Refused(f"the netlist has {len(found)} PLLs")
    values = {}
    for text, mark in zip(found[0], ("*", "")):
        for name, string, number in re.findall(
                r'^ +(?:attribute|parameter) \\(\w+) (?:"(.*)"|(-?\d+))$', text, re.M):
            values[mark + name] = int(number) if number else string
    return values


def netlist(name, *, board=None, config=None, whole=False):
    """What :func:`boards.flow.prepare` makes of a board, ready to be simulated.

    Parameters
    ----------
    name : str
        Of :data:`FACTS`.
    board : boards.parts.Board or None
        None: that of the name.
    config : assembler.contract.config.Config or None
        None: the small one of :data:`FACTS`. With the preset's and ``whole`` it is the netlist of
        the bitstream.
    whole : bool
        Elaborate core and host link too (20 s and more), as for a bitstream. Else both are black
        boxes for ``prepare``, and come from :mod:`hw` by themselves, from the cache.

    Returns
    -------
    sim.rtl.pins.Netlist
    """
    from tern_fpga.boards import flow, parts
    from tern_fpga.hw import soc

    classes = {"Core": "tern_core", "HostLink": "tern_link"}
    before = {each: getattr(soc, each) for each in classes}
    boxes = {each: _black_box(before[each], module) for each, module in classes.items()}
    try:
        if not whole:
            for each, box in boxes.items():
                setattr(soc, each, box)
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            _, digest = flow.prepare(name, board or parts.BOARDS[name], folder,
                                     config or FACTS[name].small)
            rtlil = (folder / f"{flow.TOP}.il").read_text(encoding="utf-8")
            constraints = (folder / f"{flow.TOP}.lpf").read_text(encoding="utf-8")
    finally:
        for each, component in before.items():
            setattr(soc, each, component)
    if whole:
        rtlil, made = _cut(rtlil)
    else:
        made = {module: _part(before[each], module, boxes[each].made[-1])
                for each, module in classes.items()}
    return pins.Netlist(_verilog(rtlil), made, _pll(rtlil), constraints, digest)


# What must be true of a board

class _Wrong(Exception):
    """A complaint behind which nothing more can be tried."""


def _near(found, right, share=1e-4):
    return abs(float(found) / float(right) - 1) <= share


def constraints(netlist, facts, pll):
    """Complaints about the LPF file and the frequencies that attributes of the PLL name."""
    from tern_fpga.boards import flow

    found = []
    asked = {name: float(hz) for name, hz in re.findall(
        r'^FREQUENCY NET "(.*)" (.*) HZ;$', netlist.constraints, re.M)}
    for output, hz in pll.hz.items():
        net = flow.CLOCKS.get(output)
        if output == "CLKOP":                       # nothing but the PLL itself gets it
            continue
        if not _near(asked.pop(net, 1), hz):
            found.append(f"{output} has {float(hz) / 1e6:g} MHz, and no constraint says so for net "
                         f"{net!r}")
    found += [f"a constraint names the net {net!r}, which is no clock" for net in asked]
    ports = re.findall(r'^FREQUENCY PORT "clk\d+_0__io" (.*) HZ;$', netlist.constraints, re.M)
    if len(ports) != 1 or not _near(ports[0], facts.oscillator_hz):
        found.append(f"the oscillator's constraint: {ports} Hz, not {facts.oscillator_hz}")
    for output, hz in {"CLKI": facts.oscillator_hz, **pll.hz}.items():
        said = netlist.pll.get(f"*FREQUENCY_PIN_{output}")
        if said is None and output == "CLKOS3":
            found.append("CLKOS3: no frequency in its attribute")
        if said is not None and not _near(float(said) * 1e6, hz, 1e-5):
            found.append(f"{output} has {float(hz) / 1e6:g} MHz, its attribute says {said}")
    sites = re.findall(r'^LOCATE COMP "(.*)" SITE "(.*)";$', netlist.constraints, re.M)
    places = dict(sites)
    for name, width, _ in pins.ports_of_top(netlist.verilog):
        for bit in [f"{name}[{n}]" for n in range(width)] if width > 1 else [name]:
            if bit not in places:
                found.append(f"pin {bit} has no place")
    if len(set(places.values())) < len(sites):
        found.append("two pins have one place")
    return found


class _Trial:
    """One board in the simulator, and what was found about it."""
    def __init__(self, name, netlist, config, figures, delays=None):
        self.name, self.facts, self.config = name, FACTS[name], config
        self.found, self.figures = [], figures
        facts = self.facts
        self.port = pins.PinBoard(netlist, oscillator_hz=facts.oscillator_hz, baud=facts.baud,
                                  clock_hz=facts.memory_hz, delays=delays)
        self.found += constraints(netlist, facts, self.port.pll)
        if set(self.port.others) != {*facts.lights, *facts.high}:
            self.found.append(f"other output pins: {', '.join(self.port.others)}")

    def need(self, condition, complaint):
        if not condition:
            self.found.append(complaint)

    def until(self, what, seconds, complaint):
        """Run until a figure of the port is there."""
        end = self.port.time() + seconds
        while not self.port.get(what):
            if self.port.time() > end:
                raise _Wrong(complaint)
            self.port.run(5e-6)

    def lights(self, lit=(), dark=()):
        """Look at the lights for a while: those of these meanings are lit, those dark.

        Lit is one of eight cycles.
        """
        self.port.lights()
        self.port.sleep(1e-5)
        for pin, (share, always) in self.port.lights().items():
            meaning = self.facts.lights.get(pin)
            if meaning in lit and abs(share - 1 / 8) > 0.01:
                self.found.append(f"{pin}, {meaning}, is lit for {share:.1%} of the time")
            if meaning in dark and share:
                self.found.append(f"{pin}, {meaning}, is lit for {share:.1%} of the time, not dark")
            if pin in self.facts.high and not always:
                self.found.append(f"{pin} is low")

    # In this order

    def power_up(self):
        """Oscillator, lock, clocks, reset, SDRAM."""
        port, facts = self.port, self.facts
        self.until("locked", 60e-6, "the PLL does not lock")
        self.until("set", 300e-6, "the SDRAM is not set up")
        self.clocks()
        self.need(port.get("latency") == 3, f"CAS latency {port.get('latency')}, not 3")
        self.lights(lit=["ready"], dark={*facts.lights.values()} - {"ready"})

    def clocks(self):
        """Frequencies of core and SDRAM, and the phase between the SDRAM's clock and pins."""
        port, facts = self.port, self.facts
        for name, low, high, hz in (("core", "core_low", "core_high", facts.clock_hz),
                                    ("SDRAM", "period_low", "period_high", facts.memory_hz)):
            for which in low, high:
                if not _near(port.get(which), 1e15 / hz):
                    raise _Wrong(f"clock of the {name}: a period of {port.get(which) / 1e6:g} ns, "
                                 f"not {1e9 / float(hz):g}")
        period = 1e15 / float(facts.memory_hz)
        shift = 360 * port.get("setup") / period - 180
        self.need(abs(shift - facts.shift) < 1,
                  f"SDRAM: the clock is later by {shift:.1f} degrees, not {facts.shift}")
        self.figures |= {
            "core_mhz": 1e9 / port.get("core_low"), "memory_mhz": 1e9 / port.get("period_low"),
            "shift": shift, "setup_ns": port.get("setup") / 1e6}

    def closed(self):
        """The board was reset: it answers, but knows of no session."""
        port = self.port
        request = link.request(7, link.Code.READ_REGISTER, 0, 0)
        port.write(link.DELIMITER + link.encode(request) + link.TAIL)
        came, end = b"", port.time() + 2e-3
        while not (came.strip(link.DELIMITER) and came.endswith(link.DELIMITER)) \
                and port.time() < end:
            came += port.read(1e-4)
        frames = [frame for frame in came.split(link.DELIMITER) if frame]
        answer = link.decode(frames[0]) if frames else None
        if answer is None or len(answer) < link.ANSWER.size:
            raise _Wrong(f"the board says {came!r} to a request")
        _, status, _ = link.ANSWER.unpack_from(answer)
        self.need(status == link.Status.CLOSED,
                  f"a request without a session is answered by status {status}: was all reset?")

    def identity(self):
        board = Board(self.port)
        facts = self.facts
        self.need(board.name == self.name, f"the board says that it is {board.name!r}")
        self.need(board.clock_hz == facts.clock_hz, f"the board says {board.clock_hz} Hz")
        self.need(board.digest == self.config.digest, "the core is of another machine")
        baud = 9e15 / self.port.get("longest_low")      # start bit and 8 zeros
        self.need(_near(baud, facts.baud, 0.01), f"the board sends at {baud:,.0f} baud")
        self.figures["baud"] = baud
        self.lights(lit=["link", "ready"], dark=["fault", "token", "running"])
        return board

    def memory(self, board, every=1):
        """Words at every address line and over a row's end, also by what the SDRAM holds."""
        size = self.config.word_bytes
        draw = np.random.default_rng(5)
        lines = (self.config.memory_words - 1).bit_length()
        places = [0, *(1 << n for n in range(0, lines, every))]
        written = {place: draw.bytes(2 * size) if place > 1 else draw.bytes(size)
                   for place in places}
        written[(3 << 12) - 40] = draw.bytes(160)       # through rows and banks
        for place, data in written.items():
            board.write_memory(place, data)
        for place, data in written.items():
            if board.read_memory(place, len(data) // size) != data:
                raise _Wrong(f"memory does not keep words at {place:#x}")
        for place, data in written.items():
            at = place * size // 2
            self.need(self.port.memory[at:at + len(data) // 2].tobytes() == data,
                      f"words at {place:#x} lie elsewhere in the SDRAM")

    def token(self, board, ballast=0):
        """Upload a model, and let it say what the golden machine says."""
        config = self.config
        image = programs.token_loop(config)
        if ballast:
            end = max(section.address + section.size // config.word_bytes
                      for section in image.sections)
            image.sections.append(Section(
                "ballast", end, ballast, np.random.default_rng(3).integers(0, 256, ballast,
                                                                           np.uint8)))
        golden = Machine(image)
        golden.send(host.conversation(config, [1], 1))
        golden.run()
        right = [parse_token(word)[2] for word in golden.tokens]
        self.figures["uploaded"], _ = upload(board, image)
        board.start(image.program_address, image.program_length, image.weight_check())
        said = [word for word, _ in board.converse(config, [1], 1)]
        self.need(said == right, f"the board says {said}, the golden machine {right}")
        self.lights(lit=["link", "ready", "memory", "running", "waiting", "token"], dark=["fault"])

    def fault(self, board):
        """A word that is no instruction."""
        board.stop()
        board.write_memory(0, b"\xff" * 16)
        board.start(0, 1)
        self.port.sleep(2e-5)
        self.need(board.status() & registers.Status.FAULT, "no instruction, and no fault")
        self.lights(lit=["fault", "ready"], dark=["running", "waiting"])

    def heartbeat(self):
        self.lights(dark=["heartbeat"])
        self.port.poke()
        self.port.sleep(2e-5)
        self.lights(lit=["heartbeat"])

    def lost_clock(self):
        """The oscillator stops and starts: everything begins anew."""
        port = self.port
        port.oscillator(False)
        port.run(10e-6)
        if port.get("locked"):
            raise _Wrong("the lock does not go with the oscillator")
        port.oscillator(True)
        self.until("locked", 60e-6, "the PLL does not lock again")
        port.run(5e-6)
        self.need(not port.get("set"), "the SDRAM was not reset")
        self.lights(dark=self.facts.lights.values())
        self.closed()
        self.until("set", 300e-6, "the SDRAM is not set up again")
        return self.identity()

    def selftest(self, board):
        """All of `python -m firmware selftest`."""
        arguments = SimpleNamespace(port="sim", words=min(4096, self.config.memory_words))
        for each in selftest.CHECKS:
            self.figures.setdefault("selftest", []).append(
                f"{each.__name__}: {each(board, self.config, arguments)}")

    def run(self, thorough):
        # Some times what a good board takes; `Board` would wait for a token for a minute.
        self.port.deadline = (2.0 if thorough else 0.04) * 3_000_000 / self.facts.baud
        self.power_up()
        self.closed()
        board = self.identity()
        # A slow line takes long, and its board has the controller of the others.
        self.memory(board, every=1 if thorough or self.facts.baud > 2_000_000 else 4)
        self.token(board, 8000 if thorough else 0)
        self.fault(board)
        self.heartbeat()
        if thorough:
            self.selftest(board)
        self.memory(self.lost_clock(), every=8)
        self.figures |= {"cycles": self.port.get("cycles"), "hold_ns": self.port.get("hold") / 1e6}


def check(name, *, board=None, config=None, whole=False, thorough=False, delays=None,
          figures=None):
    """Complaints about a board, one line each; [] if all is well.

    Prepares the netlist of ``name`` with the modules ``boards.*`` as they are now in this process,
    so that a fault may be patched in or be in the sources; simulates it at its pins: clocks before
    and after the lock, resets, power-up of the SDRAM by the strictest rules of all parts, set-up
    and hold of its pins and the time at which its words are there, serial line, lights, upload,
    memory and one token of the golden machine, lost and found oscillator.

    A fault that stops the build (an exception of elaboration, Yosys or Verilator) is a complaint,
    too. A dead board costs no more than a good one: silence ends a check after 1 ms of the board's
    time. Nothing is raised but for a machine's own failure.

    Parameters
    ----------
    name, board, config, whole
        See :func:`netlist`. What is right for the board stands in :data:`FACTS` and never comes
        from ``boards``.
    thorough : bool
        All of ``python -m firmware selftest``, and an upload of 8 KB.
    delays : dict or None
        See :class:`sim.rtl.pins.PinBoard`.
    figures : dict or None
        Gets what was measured at the pins: ``core_mhz``, ``memory_mhz``, ``shift`` in degrees,
        ``baud``, ``setup_ns``, ``hold_ns``, ``cycles``, and ``digest`` of the netlist.
    """
    figures = {} if figures is None else figures
    config = config or FACTS[name].small
    try:
        made = netlist(name, board=board, config=config, whole=whole)
    except TernError as error:
        if not isinstance(error, Refused):
            raise                       # of this machine: a package is missing
        return [f"no netlist: {error}"]
    except Exception as error:          # whatever a fault makes of the netlist
        return [f"no netlist: {type(error).__name__}: {error}"]
    figures["digest"] = made.digest
    trial = None
    try:
        trial = _Trial(name, made, config, figures, delays)
        trial.run(thorough)
    except (pins.Refused, _Wrong, TernError, selftest.Failed) as error:
        return [*(trial.found if trial else ()), str(error)]
    finally:
        if trial:
            trial.port.close()
    return trial.found


def _page(rows, command):
    """The report: figures of boards by name."""
    from tern_fpga.boards.results import committed

    delays = pins.DELAYS
    least, most = (delays["output"] + delays[way] for way in ("input_fast", "input_slow"))
    lines = [
        "# What ships, at the pins of its board", "", made_by(command), "",
        "The netlist of each board as `boards.flow.prepare` writes it for its bitstream, with the "
        "core that ships: Verilator, with models of PLL, I/O cells, SDRAM and serial line. The "
        "SDRAM has the strictest of each rule of all parts; its words are noise but from tAC after "
        f"its edge to tOH after the next one, with delays of {least / 1000:g} to "
        f"{most / 1000:g} ns in all at once. [How](../verification.md#the-boards-at-their-pins).",
        "",
        "Each went through reset, lock and power-up, a request before any session, the identity, "
        "memory words at every address line, an upload of 8 KB, a token like the golden machine's, "
        "an illegal instruction, a beat of the heart, all of `selftest`, and a lost oscillator.",
        "", "| board | core | SDRAM | its clock is later by | set-up and hold at the SDRAM | line "
        "| clock cycles | netlist |", "| --- |" + " ---: |" * 6 + " --- |"]
    for name, figures in rows.items():
        shipped = committed(name)
        shipped = shipped and shipped["netlist_sha256"]
        same = {None: "no bitstream in the reports", figures["digest"]: "the bitstream's"}.get(
            shipped, "**not the bitstream's**")
        cells = [f"`{name}`", f"{figures['core_mhz']:.2f} MHz", f"{figures['memory_mhz']:.2f} MHz",
                 f"{figures['shift']:.1f} degrees",
                 f"{figures['setup_ns']:.2f} and {figures['hold_ns']:.2f} ns",
                 f"{figures['baud']:,.0f} baud", f"{figures['cycles']:,}", same]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "`selftest` on each:", ""]
    for name, figures in rows.items():
        lines += [f"* `{name}`: {'; '.join(figures['selftest'])}."]
    return "\n".join(lines) + "\n"


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.boards_sim",
                                     description=__doc__.partition("\n")[0])
    parser.add_argument("boards", nargs="*", metavar="BOARD", help="(default: all)")
    parser.add_argument("--small", action="store_true", help="a small core, and a short run")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="report")
    arguments = parser.parse_args(argv)
    if unknown := set(arguments.boards) - set(FACTS):
        parser.error(f"no board {', '.join(unknown)}; there are {', '.join(FACTS)}")
    if arguments.small and arguments.output:
        parser.error("a report is of what ships, not of a small core")
    if arguments.output:
        disk.has_folder(arguments.output)
    rows, failed = {}, False
    for name in arguments.boards or FACTS:
        start, figures = time.monotonic(), {}
        options = {} if arguments.small else {"config": PRESETS[name], "whole": True,
                                              "thorough": True}
        found = check(name, figures=figures, **options)
        print(f"{name:14} {'FAILED' if found else 'ok':6} {time.monotonic() - start:.0f} s, "
              f"{figures.get('cycles', 0):,} cycles", flush=True)
        for complaint in found:
            print(f"    {complaint}", flush=True)
        failed |= bool(found)
        rows[name] = figures
    if arguments.output and not failed:
        disk.write_text(arguments.output, _page(rows, " ".join(
            ["python -m tests.campaigns.boards_sim", *arguments.boards])))
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(report(main))
