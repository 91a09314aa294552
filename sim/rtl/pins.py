"""Simulate a board's netlist at its pins, in real time: PLL, I/O cells, SDRAM and serial line.

:class:`PinBoard` takes the Verilog of a bitstream and never imports ``hw`` or ``boards``. Modules
that do not depend on pins and clocks, such as the core, are compiled once. The rest of the netlist,
its *shell*, compiles in seconds. Each is a library made by Verilator, and ``sim/rtl/pins.cpp``
connects them. Clocks have the frequency and phase that the parameters of the PLL give them, and the
SDRAM checks all rules at its own pins, in picoseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import ctypes
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
import re
from typing import Any
import weakref

import numpy as np

from tern_fpga.assembler.errors import TernError
from tern_fpga.sim.rtl import sdram_parts, verilate
from tern_fpga.sim.rtl.machine import cell_models


__all__ = ["Netlist", "Part", "PinBoard", "Refused", "Pll", "pll_of", "ports_of_top",
           "CLOCKS", "DELAYS", "FIXED"]


_SOURCES = Path(__file__).resolve().parent
_FS = 10 ** 15             # femtoseconds in a second: the unit of time of pins.cpp
_PS = 1000

CLOCKS = ("CLKOP", "CLKOS", "CLKOS2", "CLKOS3")

# Ranges in Hz: ECP5 family data sheet, FPGA-DS-02012, sysCLOCK PLL timing.
_VCO, _PHASE, _IN, _OUT = (400e6, 800e6), (10e6, 400e6), (8e6, 400e6), (3.125e6, 400e6)

# Parameters for which the model of the PLL allows a single value.
FIXED = {"PLLRST_ENA": "DISABLED", "INTFB_WAKE": "DISABLED", "STDBY_ENABLE": "DISABLED",
          "DPHASE_SOURCE": "DISABLED", "OUTDIVIDER_MUXA": "DIVA", "OUTDIVIDER_MUXB": "DIVB",
          "OUTDIVIDER_MUXC": "DIVC", "OUTDIVIDER_MUXD": "DIVD", "FEEDBK_PATH": "CLKOP"}

LOCK_S = 20e-6             # seconds until the PLL locks; the data sheet allows 15 ms

# Delays of pads and board, in ps. Clock and other signals to the SDRAM have the same delay, except
# for `skew`. A word read has both the fast and the slow input delay, and the worse one counts, so
# that the sum of all delays (D of docs/decisions/sdram.md) covers 3 to 5 ns at once. The last two
# are set-up and hold times of the FPGA's input registers.
DELAYS = {"output": 2500, "skew": 500, "input_fast": 500, "input_slow": 2500,
           "sample_setup": 300, "sample_hold": 300}


class Refused(RuntimeError):
    """The netlist contains something without a model or cannot be built, or the board has failed;
    the message says which."""


@dataclass(frozen=True)
class Part:
    """A module that is compiled separately.

    Parameters
    ----------
    verilog : str
        Text with the module and all its submodules.
    module : str
        Name of the module in that text.
    ports : tuple[tuple[str, int, bool], ...]
        Name, width in bits, and whether it is an input.
    clock : str
        The port of its only clock. The module uses only rising edges.
    """
    verilog: str
    module: str
    ports: tuple[tuple[str, int, bool], ...]
    clock: str = "clk"


@dataclass(frozen=True)
class Netlist:
    """The output of :func:`boards.flow.prepare` for a board, in the form that simulators read.

    Parameters
    ----------
    verilog : str
        Text of module ``top`` and its submodules, except the parts.
    parts : dict[str, Part]
        By the name of the module that is missing in ``verilog``. The first has the core's clock.
    pll : dict[str, int or str]
        Parameters of the EHXPLLL; names of attributes begin with a ``*``.
    constraints : str
        Text of the LPF file.
    digest : str
        The digest that ``prepare`` returned.
    cells : bool
        ``verilog`` consists of cells of an ECP5, after synthesis; there are no parts.
    """
    verilog: str
    parts: dict[str, Part]
    pll: dict[str, int | str]
    constraints: str
    digest: str
    cells: bool = False


@dataclass(frozen=True)
class Pll:
    """The clocks of an EHXPLLL.

    Parameters
    ----------
    hz : dict[str, Fraction]
        Frequencies of the enabled outputs.
    delay : dict[str, Fraction]
        Seconds by which each output lags the input clock.
    complaints : tuple[str, ...]
        Reasons why it does not lock.
    """
    hz: dict[str, Fraction]
    delay: dict[str, Fraction]
    complaints: tuple[str, ...]


def pll_of(parameters: Mapping[str, Any], input_hz: int) -> Pll:
    """The :class:`Pll` of these parameters, by FPGA-TN-02200 (ECP5 sysCLOCK).

    The phase detector compares CLKI / CLKI_DIV with CLKOP / CLKFB_DIV. An output's phase is
    (CPHASE - (DIV - 1)) + FPHASE / 8 periods of the VCO, relative to the phase of CLKOP, because
    CLKOP is the feedback.

    Raises
    ------
    Refused
        A parameter, or its value, has no model.
    """
    values = {name: value for name, value in parameters.items() if not name.startswith("*")}
    for name, only in FIXED.items():
        if values.pop(name, None) != only:
            raise Refused(f"EHXPLLL: {name} is modelled as {only} only")
    reference, feedback = values.pop("CLKI_DIV", 1), values.pop("CLKFB_DIV", 1)
    divide, phase, enabled = {}, {}, []
    for name in CLOCKS:
        divide[name] = values.pop(f"{name}_DIV", 8)
        whole, eighths = values.pop(f"{name}_CPHASE", 0), values.pop(f"{name}_FPHASE", 0)
        phase[name] = whole - (divide[name] - 1) + Fraction(eighths, 8)
        if not 0 <= eighths <= 7 or not 0 <= whole <= 127:
            raise Refused(f"EHXPLLL: no phase {whole} and {eighths}/8 of {name}")
        if values.pop(f"{name}_ENABLE", "DISABLED") == "ENABLED":
            enabled.append(name)
    if values:
        raise Refused(f"EHXPLLL: {', '.join(values)} not modelled")
    for name, value in {"CLKI_DIV": reference, "CLKFB_DIV": feedback,
                        **{f"{name}_DIV": divide[name] for name in CLOCKS}}.items():
        if not 1 <= value <= 128:
            raise Refused(f"EHXPLLL: {name} is 1 to 128, not {value}")
    compared = Fraction(input_hz, reference)
    vco = compared * feedback * divide["CLKOP"]
    hz = {name: vco / divide[name] for name in enabled}
    found = [] if "CLKOP" in enabled else ["PLL: CLKOP, its feedback, is not enabled"]
    for what, value, (low, high) in (("input", input_hz, _IN), ("phase detector", compared, _PHASE),
                                     ("VCO", vco, _VCO), *((each, hz[each], _OUT) for each in hz)):
        if not low <= value <= high:
            found.append(f"PLL: {what} at {float(value) / 1e6:g} MHz")
    delay = {name: (phase[name] - phase["CLKOP"]) / vco for name in enabled}
    return Pll(hz, delay, tuple(found))


# Libraries

_GLUE = """
#include <cstdint>
#include <cstring>
#include <memory>
#include "Vtop.h"
#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"

