"""A simulated board: the whole SoC in Verilator, with bytes on the pins of its serial line.

    python -m sim board --config config.json

communicates with a host over standard input and output. The board runs only while the host waits
for bytes, so that both share the board's time. The board first writes a line of JSON with its
clock (``clock_hz``) and line rate (``baud``). The host then sends these requests, whose numbers are
little-endian:

* ``w``, count (4 bytes), bytes: put the bytes on the line.
* ``r``, microseconds (4 bytes): wait at most that long for bytes. The answer is the time in
  nanoseconds (8 bytes), a count (4 bytes) and the bytes received, up to and including a zero.
* ``m``, count (4 bytes), address in bytes (8 bytes), bytes: write the bytes to memory at once. A
  real board has no such request; simulating the line for the megabytes of a model takes minutes.

``python -m firmware ... --port sim`` starts this process, which exits when its input ends.
"""

import argparse
from collections.abc import Iterator
import contextlib
import ctypes
import json
import os
from pathlib import Path
import random
import re
import select
import signal
import struct
import sys
import threading
from typing import BinaryIO
import weakref

import numpy as np

from tern_fpga.assembler.contract.config import PRESETS, Config, preset
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.sim.rtl import hardware, sdram_parts, verilate


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run", "Board", "Noise", "CLOCK_HZ", "BAUD", "PLAIN"]


HELP = "simulate a whole board for `python -m firmware --port sim`"
EXAMPLE = "python -m sim board --target sim-tiny"

CLOCK_HZ = 100_000_000
BAUD     = 25_000_000      # the hardware's maximum, so that a byte takes the fewest cycles

PLAIN = "plain"

_PART_BITS = 16            # word width of all parts that have a model
_SOURCES = Path(verilate.__file__).resolve().parent
_COUNT   = struct.Struct("<I")
_CAME    = struct.Struct("<QI")
_PLACE   = struct.Struct("<Q")
_WATCH_MS = 200


