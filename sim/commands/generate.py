"""Continue prompts, token by token, on any engine."""

import argparse
from collections.abc import Callable, Iterator, Sequence
import sys
import time
from typing import Protocol, TypeVar

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.contract import sampling
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import tokenizer
from tern_fpga.sim import engines, host
from tern_fpga.sim.engines import Token


__all__ = ["HELP", "EXAMPLE", "TextStream", "IdStream", "positive", "add_arguments", "run"]


HELP = "continue a prompt"
EXAMPLE = 'python -m sim generate build/stories --prompt "Once upon a time" --tokens 64'


N = TypeVar("N", int, float)


class TextStream(Protocol):
    """Makes the text of a stream from its tokens: see :func:`assembler.console.terminal.stream`."""
    def push(self, token: int) -> str:
        """The text that is complete with ``token``."""

    def flush(self) -> str:
        """The rest of the text, after the last token."""


def positive(kind: Callable[[str], N]) -> Callable[[str], N]:
    """A parser of options that must be a positive ``kind``, int or float."""
    def parse(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            value = kind("0")
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
        return value
    return parse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", action="append", metavar="TEXT",
                        type=terminal.typed,
                        help="text to continue; several give independent streams")
    prompt.add_argument("--ids", action="append", type=host.parse_ids, metavar="1,5,9",
                        help="token ids to continue, and ids come out; may be given several "
                             "times too")
    parser.add_argument("--tokens", type=host.parse_count, default=32, metavar="N",
                        help="tokens to sample for each prompt (default: 32)")
    parser.add_argument("--ignore-eos", action="store_true",
                        help="go on after the model's end-of-sequence tokens")
    sampling.add_arguments(parser)
    engines.add_argument(parser)


class IdStream:
    """Ids as text in the format of ``--ids``."""
    def __init__(self, comma: str = "") -> None:
        self._comma = comma

    def push(self, token: int) -> str:
        text, self._comma = f"{self._comma}{token}", ","
        return text

    def flush(self) -> str:
        return ""


def _prompts(args: argparse.Namespace, engine: engines.Engine
             ) -> tuple[list[list[int]], list[str], Sequence[TextStream]]:
    """(prompts as ids, their text for a terminal, a TextStream for each)."""
    if args.ids:
        return args.ids, [""] * len(args.ids), [IdStream() for _ in args.ids]
    words = tokenizer.load(engine.image)
    if words is None:
        raise TernError(f"{args.directory}: the model has no tokenizer; give --ids")
    prompts = [words.encode(text) for text in args.prompt]
    return (prompts, [terminal.shown(text) for text in args.prompt],
            [terminal.stream(words, ids) for ids in prompts])


def _show_one(tokens: Iterator[Token], text: str, stream: TextStream) -> None:
    """Write the text of a single stream, token by token."""
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    write(text)
    for token in tokens:
        write(stream.push(token.id))
    write(stream.flush() + "\n")


def _show_many(tokens: Iterator[Token], texts: list[str], streams: Sequence[TextStream]) -> None:
    """Show several streams: a terminal shows all as they grow, other outputs each at its end."""
    console = Console()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for token in tokens:
            texts[token.stream] += streams[token.stream].push(token.id)
            if token.last:
                texts[token.stream] += streams[token.stream].flush()
                if not console.is_terminal:
                    print(f"[{token.stream}] {texts[token.stream]}", flush=True)
            elif console.is_terminal:
                live.update(Text("\n".join(f"[{n}] {t}" for n, t in enumerate(texts))),
                            refresh=True)
    if console.is_terminal:
        for n, text in enumerate(texts):
            print(f"[{n}] {text}")


def run(args: argparse.Namespace) -> None:
    choice = sampling.from_arguments(args)
    engine = engines.load(args.directory, args.engine)
    prompts, texts, streams = _prompts(args, engine)
    came: list[tuple[float, int | None]] = []           # (time, cycles) of each token

    def tokens() -> Iterator[Token]:
        ends = () if args.ignore_eos else engine.ends
        for token in engine.generate(prompts, args.tokens, ends=ends, sampling=choice):
            came.append((time.monotonic(), token.cycles))
            yield token

    start = time.monotonic()
    if len(prompts) == 1:
        _show_one(tokens(), texts[0], streams[0])
    else:
        _show_many(tokens(), list(texts), streams)
    _summary(came, start, sum(map(len, prompts)))


def _summary(came: list[tuple[float, int | None]], start: float, prompt: int) -> None:
    seconds = came[-1][0] - start
    line = f"{prompt} prompt tokens, {len(came)} sampled in {seconds:.1f} s"
    first, last = came[0][1], came[-1][1]
    if first is not None and last is not None and len(came) > 1:
        line += f"; {(last - first) / (len(came) - 1):,.0f} cycles a sampled token"
    print(line, file=sys.stderr)