namespace {
struct Model {
    VerilatedContext context;
    std::unique_ptr<Vtop> top;
};
}
#define API extern "C" __attribute__((visibility("default")))

API Model* model_new() {
    auto* m = new Model;
    m->context.randReset(0);
    m->context.fatalOnError(false);
    m->top.reset(new Vtop{&m->context, "top"});
    return m;
}
// Verilator keeps the context that was used last, and looks at it when another one ends.
API void model_free(Model* m) {
    Verilated::threadContextp(&m->context);
    m->top->final();
    delete m;
    Verilated::threadContextp(Verilated::defaultContextp());
}
API void model_eval(Model* m) { m->top->eval(); }
API int model_stopped(Model* m) { return m->context.gotFinish(); }
API void model_time(Model* m, uint64_t ps) { m->context.time(ps); }
API void* model_data(Model* m, const char* scope, const char* name) {
    const VerilatedScope* found = m->context.scopeFind(scope);
    const VerilatedVar* var = found ? found->varFind(name) : nullptr;
    return var ? var->datap() : nullptr;
}
API void* model_port(Model* m, unsigned n, unsigned* bytes) {
    switch (n) {
%s
    }
    return nullptr;
}
"""


_PADS = ("dq__out", "dq__en")          # ports that Verilator itself makes for an inout


def _mangled(name: str) -> str:
    """Verilator's name of a port in C++."""
    if name in _PADS:
        return name
    return re.sub(r"__|\W", lambda found: "___05F" if found[0] == "__" else
                  f"__0{ord(found[0]):02X}", name)


