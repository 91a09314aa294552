"""Test a board: link, identity, clock, memory, and the golden tokens of a small model.

    python -m firmware selftest --port /dev/ttyUSB0

If a check fails, its line says what to do. The test overwrites the memory: upload the model again
afterwards.
"""

import argparse
from collections.abc import Callable

from tern_fpga.assembler.contract.checksum import SUMS
from tern_fpga.assembler.contract.config import PRESETS, Config, preset
from tern_fpga.assembler.contract.registers import Status
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files.image import Image
from tern_fpga.firmware import port, programs
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.link import LinkError
from tern_fpga.firmware.upload import upload


__all__ = ["add_arguments", "run"]


_ROUNDS     = 100           # register reads that test the link
_CLOCK      = 0.02          # largest relative error of the measured clock
_SECONDS    = 0.5           # time in which cycles are counted
_SIMULATED  = 0.002         # ... on a simulated board
_SIM_BYTES  = 1 << 16       # bytes of memory that are tested on a simulated board
_PATIENCE   = 60            # seconds that a program may take


class Failed(TernError):
    """A check failed. The first argument says what was found, the second what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--target", choices=PRESETS,
                        help="machine (default: the one that the board says it is; sim-tiny for a "
                             "simulated board)")
    parser.add_argument("--words", type=int, metavar="N",
                        help="memory words to test (default: all, or 64 KB of a simulated board)")
    port.add_arguments(parser)


def _run(board: Board, image: Image, done: Callable[[Status], bool]) -> None:
    """Upload and run a program until ``done(status)`` is true."""
    upload(board, image)
    board.start(image.program_address, image.program_length)
    end = board.port.time() + _PATIENCE
    while not done(board.status()):
        if board.port.time() > end:
            raise Failed(f"the program does not end: instruction {board.read('pc')}, status "
                         f"{board.status()!r}", "build the bitstream again; report this if it "
                         "stays")
        board.port.sleep(0.0002)


def _waits(status: Status) -> bool:
    return bool(status & status.WAITING)


def _halted(status: Status) -> bool:
    return not status & status.RUNNING


def link(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether requests are answered without many repeats."""
    start = board.port.time()
    for _ in range(_ROUNDS):
        board.read("id")
    each = (board.port.time() - start) / _ROUNDS
    if board.link.retries > _ROUNDS // 10:
        raise Failed(f"{board.link.retries} of {_ROUNDS} requests had to be repeated",
                     "use a shorter cable, or a lower speed: build with it, and give --baud")
    return f"{_ROUNDS} requests, {1e3 * each:.2f} ms each, {board.link.retries} repeated"


