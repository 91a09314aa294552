"""Is a board in order? Link, identity, clock, memory and one golden token.

    python -m firmware selftest --port /dev/ttyUSB0

Each line says what to do if it fails. The memory is overwritten: upload the model again.
"""

from tern_fpga.assembler.contract.checksum import SUMS
from tern_fpga.assembler.contract.config import PRESETS, preset
from tern_fpga.assembler.errors import TernError
from tern_fpga.firmware import port, programs
from tern_fpga.firmware.board import Board
from tern_fpga.firmware.link import LinkError
from tern_fpga.firmware.upload import upload


__all__ = ["add_arguments", "run"]


_ROUNDS     = 100           # registers read to see how good the link is
_CLOCK      = 0.02          # share by which the clock may differ from what the board says
_SECONDS    = 0.5           # of counting cycles; less where time is simulated
_SIMULATED  = 0.002
_SIM_BYTES  = 1 << 16       # of memory that are tested where time is simulated
_PATIENCE   = 60            # seconds that a program may take


class Failed(TernError):
    """A check failed: the first argument says what was found, the second what to do."""


def add_arguments(parser):
    parser.add_argument("--target", choices=PRESETS,
                        help="machine (default: the one that the board says it is; sim-tiny for a "
                             "simulated board)")
    parser.add_argument("--words", type=int, metavar="N",
                        help="memory words to test (default: all, or 64 KB of a simulated board)")
    port.add_arguments(parser)


def _run(board, image, done):
    """Upload and run a program; returns when a bit of the status is as ``done`` wants it."""
    upload(board, image)
    board.start(image.program_address, image.program_length)
    end = board.port.time() + _PATIENCE
    while not done(board.status()):
        if board.port.time() > end:
            raise Failed(f"the program does not end: instruction {board.read('pc')}, status "
                         f"{board.status()!r}", "build the bitstream again; report this if it "
                         "stays")
        board.port.sleep(0.0002)


def _waits(status):
    return bool(status & status.WAITING)


def _halted(status):
    return not status & status.RUNNING


def link(board, config, args):
    start = board.port.time()
    for _ in range(_ROUNDS):
        board.read("id")
    each = (board.port.time() - start) / _ROUNDS
    if board.link.retries > _ROUNDS // 10:
        raise Failed(f"{board.link.retries} of {_ROUNDS} requests had to be repeated",
                     "use a shorter cable, or a lower speed: build with it, and give --baud")
    return f"{_ROUNDS} requests, {1e3 * each:.2f} ms each, {board.link.retries} repeated"


def identity(board, config, args):
    if board.digest != config.digest:
        raise Failed(f"{board.name} has config {board.digest}, not {config.digest}",
                     "name its machine with --target, or build the bitstream again")
    if board.word_bytes != config.word_bytes:
        raise Failed(f"memory words of {board.word_bytes} bytes", "build the bitstream again")
    return f"{board.name}, config {board.digest}"


def clock(board, config, args):
    _run(board, programs.idle(config), _waits)

    def now():
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


def lines(board, config, args):
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


def memory(board, config, args):
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


def _wait_idle(board):
    end = board.port.time() + _PATIENCE
    while not _waits(status := board.status()) or board.read("pc") == 0:
        if status & status.FAULT or board.port.time() > end:
            raise Failed(f"the program does not end: instruction {board.read('pc')}, status "
                         f"{status!r}", "build the bitstream again; report this if it stays")
        board.port.sleep(0.001)


def speed(board, config, args):
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


def token(board, config, args):
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


def _config(args, board):
    """The machine to test: the one named, or the preset that the board says it is."""
    if args.target:
        return preset(args.target)
    for config in PRESETS.values():
        if config.digest == board.digest:
            return config
    raise TernError(f"{args.port}: the board {board.name} is no preset machine (config "
                    f"{board.digest}); name the nearest with --target")


def run(args):
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
