"""Compile a checkpoint and let the RTL write text; the golden machine checks each token."""

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import re
import shlex
import shutil
import subprocess
import sys
import time
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.contract import sampling
from tern_fpga.assembler.contract.config import CLOCK_MHZ
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.assembler.errors import TernError, as_typed
from tern_fpga.assembler.files import image as images, tokenizer
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim import engines, host
from tern_fpga.sim.commands.generate import IdStream, TextStream
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tern_fpga.sim.rtl import verilate
from tern_fpga.sim.rtl.machine import RtlMachine


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run"]


HELP = "compile a shipped model and let the simulated core tell a story"
EXAMPLE = 'python -m sim demo --prompt "The little dog" --tokens 60 --seed 1'


_ROOT = Path(__file__).resolve().parents[2]
_MODEL = _ROOT / "models" / "stories-5m"

# A board with one position and a small core, which builds and runs fastest.
_TARGET = "ulx3s-25f"

_LEAST = 2 / 3              # of the allowed tokens, after which the end of a sentence ends it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, default=_MODEL, metavar="MODEL",
                        help="checkpoint (default: stories-5m, which comes with Tern)")
    parser.add_argument("--target", default=_TARGET, choices=CLOCK_MHZ,
                        help=f"machine (default: {_TARGET})")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="Once upon a time", metavar="TEXT",
                        type=terminal.typed,
                        help='text to continue (default: "Once upon a time")')
    prompt.add_argument("--ids", type=host.parse_ids, metavar="1,5,9",
                        help="token ids to continue, for a model without a tokenizer")
    parser.add_argument("--tokens", type=host.parse_count, default=48, metavar="N",
                        help="tokens to generate at most; the story ends with a sentence, the "
                             "first one after two thirds of them (default: 48)")
    sampling.add_arguments(parser)
    # Always taking the most likely token makes a dull story; --temperature 0 does that.
    parser.set_defaults(temperature=0.4)


def run(args: argparse.Namespace) -> int:
    choice  = sampling.from_arguments(args)
    console = Console(highlight=False)
    started = time.monotonic()
    directory = verilate.cache() / "demo"
    console.print(f"[bold]1. Compile[/] {terminal.markup(args.model)} for {args.target}")
    done = subprocess.run([sys.executable, "-m", "tern_fpga.assembler", args.model, "-o", directory,
                           "--target", args.target])
    if done.returncode:
        raise TernError(f"the assembler refused {args.model}")
    image = images.load(directory)
    words = tokenizer.load(image)
    stream: TextStream
    if args.ids or words is None:
        ids = args.ids or [1, 77, 42]
        text, stream = ",".join(map(str, ids)), IdStream(",")
    else:
        ids, text = words.encode(args.prompt), terminal.shown(args.prompt)
        stream = terminal.stream(words, ids)
    race = Race(image, ids, args.tokens, choice)        # refuses bad ids before the long work

    simulated = shutil.which("c++") is not None
    if simulated:
        console.print("\n[bold]2. Build[/] the core: Amaranth to Verilog to Verilator "
                      "(about a minute, once)")
    else:
        console.print("\n[bold]2. No core[/]: there is no C++ compiler to build it with (on Debian "
                      "and Ubuntu: apt-get install g++). The golden machine computes the same "
                      "bits.")
    race.start(simulated)
    console.print(f"ready after {time.monotonic() - started:.0f} s")

    how = (f"the core draws them (temperature {choice.temperature:g}, seed {choice.seed})"
           if choice.temperature else "the most likely each time")
    also = "; the golden machine computes each as well" if simulated else ""
    console.print(f"\n[bold]3. Run[/] {len(ids)} prompt tokens, then up to {args.tokens}, "
                  f"{how}{also}\n")
    first = _tell(console, race, text, stream, CLOCK_MHZ[args.target])
    _summary(console, race, CLOCK_MHZ[args.target], first - started)
    if race.wrong:
        console.print(f"[red]different[/] {terminal.markup(race.wrong)}")
        return 1
    _next(console, directory, args, None if args.ids else words)
    return 0


# The end of a sentence. It includes closing quotes and needs a blank after it; a title before a
# name is no end.
_SENTENCE = re.compile(
    r"""(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)[.!?…]+["'”’»)\]]*(?=\s)|[。！？]+["'”’」』）]*""")


def sentence_ends(text: str, begun: int = 0) -> list[int]:
    """Places where sentences of a text end, after its first ``begun`` characters."""
    return [match.end() for match in _SENTENCE.finditer(text) if match.end() > begun]