def identity(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether the board has the expected machine."""
    if board.digest != config.digest:
        raise Failed(f"{board.name} has config {board.digest}, not {config.digest}",
                     "name its machine with --target, or build the bitstream again")
    if board.word_bytes != config.word_bytes:
        raise Failed(f"memory words of {board.word_bytes} bytes", "build the bitstream again")
    return f"{board.name}, config {board.digest}"


def clock(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether the core's clock has the frequency that the board states."""
    _run(board, programs.idle(config), _waits)

    def now() -> tuple[float, int]:
        before = board.port.time()
        cycles = board.read("cycles")
        return (before + board.port.time()) / 2, cycles

    start, first = now()
    board.port.sleep(_SIMULATED if args.port == port.SIM else _SECONDS)
    end, last = now()
    measured = (last - first) % (1 << 32) / (end - start)
    if abs(measured / board.clock_hz - 1) > _CLOCK:
        raise Failed(f"{measured / 1e6:.1f} MHz, built for {board.clock_hz / 1e6:.1f} MHz",
                     "the PLL or the board's oscillator is not what the build assumes: is it "
                     "this board's bitstream?")
    return f"{measured / 1e6:.1f} MHz"


def lines(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether every data line and every address line of the memory works."""
    size = board.word_bytes
    for n in range(8 * size):
        for value in (1 << n, ~(1 << n) & (1 << 8 * size) - 1):
            board.write_memory(0, value.to_bytes(size, "little"))
            found = int.from_bytes(board.read_memory(0, 1), "little")
            if found != value:
                raise Failed(f"data line {n}: wrote {value:#x}, read {found:#x}",
                             "wrong pins or a bad solder joint at the memory; or its clock phase")
    places = [0, *(1 << n for n in range((config.memory_words - 1).bit_length()))]
    for n, place in enumerate(places):
        board.write_memory(place, (n * 0x0101 + 1).to_bytes(size, "little"))
    for n, place in enumerate(places):
        found = int.from_bytes(board.read_memory(place, 1), "little")
        if found != n * 0x0101 + 1:
            raise Failed(f"word {place:#x} holds what belongs to another (line {n - 1})",
                         "wrong pins, a memory of another size, or a bad solder joint")
    return f"{8 * size} data lines, {len(places) - 1} addresses"


def memory(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether every bit of memory can hold 0 and 1."""
    words = args.words
    if words is None:
        words = (min(config.memory_words, _SIM_BYTES // board.word_bytes)
                 if args.port == port.SIM else config.memory_words)
    image, result = programs.memory_test(config, words)
    upload(board, image)
    board.start(image.program_address, image.program_length)
    board.send(programs.GO)
    board.port.sleep(0.001)
    _wait_idle(board)
    size = config.vector_words(config.vector_lanes)
    found = board.read_memory(result, size)
    if any(found):
        raise Failed(f"bits came back wrong in {words:,} words",
                     "try another clock phase of the memory (see docs/boards.md) or a slower clock")
    return f"{8 * words * board.word_bytes:,} bits, each as 0 and as 1"


def _wait_idle(board: Board) -> None:
    """Wait until the program waits for the host at its end."""
    end = board.port.time() + _PATIENCE
    while not _waits(status := board.status()) or board.read("pc") == 0:
        if status & status.FAULT or board.port.time() > end:
            raise Failed(f"the program does not end: instruction {board.read('pc')}, status "
                         f"{status!r}", "build the bitstream again; report this if it stays")
        board.port.sleep(0.001)


def speed(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether the weight stream arrives completely and fast enough."""
    image, words = programs.stream_test(config, 4 if args.port == port.SIM else 256)
    _run(board, image, _halted)
    cycles, came = board.read("cycles"), board.read("weight_words")
    if came != words:
        raise Failed(f"{came:,} words came, not {words:,}", "build the bitstream again")
    rate = words / max(cycles, 1)
    if rate < 0.5:
        raise Failed(f"{rate:.0%} of a word a cycle", "is another program using the memory? "
                     "else build the bitstream again")
    return (f"{rate * board.word_bytes * board.clock_hz / 1e6:.0f} MB/s for weights, "
            f"{100 * rate:.1f} % of a word in every cycle")


def token(board: Board, config: Config, args: argparse.Namespace) -> str:
    """Whether a small model samples the expected tokens."""
    image = programs.token_loop(config)
    upload(board, image)
    board.start(image.program_address, image.program_length)
    size, follows = programs.successor(config)
    expected = [follows(1)]
    while len(expected) < 8:
        expected.append(follows(expected[-1]))
    found = [word for word, _ in board.converse(config, [size - 1, 0, 1], len(expected))]
    if not image.weight_check().agrees({name: board.read(name) for name in SUMS}):
        raise Failed("the core read other weights than memory was given",
                     "try another clock phase of the memory (see docs/boards.md) or a slower clock")
    if found != expected:
        raise Failed(f"tokens {found}, not {expected}",
                     "the core computes wrong: build the bitstream again, with another seed")
    return f"tokens {', '.join(map(str, found))}"


CHECKS = (link, identity, clock, lines, memory, speed, token)


def _config(args: argparse.Namespace, board: Board) -> Config:
    """The machine to test: that of --target, or the preset whose digest the board reports."""
    if args.target:
        return preset(args.target)
    for config in PRESETS.values():
        if config.digest == board.digest:
            return config
    raise TernError(f"{args.port}: the board {board.name} is no preset machine (config "
                    f"{board.digest}); name the nearest with --target")


def run(args: argparse.Namespace) -> int:
    """Carry out the checks until one fails; returns the exit status."""
    simulated = preset(args.target or "sim-tiny")
    line = port.open_port(args, simulated)
    try:
        board = Board(line)
        config = simulated if args.port == port.SIM else _config(args, board)
        for check in CHECKS:
            try:
                print(f"{check.__name__:9} ok      {check(board, config, args)}", flush=True)
            except LinkError:
                raise
            except Failed as failure:
                found, remedy = failure.args
                print(f"{check.__name__:9} FAILED  {found}\n{'':9}         {remedy}", flush=True)
                return 1
    finally:
        line.close()
    return 0
