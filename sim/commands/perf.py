"""Measure the cycles and bytes of a token in the RTL, and a breakdown of the cycles."""

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
import json
from pathlib import Path
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.config import CLOCK_MHZ, SDRAM_MHZ, preset
from tern_fpga.assembler.contract.registers import counted, register
from tern_fpga.assembler.contract.sdram_parts import BOARDS, words_per_cycle
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, image as images
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim import host
from tern_fpga.sim.commands import breakdown
from tern_fpga.sim.rtl import sdram_parts, waves as waveforms
from tern_fpga.sim.rtl.machine import RtlMachine
from tern_fpga.sim.rtl.trace import Trace


__all__ = ["HELP", "EXAMPLE", "Performance", "measure", "useful_bytes", "model_name",
           "check", "chosen_memory", "machine_options", "memory_name", "add_arguments", "run"]


HELP = "measure a token in the RTL"
EXAMPLE = "python -m sim perf build/stories --target ulx3s-85f --json"


_WARM_UP = 2               # tokens of each stream before the measured ones


@dataclass(frozen=True)
class Performance:
    """Means over the measured steps in steady state. A step makes a token of each stream."""
    streams: int
    cycles: float               # of a step: from a stream's token word to its next
    bytes_read: float
    bytes_written: float
    useful_bytes: float         # parameters that a step must read: each once, as stored
    peak_share: float           # useful bytes / bytes that the pins could have moved
    adds: float                 # ternary weights times streams; a zero counts, too
    clock_mhz: float
    peak_bytes: float           # bytes that the pins can move in a second
    tokens_per_second: float    # of all streams
    simulated: float            # cycles simulated in a second of processor time
    memory_shares: dict[str, float]             # see sim.commands.breakdown.memory
    unit_shares: dict[str, dict[str, float]]    # of the cycles, by unit and activity
    counters: dict[str, int]                    # the core's, over all measured steps


def measure(image: Image, *, clock_mhz: int, sdram_mhz: int | Fraction | None = None,
            tokens: int = 8, warm_up: int = _WARM_UP, streams: int = 1, trace: Path | None = None,
            waves: waveforms.Waves | None = None,
            tell: Callable[[Performance], object] = lambda result: None,
            **options: Any) -> Performance:
    """Run ``streams`` streams in the RTL and return the :class:`Performance`.

    ``sdram_mhz``: clock of the SDRAM; None: the core's. ``trace``: file for a trace of the whole
    run, see :mod:`sim.rtl.trace`. ``waves``: :class:`sim.rtl.waves.Waves` to write. ``tell`` is
    called with the result before these files are written, because writing may fail.

    The prompt and the first ``warm_up`` tokens of each stream are not counted. ``options``: those
    of :class:`sim.rtl.machine.RtlMachine`.
    """
    config = image.config
    weights, useful = image.told("model", "ternary_weights"), useful_bytes(image)
    if not image.holds("weights"):
        raise TernError(f"{images.BINARY}: holds no weights; compile the model again")
    sdram_mhz = sdram_mhz or clock_mhz
    peak = words_per_cycle(config, clock_mhz, sdram_mhz)
    machine = RtlMachine(image, clock_mhz=clock_mhz, sdram_mhz=sdram_mhz, waves=waves,
                         **options)
    record = Trace(machine, image, clock_mhz=clock_mhz) if trace else None
    for slot in range(streams):     # each prompt takes a step of its own
        machine.send(host.conversation(config, [1 + slot], warm_up + tokens, slot=slot))
    machine.run(tokens=streams * warm_up)

    def now() -> tuple[int, int, int, int, dict[str, int]]:
        at = machine.total_cycles
        return at, machine.words_read, machine.words_written, machine.refresh_cycles, (
            machine.counters)           # last: reading them takes cycles

    *start, before = now()
    began = time.process_time()
    machine.run(tokens=streams * (warm_up + tokens))
    seconds = time.process_time() - began
    *stop, after = now()
    cycles, read, written, refresh = ((b - a) / tokens for a, b in zip(start, stop))
    counters = counted(before, after)
    parameters = tokens * (useful - breakdown.trit_bytes(image)) / config.word_bytes
    result = Performance(
        streams=streams, cycles=cycles, bytes_read=read * config.word_bytes,
        bytes_written=written * config.word_bytes, useful_bytes=useful,
        peak_share=useful / (cycles * config.word_bytes * peak),
        adds=streams * weights, clock_mhz=clock_mhz,
        peak_bytes=clock_mhz * 1e6 * config.word_bytes * peak,
        tokens_per_second=streams * clock_mhz * 1e6 / cycles,
        simulated=tokens * cycles / seconds,
        memory_shares=breakdown.memory(
            counters, image, parameters=parameters, peak=peak,
            refresh=refresh * tokens * peak * clock_mhz / sdram_mhz),
        unit_shares=breakdown.units(counters), counters=counters)
    tell(result)
    if record and trace:
        machine.run()               # completes what is in flight
        record.write(trace)
    if waves:
        machine.close()
        waves.write_views(image)
    return result


