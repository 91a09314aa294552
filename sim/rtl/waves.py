"""Waveforms of the simulated core: selection of cycles and blocks, and views.

A view for GTKWave (``gtkwave FILE.gtkw``) and one for Surfer (``surfer -c FILE.sucl FILE.fst``) are
written beside FILE.fst or FILE.vcd. They show the clock, the program counter with names of
instructions, and for each block its state machines and the handshakes of its streams. The names are
in FILE.names for GTKWave, and in ``.surfer/mappings`` for Surfer, which looks for this folder where
it is started.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
import re
import tempfile

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim.rtl import hardware
from tern_fpga.sim.rtl.trace import names, write_names


__all__ = ["Waves", "add_arguments", "from_arguments", "blocks_of"]


View = dict[str, list[tuple[str, int]]]         # title: [(signal, bits)]

FORMATS = ("fst", "vcd")
_END    = (1 << 64) - 1
_TOP    = "top.harness"                 # scope of sim/rtl/harness.v, as harness.cpp names it
_CORE   = f"{_TOP}.top.core"
_MEMORY = "memory"                      # scope in sim/rtl/top.v: the model, with its controller
_PC     = f"{_CORE}.sequencer.pc"
_STATE  = "fsm_state"                   # Amaranth's name of a state machine's register


@dataclass
class Waves:
    """Selection of waveforms, and their file.

    Parameters
    ----------
    path : Path
        File, which ends in .fst or .vcd for the format.
    window : dict
        First and last of each kind of KINDS. Writing starts in the first cycle in which all kinds
        are in their range, and ends when one leaves it. ``cycles``: number since reset. ``tokens``:
        number from 1; a token lasts from the cycle after the previous token's word to the cycle of
        its own word. ``instructions``: number of the instruction in the sequencer. Empty: all.
    blocks : tuple of str
        Names of blocks, see :func:`blocks_of`; empty: all.

    Members
    -------
    scopes : list of str
        Scopes to write, each as ``LEVELS SCOPE``; empty: all. Set by :meth:`check`.
    begun, cycles : int
        First cycle that was written, and number of cycles, after the machine is closed.
    """
    KINDS = ("cycles", "tokens", "instructions")        # as in sim/rtl/harness.cpp

    path: Path
    window: dict[str, tuple[int, int]] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    scopes: list[str] = field(default_factory=list)
    begun: int = 0
    cycles: int = 0

    @property
    def format(self) -> str:
        """``fst`` or ``vcd``."""
        return self.path.suffix[1:]

    def limits(self, kind: str) -> tuple[int, int]:
        """First and last of a kind."""
        return self.window.get(kind, (0, _END))

    def check(self, image: Image) -> None:
        """Raise TernError if a block or instruction does not exist, or the file cannot be
        written."""
        first, _ = self.limits("instructions")
        if first >= image.program_length:
            raise TernError(f"no instruction {first}: the program has {image.program_length}")
        chosen = blocks_of(image.config, self.blocks)
        self.scopes = []
        if chosen:
            self.scopes = [f"1 {_TOP}", f"99 {_PC}", *(f"99 {_scope(each)}" for each in chosen)]
        try:
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass
        except OSError as error:
            raise TernError(f"{self.path}: cannot write: {error.strerror}") from None

    def finish(self, begun: int, cycles: int, total: int, failed: bool = False) -> None:
        """Record that the machine has written ``cycles`` of ``total`` cycles, from ``begun`` on.

        Raises TernError if there are none, or if writing ``failed``.
        """
        self.begun, self.cycles = begun, cycles
        if not cycles:
            self.path.unlink(missing_ok=True)
            asked = " ".join(f"{kind}={first}:{last}"
                             for kind, (first, last) in self.window.items())
            raise TernError(f"{self.path}: nothing to write: the run has no cycle in the window "
                            f"{asked}, and ended after {total:,} cycles")
        try:
            with self.path.open("rb") as file:
                failed |= not any(file.read(9))     # FST writes its header last
        except OSError:
            failed = True
        if failed:
            self.path.unlink(missing_ok=True)
            raise TernError(f"{self.path}: cannot write: is the disk full?")

    def write_views(self, image: Image) -> list[Path]:
        """Write the views and the files with names of instructions; returns their paths."""
        view = _view(image.config, self.blocks)
        bits = dict(view["program"])[_PC]
        write_names(image, self.path, bits)
        translate = self.path.with_suffix(".names")
        views = {self.path.with_suffix(".gtkw"): _gtkwave(self.path, translate, view),
                 self.path.with_suffix(".sucl"): _surfer(self.path.stem, view),
                 self.path.parent / ".surfer" / "mappings" / f"{self.path.stem}.txt":
                     _mapping(self.path.stem, image, bits)}
        for path, text in views.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise TernError(f"{path.parent}: cannot make: {error.strerror}") from None
            disk.write_text(path, text)
        return [translate, *views]


def _modules(config: Config) -> dict[str, dict[str, int]]:
    """{block: {signal: bits}} of the core and all blocks in it. Blocks are named by their path in
    the core, which itself is ""."""
    found: dict[str, dict[str, int]] = {}
    signals: dict[str, int] = {}
    for line in hardware.verilog(config).splitlines():
        if match := re.match(r"module \\?core(?:\.(\S+))?[ (]", line):
            signals = found.setdefault(match[1] or "", {})
        elif match := re.match(r"  (?:input|output|wire|reg) (?:\[(\d+):0\] )?(\w+)[ ;]", line):
            signals[match[2]] = int(match[1] or 0) + 1
    return found


def _bare(block: str) -> str:
    """A block's path without the numbers that Amaranth adds to make names unique."""
    return re.sub(r"\$\d+", "", block)


