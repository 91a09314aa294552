"""Compare the RTL with the golden machine after every instruction: registers, tokens, memory.

When both wait or have halted, the checksum of the weight streams is compared, too.
"""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.files import image as images
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl.machine import RtlMachine


__all__ = ["HELP", "EXAMPLE", "Difference", "Lockstep", "add_arguments", "run"]


HELP = "compare the RTL with the golden machine after every instruction"
EXAMPLE = "python -m sim lockstep build/stories --tokens 2 --ids 1,5,9"


@dataclass(frozen=True)
class Difference:
    """The first place where the two machines differ.

    ``instruction``: the number of the instruction after which they differ. ``line`` and ``text``:
    its line in ``program.tasm``, if known. ``count``: instructions executed before it. ``where``
    names register, position and element; ``rtl`` and ``golden`` are the two values.
    """
    instruction: int
    count: int
    line: int | None
    text: str
    where: str
    rtl: object
    golden: object

    def __str__(self) -> str:
        line = "" if self.line is None else f", program.tasm line {self.line}"
        return (f"after instruction {self.instruction}{line} (executed before it: {self.count})\n"
                f"    {self.text.strip()}\n{self.where}: rtl {self.rtl}, golden {self.golden}")


class Lockstep:
    """The RTL and the golden machine, which execute the same instructions.

    Parameters
    ----------
    image : assembler.files.image.Image
    options
        Options of :class:`sim.rtl.machine.RtlMachine`, such as those of the memory model.

    Members
    -------
    rtl, golden
        The machines.
    count : int
        Instructions that both have executed.
    """
    def __init__(self, image: Image, **options: Any) -> None:
        self.image = image
        self.golden = Machine(image)
        self.rtl = RtlMachine(image, single_step=True, **options)
        self.count = 0

    def send(self, words: Iterable[int]) -> None:
        """Send message words from the host to both machines."""
        words = list(words)
        self.golden.send(words)
        self.rtl.send(words)

    def run(self, on_token: Callable[[int], object] | None = None) -> Difference | None:
        """Step until both wait or halt; returns the first :class:`Difference`, or None.

        ``on_token(word)`` is called with every word to the host.
        """
        heard = len(self.golden.tokens)
        while True:
            pc = self.golden.pc
            golden, rtl = self.golden.step(), self.rtl.step()
            found = self._compare(golden, rtl)
            if found:
                return self._difference(pc, *found)
            if golden != "running":
                return None
            self.count += 1
            for word in self.golden.tokens[heard:]:
                if on_token:
                    on_token(word)
            heard = len(self.golden.tokens)

    def _compare(self, golden_status: str, rtl_status: str) -> tuple[str, object, object] | None:
        """(where, rtl, golden) of the first difference, or None."""
        golden, rtl = self.golden, self.rtl
        if golden_status != rtl_status:
            return "status", rtl_status, golden_status
        if rtl.pc != golden.pc:
            return "pc", rtl.pc, golden.pc
        for name in ("v", "q", "s"):
            ours, theirs = getattr(rtl, name), getattr(golden, name)
            if not np.array_equal(ours, theirs):
                place = tuple(int(i) for i in np.argwhere(ours != theirs)[0])
                element = f", element {place[2]}" if len(place) > 2 else ""
                return (f"{name}{place[0]}, position {place[1]}{element}", ours[place],
                        theirs[place])
        for n, (a, b) in enumerate(zip(rtl.r, golden.r)):
            if a != b:
                return f"r{n}", a, b
        if golden_status != "running":
            self.rtl.settle()
            # The core fetches ahead, and may have fetched the rest of a stream taken in part.
            if (sums := self.rtl.sums) not in golden.weights.sums_ahead():
                return "checksum of the weight streams", sums, golden.sums
        return self._compare_words(golden_status != "running")

    def _compare_words(self, whole: bool) -> tuple[str, object, object] | None:
        """Compare the tokens so far. With ``whole``, also their number, and the memory."""
        ours, theirs = self.rtl.tokens, self.golden.tokens
        for n, (a, b) in enumerate(zip(ours, theirs)):
            if a != b:
                return f"token word {n}", f"{a:#010x}", f"{b:#010x}"
        if len(ours) > len(theirs) or whole and len(ours) < len(theirs):
            return "number of token words", len(ours), len(theirs)
        if len(theirs) > self._checked or whole:
            self._checked = len(theirs)
            size = len(self.golden.memory)
            memory = self.rtl.memory[:size]
            if not np.array_equal(memory, self.golden.memory):
                byte = int(np.argmax(memory != self.golden.memory))
                return (f"memory byte {byte:#x} (word {byte // self.image.config.word_bytes:#x})",
                        int(memory[byte]), int(self.golden.memory[byte]))
        return None

    _checked = 0                # token words after which memory was compared

    def _difference(self, pc: int, where: str, rtl: object, golden: object) -> Difference:
        lines = self.image.manifest.get("lines", [])
        line = lines[pc] if pc < len(lines) else None
        source = self.image.files.get(images.PROGRAM, b"").decode("utf-8", "replace").splitlines()
        text = source[line - 1] if line and line <= len(source) else ""
        return Difference(pc, self.count, line, text, where, rtl, golden)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--tokens", type=host.parse_count, default=4, metavar="N",
                        help="tokens to generate (default: 4)")
    parser.add_argument("--ids", type=host.parse_ids, default=None, metavar="1,5,9",
                        help="prompt (default: as many ids as the machine has positions)")
    parser.add_argument("--seed", type=int, default=0, help="of the memory model's gaps")


def run(args: argparse.Namespace) -> int:
    console = Console()
    image = images.load(args.directory)
    pair = Lockstep(image, seed=args.seed)
    ids = args.ids or list(range(1, 2 + image.config.positions))
    pair.send(host.conversation(image.config, ids, args.tokens))
    difference = pair.run(lambda word: console.print(
        f"token {word & 0xffffff} after {pair.count} instructions: equal"))
    if difference:
        console.print(f"[red]different[/] {terminal.markup(difference)}", highlight=False)
        return 1
    console.print(f"equal: {pair.count} instructions, all registers after each, memory after "
                  f"each token")
    return 0