class Race:
    """The RTL and the golden machine on the same prompt.

    Members
    -------

    cycles : list of int
        Clock cycles of each token so far. The first includes the prompt; empty without the RTL.
    seconds : float
        Time that their simulation took.
    wrong : str or None
        The first difference between the machines.
    """
    def __init__(self, image: Image, ids: list[int], count: int,
                 choice: Sampling | None = None) -> None:
        self.image, self.count = image, count
        self.golden = engines.Engine(image, Machine(image))
        self.golden.check(ids)
        self._words = host.conversation(image.config, ids, count, sampling=choice)
        if self.golden.ends:
            self._words.insert(0, message(MessageKind.STOP_TOKEN, 0, self.golden.ends[0]))
        self.cycles: list[int] = []
        self.seconds = 0.0
        self.wrong: str | None = None
        self.rtl: RtlMachine | None = None


    def start(self, simulated: bool = True) -> None:
        """Build the RTL if ``simulated``, and send the prompt."""
        self.golden.machine.send(self._words)
        if simulated:
            self.rtl = RtlMachine(self.image)
            self.rtl.send(self._words)

    def tokens(self) -> Iterator[int]:
        """Token ids from the RTL, until one differs from the golden machine's; without the RTL,
        those of the golden machine."""
        rtl, golden = self.rtl, self.golden.machine
        with ThreadPoolExecutor(1) as beside:       # the RTL runs outside the interpreter lock
            for n in range(self.count):

                expected = beside.submit(golden.run, tokens=n + 1)
                if rtl:
                    start, before = time.monotonic(), rtl.total_cycles
                    rtl.run(tokens=n + 1)
                    self.seconds += time.monotonic() - start
                expected.result()
                if rtl and rtl.tokens[n:n + 1] != golden.tokens[n:n + 1]:
                    self.wrong = (f"token {n + 1}: rtl {self._shown(rtl, n)}, "
                                  f"golden {self._shown(golden, n)}")
                    return
                if rtl:
                    self.cycles.append(rtl.total_cycles - before)
                _, last, token = parse_token(golden.tokens[n])
                yield token
                if last or token in self.golden.ends:
                    return

    @staticmethod
    def _shown(machine: engines.AnyMachine, n: int) -> int | str:
        return parse_token(machine.tokens[n])[2] if len(machine.tokens) > n else "none"


def _tell(console: Console, race: Race, text: str, stream: TextStream, clock: int) -> float:
    """Show the text while it grows, up to the end of a sentence; returns the time of the first
    token.

    A terminal shows each token, and text after the last sentence is removed at the end. Other
    outputs cannot remove text and get whole sentences.
    """
    first: float | None = None
    written, begun, whole = 0, len(text), True
    with Live(console=console, auto_refresh=False) as live:
        def show(status: str, end: int | None) -> None:
            nonlocal written
            if console.is_terminal:
                live.update(Group(Text(text[:end]), Text(""), Text(status, style="dim")),
                            refresh=True)
            elif status == "" or end is not None:
                sys.stdout.write(text[written:end])
                sys.stdout.flush()
                written = len(text[:end])

        show("the prompt runs", begun)
        ends: list[int] = []
        for count, token in enumerate(race.tokens(), 1):
            first = first or time.monotonic()
            text += stream.push(token)
            before, ends = ends, sentence_ends(text, begun)
            whole = token in race.golden.ends
            speed = (f": {race.cycles[-1]:,} cycles, {clock * 1e6 / race.cycles[-1]:,.1f} tokens/s "
                     f"at {clock} MHz; golden agrees" if race.cycles else "")
            show(f"token {count}{speed}",
                 None if console.is_terminal or not ends else ends[-1])
            if len(ends) > len(before) and count > race.count * _LEAST:
                break
        text += stream.flush()
        if not (whole or race.wrong):       # the last token may end a sentence
            ends = sentence_ends(text + " ", begun)
        else:
            ends = []
        show("", max(ends[-1], written) if ends else None)
        if not console.is_terminal:
            print()
    return first or time.monotonic()


def _summary(console: Console, race: Race, clock: int, first: float) -> None:
    cycles = race.cycles
    if not cycles:
        return
    steady = cycles[1:] or cycles
    mean = sum(steady) / len(steady)
    table = Table(title="Summary", show_header=False)
    table.add_row("tokens that agree with the golden machine",
                  f"{len(cycles)} of {len(cycles) + bool(race.wrong)}")
    table.add_row("cycles a token, after the prompt", f"{mean:,.0f}")
    table.add_row(f"tokens a second of a board at {clock} MHz", f"{clock * 1e6 / mean:,.1f}")
    table.add_row("simulated", f"{sum(cycles):,} cycles at {sum(cycles) / race.seconds:,.0f} "
                  f"cycles/s")
    table.add_row("first word after", f"{first:.0f} s")
    console.print(table)


def _next(console: Console, directory: Path, args: argparse.Namespace, words: Any) -> None:
    """Print commands to try next."""
    image = shlex.quote(os.path.relpath(directory))
    model = f" --model {shlex.quote(str(args.model))}" if args.model != _MODEL else ""
    prompt = '--prompt "The little dog"' if words else "--ids 5,9"
    console.print("\n[bold]Next[/]")
    for command, what in (
            (f"sim demo{model} {prompt} --seed {(args.seed or 0) + 1}", "another story"),
            (f"firmware chat {image} --port sim{'' if words else ' --ids'}",
             "talk to a whole board, simulated"),
            (f"sim perf {image} --target {args.target}", "where its cycles go"),
            ("boards list", "boards that it runs on")):
        typed = as_typed(f"python -m {command}")
        console.print(f"  {what + ':':36}{terminal.markup(typed)}", soft_wrap=True)