def blocks_of(config: Config, wanted: Sequence[str]) -> list[str]:
    """Paths of blocks in the core.

    ``wanted``: names, each the path of a block (``array.drain``) or its end (``drain``), or
    ``memory``, which is outside the core. Raises TernError if a name fits no block, or several.
    """
    paths = [path for path in _modules(config) if path] if wanted else []
    chosen = []
    for name in wanted:
        found = [_MEMORY] if name == _MEMORY else [
            path for path in paths if _bare(path) == name] or [
            path for path in paths if _bare(path).endswith(f".{name}")]
        if len(found) > 1:
            raise TernError(f"several blocks are called {name}: "
                            f"{', '.join(map(_bare, found))}")
        if not found:
            top = sorted({_bare(path) for path in paths if "." not in path} | {_MEMORY})
            raise TernError(f"no block {name!r}; there are {', '.join(top)}, and those in them, "
                            "such as array.drain")
        chosen += found
    return chosen


def _scope(block: str) -> str:
    """The scope of a block in the simulation."""
    return f"{_TOP}.top.{_MEMORY}" if block == _MEMORY else f"{_CORE}.{block}"


def _view(config: Config, wanted: Sequence[str]) -> View:
    """The signals of a view."""
    modules, chosen = _modules(config), blocks_of(config, wanted)
    view = {"clock": [(f"{_TOP}.clk", 1), (f"{_TOP}.rst", 1)],
            "program": [(_PC, modules["sequencer"]["pc"])]}
    for block in sorted(path for path in modules if path and "." not in path):
        inner = [path for path in modules if path == block or path.startswith(f"{block}.")]
        inner = [path for path in inner if not chosen
                 or any(path == each or path.startswith(f"{each}.") for each in chosen)]
        signals = [(f"{_CORE}.{path}.{_STATE}", modules[path][_STATE])
                   for path in inner if _STATE in modules[path]]
        if block in inner:
            signals += [(f"{_CORE}.{block}.{name}", 1) for name in modules[block]
                        if re.fullmatch(r"\w+__(valid|ready)", name)]
        if signals:
            view[block] = signals
    return view


