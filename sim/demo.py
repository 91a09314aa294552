"""From a checkpoint to tokens out of the RTL, each checked against the golden machine."""

from pathlib import Path
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from assembler import image as images
from assembler.errors import TernError
from sim import host, verilate
from sim.golden.machine import Machine
from sim.golden.scheduler import parse_token
from sim.rtl import RtlMachine


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run"]


HELP = "compile the shipped checkpoint and let the simulated core run it"
EXAMPLE = "python -m sim demo --tokens 24"


_MODEL = Path(__file__).parents[1] / "tests" / "data" / "mmf-tiny-a"


def add_arguments(parser):
    parser.add_argument("--model", type=Path, default=_MODEL, metavar="MODEL",
                        help="checkpoint (default: the one in tests/data)")
    parser.add_argument("--target", default="sim-tiny", help="machine (default: sim-tiny)")
    parser.add_argument("--ids", type=host.parse_ids, default=[1, 77, 42], metavar="1,5,9",
                        help="prompt (default: 1,77,42)")
    parser.add_argument("--tokens", type=int, default=24, metavar="N",
                        help="tokens to generate (default: 24)")


def run(args):
    console = Console()
    directory = verilate.cache() / "demo"
    console.print(f"[bold]1. Compile[/] {args.model.name} for {args.target}")
    done = subprocess.run([sys.executable, "-m", "assembler", args.model, "-o", directory,
                           "--target", args.target])
    if done.returncode:
        raise TernError(f"the assembler refused {args.model}")
    image = images.load(directory)

    console.print("\n[bold]2. Build[/] the core: Amaranth to Verilog to Verilator")
    start = time.monotonic()
    rtl = RtlMachine(image)
    console.print(f"ready after {time.monotonic() - start:.1f} s")

    console.print(f"\n[bold]3. Run[/] {args.tokens} tokens after the prompt "
                  f"{','.join(map(str, args.ids))}; every one against the golden machine")
    return _race(console, image, rtl, args.ids, args.tokens)


def _race(console, image, rtl, ids, count):
    golden = Machine(image)
    words = host.conversation(image.config, ids, count)
    golden.send(words)
    rtl.send(words)
    spent, agreed, seconds = [], 0, 0.0
    before = rtl.total_cycles
    for n in range(count):
        start = time.monotonic()
        rtl.run(tokens=n + 1)
        seconds += time.monotonic() - start
        while len(golden.tokens) <= n and golden.step() == "running":
            pass
        if len(rtl.tokens) <= n:
            break
        now = rtl.total_cycles
        spent.append(now - before)
        before = now
        equal = rtl.tokens[n] == golden.tokens[n]
        agreed += equal
        note = "prompt and first token" if n == 0 else ""
        verdict = "[green]golden agrees[/]" if equal else (
            f"[red]golden says {parse_token(golden.tokens[n])[2]}[/]")
        console.print(f"  token {n + 1:3}  id {parse_token(rtl.tokens[n])[2]:6}  "
                      f"{spent[-1]:9,} cycles  {verdict}  {note}", highlight=False)
    _summary(console, image, rtl, spent, agreed, count, seconds)
    return 0 if agreed == count == len(rtl.tokens) else 1


def _summary(console, image, rtl, spent, agreed, count, seconds):
    steady = spent[1:] or spent
    table = Table(title="Summary", show_header=False)
    table.add_row("tokens that agree with the golden machine", f"{agreed} of {count}")
    table.add_row("cycles a token, after the prompt", f"{sum(steady) / len(steady):,.0f}")
    table.add_row("weight words read", f"{rtl.weight_words:,}")
    table.add_row("simulated", f"{sum(spent):,} cycles at {sum(spent) / seconds:,.0f} cycles/s")
    console.print(table)
