"""Command line of the compiler and the assembler."""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from tern_fpga.assembler.errors import TernError, as_typed, missing


try:
    from tern_fpga.assembler.asm import text
    from tern_fpga.assembler.compiler.compile import compile_model
    from tern_fpga.assembler.compiler.export import export
    from tern_fpga.assembler.compiler.report import summary
    from tern_fpga.assembler.console import machines, terminal
    from tern_fpga.assembler.console.commands import Parser
    from tern_fpga.assembler.contract import isa
    from tern_fpga.assembler.contract.config import PRESETS
    from tern_fpga.assembler.files import disk, image
    from tern_fpga.assembler.files.checkpoint import SINGLE, Checkpoint
except ModuleNotFoundError as error:
    sys.exit(missing(error))


if TYPE_CHECKING:
    from rich.progress import Progress


__all__ = ["main"]


_DEFAULT_TARGET = "sim-tiny"
_EXAMPLES = """\
examples:
  python -m assembler tests/data/mmf-tiny-a -o build/tiny --target ulx3s-85f
  python -m assembler firmware/memory.tasm -o build/memory.bin
  python -m assembler --disassemble build/tiny/image.bin
  python -m assembler --export-ternary tests/data/mmf-tiny-a build/tiny-packed

MODEL is a checkpoint folder, its config.json, or a model.json: a config.json that may also name
`weights`, `tokenizer` and `target`.
"""
_WORD_BYTES = isa.WORD_BITS // 8
_MAX_SOURCE = 1 << 20      # bytes of program text; the longest program has 4096 instructions
_MAX_WORDS = 1 << 14       # most instructions that are disassembled


def _assemble(args: argparse.Namespace) -> None:
    config = machines.chosen(args.target or _DEFAULT_TARGET, args.set)
    source = disk.read_text(args.source, _MAX_SOURCE)
    program = text.assemble(source, config, args.source)
    output = args.output or Path(args.source).with_suffix(".bin")
    disk.write(output, b"".join(w.to_bytes(_WORD_BYTES, "little") for w in program.words))
    print(f"{terminal.shown(output)}: {len(program.words)} instructions")


def _disassemble(args: argparse.Namespace) -> None:
    path = Path(args.source)
    folder = path.parent if path.name in (image.BINARY, image.MANIFEST) else path
    if path.is_dir() or (folder / image.BINARY).exists() and (folder / image.MANIFEST).exists():
        loaded = image.load(folder)
        words, config = loaded.instructions(), loaded.config
    else:
        data = disk.read(path, _MAX_WORDS * _WORD_BYTES)
        if len(data) % _WORD_BYTES:
            raise TernError(f"{path}: {len(data)} bytes are no whole number of instructions of "
                            f"{_WORD_BYTES} bytes")
        config = machines.chosen(args.target or _DEFAULT_TARGET, args.set)
        words = [int.from_bytes(data[n:n + _WORD_BYTES], "little")
                 for n in range(0, len(data), _WORD_BYTES)]
    source = text.disassemble(words, config)
    if args.output:
        disk.write_text(args.output, source)
    else:
        sys.stdout.write(source)


def _bar() -> "Progress":
    """A progress bar on standard error."""
    # rich is slow to import, and assembling does not need it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    return Progress(TextColumn("{task.description:<36}"), BarColumn(),
                    TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn(),
                    console=console, transient=True, disable=not console.is_terminal)


def _weights(checkpoint: Checkpoint) -> int:
    """Number of weights in the matrices: most of the time of a compilation is spent on them."""
    return sum(t.count for key, t in checkpoint.tensors.items()
               if len(t.shape) == 2 and "embeddings" not in key and "bounds" not in key)


def _export(source: str, directory: str) -> None:
    checkpoint = Checkpoint(source)
    with _bar() as bar:
        task = bar.add_task("", total=_weights(checkpoint))
        wide = export(checkpoint, directory, lambda done, what: bar.update(
            task, completed=done, description=what))
    size = (Path(directory) / SINGLE).stat().st_size
    note = f", but {len(wide)} tensors that bf16 would change" if wide else ""
    print(f"{terminal.shown(directory)}: {size:,} bytes; matrices as packed trits, all else in "
          f"bf16{note}")


def _compile(args: argparse.Namespace) -> None:
    checkpoint = Checkpoint(args.source)
    name = args.target or checkpoint.config.get("target") or _DEFAULT_TARGET
    config = machines.chosen(name, args.set)
    output = Path(args.output or Path("build") / disk.model_name(checkpoint.path))
    if disk.is_model(output):
        raise TernError(f"{output}: is the folder of a model; name another with -o")
    image.check_folder(output)
    disk.can_be_folder(output)
    total = _weights(checkpoint)
    with _bar() as bar:
        task = bar.add_task("", total=total)
        compiled = compile_model(checkpoint, config, name, lambda done, what: bar.update(
            task, completed=done, description=what))
        bar.update(task, completed=total, description=terminal.markup(f"writing {output}"))
        compiled.save(output)
    print(terminal.shown(as_typed("\n".join(summary(compiled, output)))))


def main(argv: Sequence[str] | None = None, prog: str = "python -m assembler") -> None:
    """Run the command line."""
    parser = Parser(
        prog=prog, epilog=as_typed(_EXAMPLES),
        description="Compile a model into an image, or assemble and disassemble programs.",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="MODEL | FILE.tasm | FILE.bin", nargs="?",
                        help="a model, a program as text, or (with --disassemble) as words")
    parser.add_argument("-o", "--output", metavar="PATH",
                        help="the image directory (default: build/NAME), or the file to write")
    parser.add_argument("--target", metavar="BOARD",
                        help=f"{', '.join(PRESETS)} (default: the model's own, or "
                             f"{_DEFAULT_TARGET})")
    machines.add_set(parser, "change parameters of the target, for experiments")
    parser.add_argument("--disassemble", action="store_true",
                        help="show the program in a .bin file or an image's folder")
    parser.add_argument("--export-ternary", nargs=2, metavar=("MODEL", "DIR"),
                        help="write a copy of a checkpoint with its matrices as packed trits, "
                             "which compiles to the same image")
    args = parser.parse_args(argv)
    if args.export_ternary:
        if args.source:
            parser.error("--export-ternary takes MODEL and DIR, and nothing else")
        return _export(*args.export_ternary)
    if not args.source:
        machines.changes(args.set)              # it may have taken the name
        parser.error("name a MODEL, FILE.tasm or FILE.bin")
    if args.disassemble:
        return _disassemble(args)
    if Path(args.source).suffix == ".tasm":
        return _assemble(args)
    return _compile(args)