# Flags of lines in GTKWave's save files: hexadecimal, binary, translated by a file, begin and end
# of a group.
_HEX, _BITS, _NAMED, _GROUP, _END_GROUP = 0x22, 0x28, 0x2022, 0x800200, 0x1000200


def _gtkwave(path: Path, translate: Path, view: View) -> str:
    lines = ["[*] made by python -m sim perf --waves", f'[dumpfile] "{path.resolve()}"']
    for title, signals in view.items():
        lines += [f"@{_GROUP:x}", f"-{title}"]
        for name, bits in signals:
            if name == _PC:
                lines += [f"@{_NAMED:x}", f"^1 {translate.resolve()}"]
            else:
                lines.append(f"@{_BITS if bits == 1 else _HEX:x}")
            lines.append(name if bits == 1 else f"{name}[{bits - 1}:0]")
        lines += [f"@{_END_GROUP:x}", f"-{title}"]
    return "\n".join(lines) + "\n"


def _surfer(stem: str, view: View) -> str:
    lines, count = [], 0
    for title, signals in view.items():
        lines.append(f"divider_add {title}")
        count += 1
        for name, _ in signals:
            lines.append(f"variable_add {name}")
            if name == _PC:             # items have hexadecimal numbers with digits a to p
                number = "".join(chr(ord("a") + int(digit, 16)) for digit in f"{count:x}")
                lines += [f"item_focus {number}", f"item_set_format {stem}", "item_unfocus"]
            count += 1
    return "\n".join([*lines, "zoom_fit"]) + "\n"


def _mapping(stem: str, image: Image, bits: int) -> str:
    lines = [f"{pc} {pc} {name}" for pc, (name, *_) in enumerate(names(image))]
    return "\n".join([f"Name = {stem}", f"Bits = {bits}", *lines]) + "\n"


def _file(text: str) -> Path:
    """Parse the name of a waveform file."""
    path = Path(text)
    if path.suffix[1:] not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} ends neither in .fst nor in .vcd")
    return path


def _window(text: str) -> tuple[str, tuple[int, int]]:
    """Parse ``KIND=FIRST:LAST`` or ``KIND=N`` as (kind, (first, last))."""
    match = re.fullmatch(rf"({'|'.join(Waves.KINDS)})=(\d{{1,18}})(?::(\d{{1,18}}))?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is not tokens=N, or FIRST:LAST of "
                                         f"{', '.join(Waves.KINDS)}")
    first, last = int(match[2]), int(match[3] or match[2])
    if last < first or (match[1], first) == ("tokens", 0):
        raise argparse.ArgumentTypeError(f"{text!r}: from 1 on" if not first else
                                         f"{text!r} ends before it begins")
    return match[1], (first, last)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--waves", type=_file, metavar="FILE.fst",
                        help="write waveforms (.fst, or .vcd, which is larger), views of them for "
                             "GTKWave and Surfer, and FILE.names with the instructions' names")
    parser.add_argument("--window", type=_window, action="append", default=[],
                        metavar="KIND=FIRST:LAST",
                        help="waveforms of these only: tokens=3, cycles=1000:1999, "
                             "instructions=40:60; if repeated, where all hold (default: all)")
    parser.add_argument("--blocks", metavar="A,B", type=lambda text: tuple(text.split(",")),
                        help="waveforms of these blocks only, such as sequencer,array.drain,memory "
                             "(default: all)")


def from_arguments(args: argparse.Namespace) -> Waves | None:
    """The :class:`Waves` that the arguments ask for, or None."""
    if args.waves is None:
        if args.window or args.blocks:
            raise TernError("--window and --blocks say what --waves writes; give --waves FILE.fst")
        return None
    window = dict(args.window)
    if len(window) < len(args.window):
        raise TernError("--window: the same kind twice")
    return Waves(args.waves, window, args.blocks or ())
