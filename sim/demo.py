"""From a checkpoint to text out of the RTL, each token checked against the golden machine."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import subprocess
import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from assembler import image as images, sampling, tokenizer
from assembler.config import CLOCK_MHZ
from assembler.errors import TernError
from assembler.registers import MessageKind, message
from sim import engines, host, verilate
from sim.generate import IdStream
from sim.golden.machine import Machine
from sim.golden.scheduler import parse_token
from sim.rtl import RtlMachine


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run"]


HELP = "compile a shipped model and let the simulated core tell a story"
EXAMPLE = 'python -m sim demo --prompt "The little dog" --tokens 60 --seed 1'


_ROOT = Path(__file__).parents[1]
_MODEL = _ROOT / "models" / "stories-5m"

# A board with one position and a small core: its model compiles and runs fastest.
_TARGET = "ulx3s-25f"


def add_arguments(parser):
    parser.add_argument("--model", type=Path, default=_MODEL, metavar="MODEL",
                        help=f"checkpoint (default: {_MODEL.relative_to(_ROOT)})")
    parser.add_argument("--target", default=_TARGET, choices=CLOCK_MHZ,
                        help=f"machine (default: {_TARGET})")
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", default="Once upon a time", metavar="TEXT",
                        help='text to continue (default: "Once upon a time")')
    prompt.add_argument("--ids", type=host.parse_ids, metavar="1,5,9",
                        help="token ids to continue, for a model without a tokenizer")
    parser.add_argument("--tokens", type=host.parse_count, default=40, metavar="N",
                        help="tokens to generate (default: 40)")
    sampling.add_arguments(parser)
    # The most likely word, again and again, makes a dull story; --temperature 0 tells it.
    parser.set_defaults(temperature=0.4)


def run(args):
    choice  = sampling.from_arguments(args)
    console = Console(highlight=False)
    started = time.monotonic()
    directory = verilate.cache() / "demo"
    console.print(f"[bold]1. Compile[/] {args.model} for {args.target}")
    done = subprocess.run([sys.executable, "-m", "assembler", args.model, "-o", directory,
                           "--target", args.target])
    if done.returncode:
        raise TernError(f"the assembler refused {args.model}")
    image = images.load(directory)
    words = tokenizer.load(image)
    if args.ids or words is None:
        ids = args.ids or [1, 77, 42]
        text, stream = ",".join(map(str, ids)), IdStream(",")
    else:
        ids, text = words.encode(args.prompt), args.prompt
        stream = words.stream(ids)
    race = Race(image, ids, args.tokens, choice)        # refuses ids before the long work

    console.print("\n[bold]2. Build[/] the core: Amaranth to Verilog to Verilator "
                  "(half a minute, once)")
    race.start()
    console.print(f"ready after {time.monotonic() - started:.0f} s")

    how = (f"the core draws them (temperature {choice.temperature:g}, seed {choice.seed})"
           if choice.temperature else "the most likely each time")
    console.print(f"\n[bold]3. Run[/] {len(ids)} prompt tokens, then up to {args.tokens}, {how}; "
                  f"the golden machine computes each as well\n")
    first = _tell(console, race, text, stream, CLOCK_MHZ[args.target])
    _summary(console, race, CLOCK_MHZ[args.target], first - started)
    if race.wrong:
        console.print(f"[red]different[/] {race.wrong}")
    return 1 if race.wrong else 0


class Race:
    """The RTL and the golden machine on the same prompt.

    Members
    -------
    cycles : list of int
        Of each token so far, the first with the prompt's.
    seconds : float
        That the simulation took for them.
    wrong : str or None
        The first difference.
    """
    def __init__(self, image, ids, count, choice=None):
        self.image, self.count = image, count
        self.golden = engines.Engine(image, Machine(image))
        self.golden.check(ids)
        self._words = host.conversation(image.config, ids, count, sampling=choice)
        if self.golden.ends:
            self._words.insert(0, message(MessageKind.STOP_TOKEN, 0, self.golden.ends[0]))
        self.cycles, self.seconds, self.wrong = [], 0.0, None

    def start(self):
        """Build the RTL."""
        self.rtl = RtlMachine(self.image)
        for machine in (self.rtl, self.golden.machine):
            machine.send(self._words)

    def tokens(self):
        """Token ids out of the RTL, as long as the golden machine gives the same."""
        rtl, golden = self.rtl, self.golden.machine
        with ThreadPoolExecutor(1) as beside:       # the simulation leaves the interpreter free
            for n in range(self.count):
                expected = beside.submit(golden.run, tokens=n + 1)
                start, before = time.monotonic(), rtl.total_cycles
                rtl.run(tokens=n + 1)
                self.seconds += time.monotonic() - start
                expected.result()
                if rtl.tokens[n:n + 1] != golden.tokens[n:n + 1]:
                    self.wrong = (f"token {n + 1}: rtl {self._shown(rtl, n)}, "
                                  f"golden {self._shown(golden, n)}")
                    return
                self.cycles.append(rtl.total_cycles - before)
                _, last, token = parse_token(rtl.tokens[n])
                yield token
                if last or token in self.golden.ends:
                    return

    @staticmethod
    def _shown(machine, n):
        return parse_token(machine.tokens[n])[2] if len(machine.tokens) > n else "none"


def _tell(console, race, text, stream, clock):
    """Show the text as it comes; returns the time of the first token."""
    first = None
    with Live(console=console, auto_refresh=False) as live:
        def show(status):
            if console.is_terminal:
                live.update(Group(Text(text), Text(""), Text(status, style="dim")), refresh=True)

        def add(piece):
            nonlocal text
            text += piece
            if not console.is_terminal:
                sys.stdout.write(piece)
                sys.stdout.flush()

        prompt, text = text, ""
        add(prompt)
        show("the prompt runs")
        for token in race.tokens():
            first = first or time.monotonic()
            add(stream.push(token))
            show(f"token {len(race.cycles)}: {race.cycles[-1]:,} cycles, "
                 f"{clock * 1e6 / race.cycles[-1]:,.1f} tokens/s at {clock} MHz; golden agrees")
        add(stream.flush())
        if not console.is_terminal:
            print()
        show("")
    return first or time.monotonic()


def _summary(console, race, clock, first):
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
