"""What ships, simulated at the pins of its board.

    python -m tests.boards_sim                          every board, as shipped (long)
    python -m tests.boards_sim ulx3s-25f --small        one, with a small core

:func:`check` is for tests, also for those that put faults into ``boards``.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
import re
import tempfile
from types import SimpleNamespace

from amaranth import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.back import verilog
from amaranth.lib.wiring import In

from assembler.config import Config
import hw
from sim import pins, verilate


__all__ = ["FACTS", "SMALL", "netlist", "check"]


_SMALL = dict(memory_bytes=1 << 25, vector_lanes=1, registers=16, register_elements=16,
              code_registers=4, accumulator_rows=16, prefetch_words=64, program_words=64)
_SMALL_16 = Config(memory_bits=16, lanes=10, **_SMALL)
_SMALL_32 = Config(memory_bits=32, lanes=20, **_SMALL)


@dataclass(frozen=True)
class Facts:
    """What is right for a board, by docs/boards.md and its schematic; never from ``boards``.

    ``phase``: degrees of the SDRAM's clock from when its other pins change to its edge.
    ``lights``: what an output pin shows. ``high``: pins that are held high.
    """
    oscillator_hz: int
    clock_hz: int
    memory_hz: int | Fraction
    phase: float
    baud: int
    lights: dict[str, str]
    high: tuple[str, ...] = ()
    small: Config = _SMALL_16


def _leds(*meanings):
    return {f"led_{n}": meaning for n, meaning in enumerate(meanings)}


_ULX3S = Facts(25_000_000, 100_000_000, 100_000_000, 225, 3_000_000, _leds(
    "heartbeat", "ready", "link", "memory", "running", "waiting", "token", "fault"),
    ("esp32_0__gpio0",))
FACTS = {
    **dict.fromkeys(("ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f"), _ULX3S),
    "ulx3s-85f-133": Facts(25_000_000, 100_000_000, Fraction(400_000_000, 3), 157.5, 3_000_000,
                           _ULX3S.lights, _ULX3S.high, _SMALL_32),
    "icepi-zero": Facts(50_000_000, 100_000_000, 100_000_000, 225, 3_000_000, _leds(
        "heartbeat", "link", "memory", "running", "fault")),
    "icesugar-pro": Facts(25_000_000, 100_000_000, 100_000_000, 225, 1_000_000, {
        "rgb_led_0__r": "fault", "rgb_led_0__g": "heartbeat", "rgb_led_0__b": "link"}),
}
SMALL = {name: facts.small for name, facts in FACTS.items()}


# Netlists

def _black_box(component, module):
    """``component``'s class with an Instance in place of what is inside."""
    class BlackBox(component):
        made = []

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


def _part(component, module, arguments):
    """The Verilog of a component by itself, made once."""
    sources = sorted([*Path(hw.__file__).parent.glob("*.py"),
                      *(Path(hw.__file__).parents[1] / "assembler").glob("*.py")])
    key = verilate.digest(module, sorted(arguments.items()),
                          *(path.read_bytes() for path in sources))
    made = component(**arguments)
    ports = (("clk", 1, True), ("rst", 1, True), *(
        ("__".join(map(str, path)), len(Value.cast(value)), member.flow == In)
        for path, member, value in made.signature.flatten(made)))

    def build(folder):
        text = verilog.convert(made, name=module, emit_src=False)
        (folder / "part.v").write_text(text)

    made._MustUse__used = True      # if it is in the cache
    folder = verilate.once(verilate.cache() / "pins" / key, build)
    return pins.Part((folder / "part.v").read_text(), module,
                     tuple(port for port in ports if port[1]))


def _pll(rtlil):
    """Parameters and attributes of the only EHXPLLL."""
    found = re.findall(r"((?:^  attribute .*\n)*)^  cell \\EHXPLLL .*\n((?:^    .*\n)*)", rtlil, re.M)
    if len(found) != 1:
        raise pins.Refused(f"the netlist has {len(found)} PLLs")
    values = {}
    for text, mark in zip(found[0], ("*", "")):
        for name, string, number in re.findall(
                r'^ +(?:attribute|parameter) \\(\w+) (?:"(.*)"|(\d+))$', text, re.M):
            values[mark + name] = int(number) if number else string
    return values


def netlist(name, *, board=None, config=None, whole=False):
    from boards import flow, parts
    import hw.soc
    from hw.core import Core
    from hw.link import HostLink
    boxes = {"tern_core": (Core, _black_box(Core, "tern_core")),
             "tern_link": (HostLink, _black_box(HostLink, "tern_link"))}
    before = hw.soc.Core, hw.soc.HostLink
    try:
        hw.soc.Core, hw.soc.HostLink = (box for _, box in boxes.values())
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            _, digest = flow.prepare(name, board or parts.BOARDS[name], folder,
                                     config or SMALL[name])
            rtlil = (folder / f"{flow.TOP}.il").read_text()
            constraints = (folder / f"{flow.TOP}.lpf").read_text()
    finally:
        hw.soc.Core, hw.soc.HostLink = before
    made = {module: _part(component, module, box.made[-1])
            for module, (component, box) in boxes.items()}
    return pins.Netlist(verilog._convert_rtlil_text(rtlil, strip_internal_attrs=True), made,
                        _pll(rtlil), constraints, digest)


if __name__ == "__main__":
    import sys, time
    t = time.time()
    name = sys.argv[1]
    n = netlist(name)
    print("netlist", time.time() - t); t = time.time()
    print(n.pll)
    facts = FACTS[name]
    b = pins.PinBoard(n, oscillator_hz=facts.oscillator_hz, baud=facts.baud, clock_hz=facts.memory_hz)
    print("built", time.time() - t); t = time.time()
    b.run(300e-6)
    print("300us", time.time() - t); t = time.time()
    for k in "locked cycles core_low core_high period_low period_high setup hold set latency refreshes".split():
        print(k, b.get(k))
    print(b.lights())
    from firmware.board import Board
    x = Board(b)
    print(x.name, x.digest, SMALL[name].digest, time.time() - t)