def _library(sources: dict[str, str], top: str, ports: Iterable[str], *options: str,
             optimise: str = "-O2") -> Path:
    """Path of the compiled model of Verilog ``sources``, {name: text}; the result is cached."""
    cases = "\n".join(
        f"        case {n}: *bytes = sizeof(m->top->{name}); return &m->top->{name};"
        for n, name in enumerate(map(_mangled, ports)))
    glue = _GLUE % cases
    flags = [optimise, "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique"]
    key = verilate.key(*sources.items(), top, glue, flags, options,
                       Path(verilate.__file__).read_bytes())

    def build(folder: Path) -> None:
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / "glue.cpp").write_text(glue, encoding="utf-8")
        verilate.translate(folder, [folder / name for name in sources], top, "--x-assign", "fast",
                           "--x-initial", "fast", "--noassert", "--timescale", "1ps/1ps", *options)
        verilate.compile_model(folder, "model.so", sources=[folder / "glue.cpp"], flags=flags)

    return verilate.once(verilate.cache() / "pins" / key, build) / "model.so"


def _harness() -> Path:
    source = _SOURCES / "pins.cpp"
    flags = ["-O2", "-shared", "-fPIC", "-std=c++17"]

    def build(folder: Path) -> None:
        verilate.compile_model(folder, "pins.so", sources=[source], flags=flags)

    key = verilate.key(source.read_bytes(), flags, Path(verilate.__file__).read_bytes())
    return verilate.once(verilate.cache() / "pins" / key, build) / "pins.so"


def _functions(path: Path, table: Mapping[str, tuple[Any, ...]]) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    for name, (result, *arguments) in table.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_POINTER, _INT, _I64, _TEXT = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_char_p
_MODEL = {"model_new": (_POINTER,), "model_free": (None, _POINTER),
          "model_data": (_POINTER, _POINTER, _TEXT, _TEXT),
          "model_port": (_POINTER, _POINTER, _INT, ctypes.POINTER(ctypes.c_uint))}
_BOARD = {"pins_new": (_POINTER,), "pins_free": (None, _POINTER),
          "pins_set": (None, _POINTER, _TEXT, _I64), "pins_bind": (None, _POINTER),
          "pins_bind_sdram": (None, _POINTER),
          "pins_model": (None, _POINTER, _INT, _POINTER, _POINTER, _POINTER, _POINTER),
          "pins_port": (None, _POINTER, _INT, _TEXT, _POINTER, _INT),
          "pins_wire": (None, _POINTER, _INT, _INT, _POINTER, _POINTER, _INT),
          "pins_send": (None, _POINTER, _TEXT, _I64), "pins_run": (_INT, _POINTER, _I64),
          "pins_take": (_I64, _POINTER, _POINTER, _I64),
          "pins_oscillator": (None, _POINTER, _INT),
          "pins_complaint": (_TEXT, _POINTER, _I64), "pins_get": (_I64, _POINTER, _TEXT),
          "pins_lit": (_I64, _POINTER, _INT), "pins_forget_lights": (None, _POINTER)}


class _Model:
    """An instance of a library. ``ports``: (address, bytes) of each port, by name."""
    def __init__(self, path: Path, ports: Iterable[str]) -> None:
        self.library = _functions(path, _MODEL)
        self.handle = self.library.model_new()
        self._free = weakref.finalize(self, self.library.model_free, self.handle)
        self.ports: dict[str, tuple[int, int]] = {}
        for n, name in enumerate(ports):
            size = ctypes.c_uint()
            self.ports[name] = self.library.model_port(self.handle, n, size), size.value

    def join(self, board: PinBoard, which: int) -> None:
        """Register the instance with ``board``: part 0, 1, ..., or -1 for the shell, or -2 for
        the SDRAM."""
        functions = [ctypes.cast(getattr(self.library, f"model_{name}"), _POINTER)
                     for name in ("eval", "stopped", "time")]
        board.library.pins_model(board.handle, which, self.handle, *functions)

    def close(self) -> None:
        self._free()


# The shell

_COMMAND = ("clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm")      # low bits first
_WIDTHS  = {"ba": 2, "a": 13, "dqm": 2}