def model_name(image: Image) -> str:
    """The name of the model, from its source: see :func:`assembler.files.disk.model_name`."""
    return disk.model_name(image.told("model", "source"))


def useful_bytes(image: Image) -> float:
    """Bytes that a step must read: each parameter once, as it is stored.

    A trit counts 1.6 bits, an element of gains and bounds the width of the machine's float. The
    embedding counts one row, that of one stream. Padding does not count, nor do values that are
    derived from a parameter and stored beside it (``slope``, which is 1 - ``floor``).
    """
    bits = 0.0
    width = image.config.float.width
    for tensor in image.told("tensors"):
        if "columns" in tensor:
            first, last = tensor["rows"]
            bits += 8 * (last - first) * tensor["columns"] / formats.TRITS_PER_BYTE
        elif "pitch" in tensor:
            bits += tensor["shape"][1] * width
        elif not tensor.get("derived"):
            bits += tensor["elements"] * width
    return bits / 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--target", metavar="BOARD", choices=sorted(CLOCK_MHZ),
                        help="board whose clock counts (default: the one compiled for)")
    parser.add_argument("--memory", metavar="KIND", choices=("sdram", "plain", *sdram_parts.PARTS),
                        help="sdram: the board's SDRAM behind the controller of its bitstream; "
                             "plain: a word in every cycle; or a part, with a controller made for "
                             "it alone (default: sdram where the board has one)")
    parser.add_argument("--streams", type=int, default=1, metavar="N",
                        help="independent streams at once, up to the machine's positions "
                             "(default: 1)")
    parser.add_argument("--tokens", type=int, default=8, metavar="N",
                        help="tokens of each stream to measure (default: 8)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--trace", type=Path, metavar="FILE",
                        help="write what each unit did when, for https://ui.perfetto.dev")
    waveforms.add_arguments(parser)


def chosen_memory(target: str, kind: str | None = None) -> str | None:
    """The argument ``memory`` of :class:`sim.rtl.machine.RtlMachine` for the option ``--memory
    kind`` on the board ``target``; TernError if it has no SDRAM."""
    if kind in sdram_parts.PARTS:
        return kind
    if kind == "sdram" and target not in BOARDS:
        raise TernError(f"{target} has no SDRAM; give --memory plain or a part")
    return target if kind != "plain" and target in BOARDS else None


def machine_options(target: str, memory: str | None) -> dict[str, Any]:
    """Clocks and memory of a target, as options of :class:`sim.rtl.machine.RtlMachine`; ``memory``
    is of :func:`chosen_memory`."""
    clock = CLOCK_MHZ[target]
    return {"clock_mhz": clock, "sdram_mhz": SDRAM_MHZ[target] if memory else clock,
            "memory": memory}


def memory_name(memory: str | None) -> str:
    """The name of a memory for a reader: its part, or ``plain memory``."""
    return BOARDS.get(memory, memory) if memory else "plain memory"