def _library(config: Config, memory: str, baud: int) -> Path:
    """Path of the compiled board, which is built unless the cache has it for these sources."""
    soc = hardware.verilog(config, "soc", "--clock-hz", CLOCK_HZ, "--baud", baud)
    command = re.search(r"^  output \[(\d+):0\] memory__command__payload;", soc, re.MULTILINE)
    assert command
    defines = "".join(f"`define {name} {value}\n" for name, value in (
        ("TERN_MEMORY_BITS", config.memory_bits), ("TERN_COMMAND_BITS", int(command[1]) + 1),
        ("TERN_DEPTH", config.memory_words)))
    if memory == PLAIN:
        sources = {"memory.v": (_SOURCES / "memory.v").read_text(encoding="utf-8")}
    else:
        sources = sdram_parts.memory_sources(config, memory, clock_mhz=CLOCK_HZ // 1_000_000,
                                             depth=config.memory_words)
    sources |= {"soc.v": soc, "top.v": defines + (_SOURCES / "soc.v").read_text(encoding="utf-8")}
    harness = _SOURCES / "board.cpp"
    flags = ["-O2", "-shared", "-fPIC"]
    key = verilate.key(*sources.items(), harness.read_bytes(),
                       Path(verilate.__file__).read_bytes(), flags)

    def build(folder: Path) -> None:
        for name, text in sources.items():
            (folder / name).write_text(text, encoding="utf-8")
        verilate.translate(folder, [folder / name for name in sources], "top",
                           "--x-assign", "fast", "--x-initial", "fast", "--noassert")
        verilate.compile_model(folder, "board.so", sources=[harness], flags=flags)

    note = (f"Building the simulated board ({config.lanes} lanes, {config.positions} positions): "
            "once, about a minute")
    return verilate.once(verilate.cache() / "boards" / key, build, note) / "board.so"


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    pointer, u32, u64, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_char_p
    for name, result, arguments in (
            ("new", pointer, (u64, u32, u32, u32, u32)), ("free", None, (pointer,)),
            ("reset", None, (pointer,)), ("send", None, (pointer, text, u64)),
            ("run", u32, (pointer, u64)), ("take", u64, (pointer, pointer, u64)),
            ("cycles", u64, (pointer,)), ("data", pointer, (pointer, text, text))):
        function = getattr(library, f"board_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class Noise:
    """A line that changes, loses or doubles one byte in ``1 / rate``.

    Parameters
    ----------
    rate : float
        0 to 1.
    seed : int or str
    """
    def __init__(self, rate: float, seed: int | str) -> None:
        self.rate = rate
        self.hits = 0
        self._draw = random.Random(seed)

    def __call__(self, data: bytes) -> bytes:
        """The bytes received when ``data`` is sent."""
        draw, out = self._draw, bytearray()
        for byte in data:
            if draw.random() >= self.rate:
                out.append(byte)
                continue
            self.hits += 1
            match draw.randrange(3):
                case 0:
                    out.append(byte ^ draw.randrange(1, 256))
                case 1:
                    out += bytes([byte, byte])
        return bytes(out)


class Board:
    """The SoC in Verilator, with a memory.

    Parameters
    ----------
    config : assembler.contract.config.Config
    memory : str or None
        An SDRAM part with its controller, or PLAIN for the model of ``sim/rtl/memory.v``. None:
        the first part of :data:`sim.rtl.sdram_parts.PARTS` if its words are as wide as those of
        ``config``, else PLAIN.
    baud, host_baud : int
        Rates of the board's and the host's end of the line. ``host_baud`` None: as ``baud``.
    noise : float
        Share of damaged bytes in each direction.
    seed : int
        Seed of the noise and of the memory model.
    latency, gap, busy : int
        Behaviour of the plain memory: see ``sim/rtl/memory.v``.

    Members
    -------
    memory : (bytes,) uint8
        Contents of the memory; writable.
    cycles : int
        Clock cycles since reset.

    Raises
    ------
    RuntimeError
        In ``read``: a check in the Verilog failed.
    TernError
        The model cannot be built.
    """
    def __init__(self, config: Config, *, memory: str | None = None, baud: int = BAUD,
                 host_baud: int | None = None, noise: float = 0.0, seed: int = 0, latency: int = 8,
                 gap: int = 0, busy: int = 0) -> None:
        self.config = config
        if memory is None:
            memory = next(iter(sdram_parts.PARTS)) if config.memory_bits == _PART_BITS else PLAIN
        self._lib = _load(_library(config, memory, baud))
        bit = round(64 * CLOCK_HZ / (host_baud or baud))
        self._handle = self._lib.board_new(bit, seed, latency, gap, busy)
        self._free = weakref.finalize(self, self._lib.board_free, self._handle)
        self.noise = (Noise(noise, f"to {seed}"), Noise(noise, f"from {seed}"))
        scope = b"top.top.memory" if memory == PLAIN else b"top.top.memory.memory"
        address = self._lib.board_data(self._handle, scope, b"words")
        buffer = (ctypes.c_uint8 * config.memory_bytes).from_address(address)
        self.memory = np.frombuffer(memoryview(buffer), np.uint8)

    @property
    def cycles(self) -> int:
        return self._lib.board_cycles(self._handle)

    def close(self) -> None:
        self._free()

    def reset(self) -> None:
        """Press the reset button; the memory keeps its contents."""
        self._lib.board_reset(self._handle)

    def write(self, data: bytes) -> None:
        """Put bytes on the line, which sends them during ``read``."""
        data = self.noise[0](data)
        self._lib.board_send(self._handle, data, len(data))

    def read(self, cycles: int) -> bytes:
        """Bytes received within ``cycles`` cycles, up to a zero; b"" without any."""
        if not self._lib.board_run(self._handle, cycles):
            raise RuntimeError("a check in the simulated Verilog failed, see above")
        chunk = np.empty(1 << 12, np.uint8)
        count = self._lib.board_take(self._handle, chunk.ctypes.data, len(chunk))
        return self.noise[1](chunk[:count].tobytes())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_mutually_exclusive_group(required=True)
    machine.add_argument("--target", choices=PRESETS, help="preset machine")
    machine.add_argument("--config", type=Path, metavar="FILE",
                         help="JSON object with the parameters of tern_fpga.Config")
    parser.add_argument("--memory", choices=(*sdram_parts.PARTS, PLAIN),
                        help="SDRAM part, or a memory without rules (default: the first part "
                             "where words have 16 bits)")
    parser.add_argument("--noise", type=float, default=0.0, metavar="SHARE",
                        help="of the bytes of the line that are damaged, lost or doubled")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the noise")


def run(args: argparse.Namespace) -> None:
    try:
        config = preset(args.target) if args.target else Config(
            **disk.read_json(args.config))
    except TernError:
        raise
    except (ValueError, TypeError) as error:
        raise TernError(f"{args.config}: {error}") from None
    with _ended_with_input():
        board = Board(config, memory=args.memory, noise=args.noise, seed=args.seed)
    _serve(board, sys.stdin.buffer, sys.stdout.buffer)


@contextlib.contextmanager
def _ended_with_input() -> Iterator[None]:
    """End this process and the compilers that it has started if its input is closed meanwhile.

    The end of the process that started this one closes the input, but sends no signal to a process
    without a terminal. Afterwards :func:`_serve` itself finds the end of the input.
    """
    if os.getsid(0) != os.getpid():     # in a shell's session, which passes its signals on
        yield
        return
    done = threading.Event()

    def watch() -> None:
        poll = select.poll()
        poll.register(sys.stdin.fileno(), 0)        # reports only a closed other end
        while not done.is_set():
            if poll.poll(_WATCH_MS):
                os.killpg(0, signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _serve(board: Board, source: BinaryIO, sink: BinaryIO) -> None:
    """Answer requests from ``source``, in the format above, until it ends."""
    hello = {"clock_hz": CLOCK_HZ, "baud": BAUD}
    sink.write(json.dumps(hello).encode() + b"\n")
    sink.flush()
    while operation := source.read(1):
        count, = _COUNT.unpack(source.read(_COUNT.size))
        if operation == b"w":
            board.write(source.read(count))
            continue
        if operation == b"m":
            address, = _PLACE.unpack(source.read(_PLACE.size))
            board.memory[address:address + count] = np.frombuffer(source.read(count), np.uint8)
            continue
        came = board.read(count * CLOCK_HZ // 1_000_000)
        sink.write(_CAME.pack(board.cycles * 1_000_000_000 // CLOCK_HZ, len(came)) + came)
        sink.flush()