def ports_of_top(verilog: str) -> list[tuple[str, int, str]]:
    """(name, width, direction) of each port of module ``top``; Refused if there is no ``top``."""
    found = re.search(r"^module top\s*\(.*?^endmodule", verilog, re.M | re.S)
    if not found:
        raise Refused("the netlist has no module `top`")
    return [(name, int(high or 0) + 1, direction) for direction, high, name in re.findall(
        r"^  (input|output|inout) (?:\[(\d+):0\] )?(\w+) ?;", found[0], re.M)]


def _shell(netlist: Netlist) -> tuple[str, list[str], list[str]]:
    """(Verilog of the bench around ``top``, names of its ports, names of the other output pins)."""
    pins = {name.removesuffix("__io"): (width, direction)
            for name, width, direction in ports_of_top(netlist.verilog)}
    wiring: dict[str, str] = {}
    others: list[str] = []

    def take(name: str, direction: str, width: int, signal: str) -> None:
        if pins.pop(name, None) != (width, direction):
            raise Refused(f"the board has no {direction} pin {name} of {width} bits")
        wiring[f"{name}__io"] = signal

    oscillators = [name for name in pins if re.fullmatch(r"clk\d+_0", name)]
    if len(oscillators) != 1:
        raise Refused(f"the board has {len(oscillators)} oscillators")
    take(oscillators[0], "input", 1, "osc")
    take("uart_0__rx", "input", 1, "rx")
    take("uart_0__tx", "output", 1, "tx")
    take("sdram_0__clk", "output", 1, "sd_clk")
    take("sdram_0__dq", "inout", 16, "dq")
    place = 0
    for name in _COMMAND:
        width = _WIDTHS.get(name, 1)
        take(f"sdram_0__{name}", "output", width, f"sd_command[{place + width - 1}:{place}]")
        place += width
    for name, (width, direction) in pins.items():
        if direction != "output":
            raise Refused(f"nothing here drives the pin {name}")
        wiring[f"{name}__io"] = f"others[{len(others) + width - 1}:{len(others)}]"
        others += [f"{name}[{n}]" for n in range(width)] if width > 1 else [name]
    if not others or len(others) > 64:
        raise Refused(f"the board has {len(others)} other output pins")

    ports = ["input wire osc", "input wire [3:0] pll_clocks", "input wire pll_lock",
             "output wire pll_clki_pin", "output wire pll_clkfb_pin", "input wire rx",
             "output wire tx", "output wire sd_clk", f"output wire [{place - 1}:0] sd_command",
             "inout wire [15:0] dq", f"output wire [{len(others) - 1}:0] others",
             "input wire poke"]
    stubs = []
    for part, (name, module) in enumerate(netlist.parts.items()):
        inside = []
        for n, (port, width, into) in enumerate(module.ports):
            wire = f"part{part}_{n}"
            ports.append(f"{'output' if into else 'input'} wire [{width - 1}:0] {wire}")
            inside.append(f"    assign bench.{wire} = \\{port} ;" if into else
                          f"    assign \\{port} = bench.{wire};")
        stubs += [f"module \\{name} (" + ", ".join(
            f"{'input' if into else 'output'} wire [{width - 1}:0] \\{port} "
            for port, width, into in module.ports) + ");", *inside, "endmodule"]
    bench = "\n".join([
        "module bench (", "    " + ",\n    ".join(ports), ");",
        "    wire pll_clki, pll_clkfb;",
        "    assign pll_clki_pin = pll_clki;", "    assign pll_clkfb_pin = pll_clkfb;",
        "    top top (" + ", ".join(f".{pin}({signal})" for pin, signal in wiring.items()) + ");",
        # The heartbeat blinks every 67 million cycles, so `poke` sets its counter to shortly before
        # that.
        *(["    always @(posedge poke) top.lights.\\time  = {1'b0, {15{1'b1}}, 10'd0};"]
          if not netlist.cells else []),
        "endmodule", *stubs, ""])
    names = [port.split()[-1] for port in ports]
    return bench, [*names, *_PADS], others


