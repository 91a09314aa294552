"""Gain of positions: measure prompts and several streams against one stream in the RTL."""

import argparse
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.console.commit import made_by, write_report
from tern_fpga.assembler.contract.config import CLOCK_MHZ
from tern_fpga.assembler.contract.sdram_parts import BOARDS
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, image as images
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim import host
from tern_fpga.sim.commands.generate import positive
from tern_fpga.sim.commands.perf import chosen_memory, machine_options, memory_name, model_name
from tern_fpga.sim.rtl import sdram_parts
from tern_fpga.sim.rtl.machine import RtlMachine


__all__ = ["HELP", "EXAMPLE", "Rates", "measure", "add_arguments", "run"]


HELP = "measure prompts and several streams in the RTL"
EXAMPLE = "python -m sim positions build/stories-5m"

_WARM_UP = 2                # tokens of each stream before the measured ones


@dataclass(frozen=True)
class Rates:
    """Mean cycles of a token in steady state.

    ``decode``: of a token of a single stream. ``prompt``: of a token of a prompt of
    ``prompt_tokens`` tokens, from its first message word to the first sampled token. ``streams``:
    of a token when all positions have a stream. ``simulated``: cycles simulated in a second of
    processor time.
    """
    positions: int
    decode: float
    prompt: float
    prompt_tokens: int
    streams: float
    simulated: float

    @property
    def prefill_gain(self) -> float:
        return self.decode / self.prompt

    @property
    def streams_gain(self) -> float:
        return self.decode / self.streams


class _Clocked:
    """A machine, and the number of tokens that it should have given."""
    def __init__(self, image: Image, options: dict[str, Any]) -> None:
        self.config = image.config
        self.machine = RtlMachine(image, **options)
        self.tokens = 0

    def converse(self, ids: list[int], count: int, slot: int = 0) -> None:
        self.machine.send(host.conversation(self.config, ids, count, slot=slot))

    def after(self, tokens: int) -> int:
        """Run until ``tokens`` more tokens have arrived; returns the cycle."""
        self.tokens += tokens
        while len(self.machine.tokens) < self.tokens:
            self.machine.run(tokens=self.tokens)
        return self.machine.total_cycles


def measure(image: Image, *, tokens: int = 8, chunks: int = 4, **options: Any) -> Rates:
    """Run one stream, a prompt of ``chunks`` times ``positions`` tokens, and a stream in every
    position; returns the :class:`Rates`.

    ``tokens``: measured tokens of each stream. ``options``: those of
    :class:`sim.rtl.machine.RtlMachine`.
    """
    positions = image.config.positions
    vocabulary, _ = image.model()
    core = _Clocked(image, options)
    began = time.process_time(), core.machine.total_cycles
    core.converse([1], _WARM_UP + tokens)
    start = core.after(_WARM_UP)
    end = core.after(tokens)
    decode = (end - start) / tokens

    prompt = [1 + n % (vocabulary - 1) for n in range(chunks * positions)]
    core.converse(prompt, 1)
    prefill = (core.after(1) - end) / len(prompt)

    for slot in range(positions):
        core.converse(prompt[slot:slot + 1], _WARM_UP + tokens, slot)
    # A prompt step of each stream's own makes its first token.
    start = core.after(positions * _WARM_UP)
    streams = (core.after(positions * tokens) - start) / (positions * tokens)
    seconds = time.process_time() - began[0]
    return Rates(positions, decode, prefill, len(prompt), streams,
                 (core.machine.total_cycles - began[1]) / seconds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directories", metavar="DIR", nargs="+",
                        help="image directories, from the assembler")
    parser.add_argument("--memory", metavar="KIND", choices=("sdram", "plain", *sdram_parts.PARTS),
                        help="as in perf (default: sdram where the board has one)")
    parser.add_argument("--tokens", type=positive(int), default=4, metavar="N",
                        help="tokens of each stream to measure (default: %(default)s)")
    parser.add_argument("--chunks", type=positive(int), default=4, metavar="N",
                        help="length of the prompt, in times the positions (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page there")


_PAGE = """\
# What positions bring

{made}

One pass over the weights serves as many tokens as the machine has positions: those of a prompt, or
one of each stream. Measured in the RTL with the board's SDRAM, its controller and refreshes, in
steady state: one stream; a prompt, from its first word to the token sampled after it; a stream in
every position. *simulated*: what Verilator does in a second of processor time.

| model | machine | positions | one stream | prompt | | all streams | | simulated |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""


def _cells(rates: Rates, clock: int) -> list[str]:
    def rate(cycles: float) -> str:
        return f"{clock * 1e6 / cycles:,.0f} tokens/s"

    return [str(rates.positions), rate(rates.decode),
            f"{rate(rates.prompt)} ({rates.prompt_tokens} tokens)", f"{rates.prefill_gain:.2f} x",
            rate(rates.streams), f"{rates.streams_gain:.2f} x",
            f"{rates.simulated:,.0f} cycles/s"]


def run(args: argparse.Namespace) -> None:
    if args.report:
        disk.has_folder(args.report)
    found, lines = [], []
    table = Table("model", "machine", "pos.", "one stream", "prompt", "", "all streams", "",
                  "simulated", box=None, pad_edge=False)
    loaded = [(directory, images.load(directory)) for directory in args.directories]
    try:
        for directory, image in loaded:
            target = image.manifest.get("target")
            if target not in CLOCK_MHZ:
                raise TernError(f"{directory}: made for no known board")
            memory, clock = chosen_memory(target, args.memory), CLOCK_MHZ[target]
            rates = measure(image, tokens=args.tokens, chunks=args.chunks,
                            **machine_options(target, memory))
            name = model_name(image)
            found.append({"model": name, "target": target, "digest": image.config.digest,
                          "memory": BOARDS.get(memory, memory) if memory else "plain",
                          "controller": memory, "clock_mhz": clock, **asdict(rates),
                          "prefill_gain": rates.prefill_gain, "streams_gain": rates.streams_gain})
            cells = [name, f"{target}, {memory_name(memory)}", *_cells(rates, clock)]
            table.add_row(*map(terminal.markup, cells))
            lines.append("| " + " | ".join(cells) + " |\n")
    finally:                # print what was measured, even after an error
        if found and args.json:
            print(json.dumps(found, indent=1))
        elif found:
            Console().print(table)
    if args.report:
        write_report(args.report, _PAGE.format(made=made_by("make positions")) + "".join(lines),
                     rows=found)