def check(image: Image, tokens: int, streams: int, option: str = "") -> None:
    """TernError unless so much can be measured; ``option`` goes before the names."""
    positions = image.config.positions
    if tokens < 1:
        raise TernError(f"{option}tokens must be at least 1, not {tokens}")
    if not 1 <= streams <= positions:
        raise TernError(f"{option}streams must be 1 to {positions}, the machine's positions, not "
                        f"{streams}")


def is_board(target: str) -> bool:
    """Whether a target is a real board. Its clock is then one that its bitstream reaches."""
    return not target.startswith("sim-")


def run(args: argparse.Namespace) -> None:
    image = images.load(args.directory)
    check(image, args.tokens, args.streams, "--")
    target = args.target or image.manifest.get("target")
    if target not in CLOCK_MHZ:
        raise TernError(f"{args.directory}: made for no known board; give --target")
    if args.target and preset(target).digest != image.config.digest:
        raise TernError(f"{args.directory}: made for config {image.config.digest}, but {target} "
                        f"is config {preset(target).digest}; compile the model for it")
    waves = waveforms.from_arguments(args)
    for path in filter(None, (args.trace, args.waves)):
        disk.has_folder(path)
    last = args.streams * (_WARM_UP + args.tokens)
    if waves and waves.limits("tokens")[0] > last:
        raise TernError(f"--window: the run has {last} tokens; give more --tokens")
    memory = chosen_memory(target, args.memory)
    name = model_name(image) if args.json else None     # may fail, so before the work
    measure(image, **machine_options(target, memory), tokens=args.tokens, streams=args.streams,
            trace=args.trace, waves=waves,
            tell=lambda result: _tell(result, args, image, target, memory, name))


def _tell(result: Performance, args: argparse.Namespace, image: Image, target: str,
          memory: str | None, name: str | None) -> None:
    """Print a result. ``name``: the model's name, for JSON."""
    if args.json:
        print(json.dumps({"model": name, "target": target,
                          "digest": image.config.digest, "lanes": image.config.lanes,
                          "positions": image.config.positions,
                          "memory": BOARDS.get(memory, memory) if memory else "plain",
                          "controller": memory, "is_board": is_board(target),
                          **asdict(result)}, indent=1))
        return
    title = "One stream" if args.streams == 1 else f"{args.streams} streams"
    table = Table(title=f"{title} on {target}, {memory_name(memory)}, mean of {args.tokens} "
                        f"tokens each", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, text in (
            ("cycles a token" if args.streams == 1 else "cycles a step, a token of each",
             f"{result.cycles:,.0f}"),
            ("bytes read in them", f"{result.bytes_read:,.0f}"),
            ("bytes written in them", f"{result.bytes_written:,.0f}"),
            ("useful bytes", f"{result.useful_bytes:,.0f}"),
            ("useful share of the memory's peak", f"{result.peak_share:.1%}"),
            ("clock", f"{result.clock_mhz} MHz"),
            ("tokens a second" if is_board(target) else
             "tokens a second, if there were a board of it", f"{result.tokens_per_second:,.1f}"),
            ("simulated, in a second of one processor", f"{result.simulated:,.0f} cycles")):
        table.add_row(name, text)
    console = Console()
    console.print(table, _memory_table(result), _units_table(result))


def _memory_table(result: Performance) -> Table:
    table = Table(title="The memory's cycles", show_footer=True)
    table.add_column("", "all")
    table.add_column("share", f"{sum(result.memory_shares.values()):.2%}", justify="right")
    for name, share in result.memory_shares.items():
        table.add_row(breakdown.MEMORY[name], f"{share:.2%}")
    return table


def _units_table(result: Performance) -> Table:
    table = Table(title="The units' cycles")
    table.add_column("unit")
    table.add_column("in which")
    table.add_column("share", justify="right")
    for unit, shares in result.unit_shares.items():
        for n, (name, share) in enumerate(shares.items()):
            table.add_row("" if n else unit, register(f"{unit}_{name}").summary, f"{share:.2%}")
        table.add_section()
    return table