class PinBoard:
    """A board's FPGA, SDRAM and serial line. Members are as in :class:`firmware.port.SerialPort`.

    Time is the board's, and passes only in ``read``, ``sleep`` and ``run``.

    Parameters
    ----------
    netlist : Netlist
    oscillator_hz : int
        Frequency of the oscillator on the board.
    baud : int
        Rate of the host's end of the line.
    clock_hz : int or Fraction
        Nominal clock of the SDRAM, which converts rules in clocks to time.
    words : int
        Words that the SDRAM stores.
    silence : float
        Seconds without a byte after which ``read`` raises Refused.
    delays : dict[str, float]
        Delays of pads and board that replace those in :data:`DELAYS`, in ps.

    Members
    -------
    complaints : list[str]
        Errors so far. Time does not pass after an error.
    others : list[str]
        Output pins that belong neither to the SDRAM nor to the line.
    memory : (words,) uint16
        Contents of the SDRAM; writable.
    deadline : float
        Time after which ``run`` raises Refused.

    Raises
    ------
    Refused
        The netlist contains something without a model; in ``read``, ``sleep`` and ``run``, there
        are complaints.
    TernError
        Verilator or the C++ compiler failed, and not because of the board's netlist.
    """
    name    = "pins"
    latency = 0.0

    def __init__(self, netlist: Netlist, *, oscillator_hz: int, baud: int,
                 clock_hz: int | Fraction, words: int = 1 << 24, silence: float = 0.001,
                 delays: dict[str, float] | None = None) -> None:
        self.baud, self.silence = baud, silence
        self.deadline = float("inf")
        self.complaints: list[str] = []
        self.pll = pll_of(netlist.pll, oscillator_hz)
        self.complaints += self.pll.complaints
        bench, ports, self.others = _shell(netlist)
        self.library = _functions(_harness(), _BOARD)
        self._parts = []
        for part in netlist.parts.values():
            names = [name for name, *_ in part.ports]
            self._parts.append(_Model(_library({"part.v": part.verilog}, part.module, names),
                                      names))
        self._sdram_source = (
            f"`define TERN_PART {sdram_parts.strictest(clock_hz=clock_hz, depth=words)}\n"
            + (_SOURCES / "sdram_pins.v").read_text(encoding="utf-8"))
        self._words = words
        try:
            # The C++ of a netlist of cells is too long for the optimiser.
            self._shell = _Model(_library(
                {**(cell_models() if netlist.cells else {}), "top.v": netlist.verilog,
                 "bench.v": bench, "io_cells.v": (_SOURCES / "ecp5_io.v").read_text("utf-8")},
                "bench",
                ports, "--pins-inout-enables",
                *(["-Wno-lint", "-Wno-SPECIFYIGN"] if netlist.cells else []),
                optimise="-O0" if netlist.cells else "-O2"), ports)
        except TernError as error:
            raise Refused(f"the netlist cannot be built: {error}") from None
        self.handle = self.library.pins_new()
        self._free = weakref.finalize(self, self.library.pins_free, self.handle)
        picoseconds = DELAYS | (delays or {}) | sdram_parts.PINS
        settings = {"osc_half": Fraction(_FS, 2 * oscillator_hz), "bit": Fraction(_FS, baud),
                    "lock_time": LOCK_S * _FS, "pll_locks": not self.pll.complaints,
                    **{name: value * _PS for name, value in picoseconds.items()}}
        for n, name in enumerate(CLOCKS):
            settings[f"pll_enabled{n}"] = name in self.pll.hz
            if name in self.pll.hz:
                settings[f"pll_half{n}"] = _FS / (2 * self.pll.hz[name])
                settings[f"pll_delay{n}"] = _FS * self.pll.delay[name]
        for name, value in settings.items():
            self.library.pins_set(self.handle, name.encode(), round(value))
        self._shell.join(self, -1)
        for name, (address, size) in self._shell.ports.items():
            self.library.pins_port(self.handle, -1, name.encode(), address, size)
        for n, (model, part) in enumerate(zip(self._parts, netlist.parts.values())):
            model.join(self, n)
            for k, (name, _, into) in enumerate(part.ports):
                shell, size = self._shell.ports[f"part{n}_{k}"]
                address, same = model.ports[name]
                assert size == same, (name, size, same)
                self.library.pins_wire(self.handle, n, 2 if name == part.clock else not into, shell,
                                       address, size)
        self._solder()
        self.library.pins_bind(self.handle)
        self._early = b""
        self._quiet = 0.0           # time of the last byte in either direction

    def _solder(self) -> None:
        """Replace the SDRAM by a new one, as after a loss of power: its words are noise."""
        header = re.search(r"module sdram_pins \((.*?)\n\);", self._sdram_source, re.S)
        assert header
        ports = re.findall(r"(\w+)(?=,\n|\n\)|, )", header[0])
        self._sdram = _Model(_library(
            {"sdram_pins.v": self._sdram_source,
             "sdram.v": (_SOURCES / "sdram.v").read_text("utf-8")}, "sdram_pins", ports), ports)
        address = self._sdram.library.model_data(self._sdram.handle, b"top.sdram_pins.memory",
                                                 b"words")
        buffer = (ctypes.c_uint16 * self._words).from_address(address)
        self.memory = np.frombuffer(memoryview(buffer), np.uint16)
        noise = np.random.default_rng(1).integers(0, 1 << 16, 1 << 16, np.uint16)
        self.memory[:] = np.tile(noise, self._words >> 16)
        self._sdram.join(self, -2)
        for name, (address, size) in self._sdram.ports.items():
            self.library.pins_port(self.handle, -2, name.encode(), address, size)
        self.library.pins_bind_sdram(self.handle)

    def close(self) -> None:
        self._free()
        for model in (*self._parts, self._shell, self._sdram):
            model.close()

    def get(self, name: str) -> int:
        """A value of ``sim/rtl/pins.cpp`` by name, times in femtoseconds; -1 for unknown names."""
        return self.library.pins_get(self.handle, name.encode())

    # Interface of a port of the firmware

    def time(self) -> float:
        """The board's time in seconds."""
        return self.get("now") / _FS

    def run(self, seconds: float) -> None:
        """Let ``seconds`` pass, or less if a zero byte arrives; Refused if there are complaints."""
        going = self.library.pins_run(self.handle, max(1, round(seconds * _FS)))
        if not going:
            n = len(self.complaints)
            while text := self.library.pins_complaint(self.handle, n):
                self.complaints.append(text.decode())
                n += 1
        if not self.complaints and self.time() > self.deadline:
            self.complaints.append(f"the board takes more than {1e3 * self.deadline:.0f} ms of "
                                   f"its time")
        if self.complaints:
            raise Refused("; ".join(self.complaints))

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass; bytes that arrive are kept for ``read``."""
        end = self.time() + seconds
        while (remaining := end - self.time()) > 0:
            self.run(remaining)
            self._early += self._take()
        self._quiet = self.time()

    def write(self, data: bytes) -> None:
        """Put bytes on the line, which sends them while time passes."""
        self.library.pins_send(self.handle, bytes(data), len(data))

    def _take(self) -> bytes:
        chunk = np.empty(1 << 12, np.uint8)
        count = self.library.pins_take(self.handle, chunk.ctypes.data, len(chunk))
        return chunk[:count].tobytes()

    def read(self, seconds: float) -> bytes:
        """Bytes that arrive within ``seconds``; b"" without any."""
        early, self._early = self._early, b""
        if early:
            return early
        end = self.time() + seconds
        while (remaining := end - self.time()) > 0:
            self.run(min(remaining, self.silence / 4))
            came = self._take()
            if came or self.get("waits"):
                self._quiet = self.time()
            if came:
                return came
            if self.time() - self._quiet > self.silence:
                raise Refused(f"the board says nothing for {1e3 * self.silence:g} ms at "
                              f"{self.baud} baud")
        return b""

    # Actions and observations of a person at the board

    def oscillator(self, on: bool) -> None:
        """Start or stop the oscillator. A start replaces the SDRAM, as after a loss of power."""
        if on:
            self._sdram.close()
            self._solder()
        self.library.pins_oscillator(self.handle, on)

    def lights(self) -> dict[str, tuple[float, bool]]:
        """{pin: (share, never low)} for each pin of ``others``: the share of the core's clock
        cycles since the last call in which it was high, and whether it never was low."""
        cycles, low = self.get("lit_cycles"), self.get("was_low")
        shares = {name: (self.library.pins_lit(self.handle, n) / max(cycles, 1), not low >> n & 1)
                  for n, name in enumerate(self.others)}
        self.library.pins_forget_lights(self.handle)
        return shares

    def poke(self) -> None:
        """Set the counter of the heartbeat to 1,024 cycles before its LED changes."""
        address, _ = self._shell.ports["poke"]
        value = ctypes.c_uint8.from_address(address)
        value.value = 1
        self.run(1e-8)
        value.value = 0
        self.run(1e-8)
