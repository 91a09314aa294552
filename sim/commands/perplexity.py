"""Perplexity of a text from any engine, and its difference from the model in float64.

The text is cut into contiguous windows of --context tokens. Each window starts from an empty state,
and each of its tokens predicts the next one of the text. A rest shorter than a window is not
counted. Documents separated by a line <|endoftext|> end with that token, if the tokenizer has it.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, image as images, tokenizer
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim import engines
from tern_fpga.sim.engines import Floats, Ints
from tern_fpga.sim.host import progress_bar
from tern_fpga.sim.reference import model as reference


__all__ = ["HELP", "EXAMPLE", "Score", "add_arguments", "run", "read_ids", "surprisal", "windows",
           "of_engine", "of_reference"]


HELP = "how well a model predicts a text"
EXAMPLE = ("python -m sim perplexity build/stories --text models/data/harbour-tales.txt "
           "--compare models/stories-5m")

CONTEXT = 256

_AT_A_TIME = 128           # tokens in a step of a batch: more do not fit the processor's cache
_REGISTERS = 1 << 25       # elements in the registers of a batch, at most
_MOST_TEXT = 1 << 28       # bytes of the largest text that is read
_LOGITS = 1 << 23          # logits of the float64 model that are held at a time


@dataclass(frozen=True)
class Score:
    """Predictions of a model for windows of a text.

    ``surprisal``: (windows, context) float64, -ln p of each next token. ``chosen``: (windows,
    context) int64, the most likely next token.
    """
    surprisal: Floats
    chosen: Ints

    @property
    def perplexity(self) -> float:
        return math.exp(self.surprisal.mean())

    def agreement(self, other: Self) -> float:
        """Share of tokens after which both models choose the same token."""
        return float((self.chosen == other.chosen).mean())


def surprisal(logits: NDArray[np.floating[Any]], targets: Ints) -> Floats:
    """-ln p(target). ``logits``: (..., vocabulary), ``targets``: (...) int -> (...)."""
    exact = np.asarray(logits, np.float64)
    shifted = exact - exact.max(-1, keepdims=True)
    total = np.log(np.exp(shifted).sum(-1))
    return total - np.take_along_axis(shifted, np.asarray(targets)[..., None], -1)[..., 0]


def windows(ids: Ints, context: int = CONTEXT) -> tuple[Ints, Ints]:
    """(inputs, targets) of a text's tokens, (windows, context) each. A text shorter than a window
    makes one shorter window. ``ids``: (n,) int, at least two."""
    starts = np.arange(0, len(ids) - context - 1, context)
    if not len(starts):
        starts, context = np.array([0]), len(ids) - 1
    parts = ids[starts[:, None] + np.arange(context + 1)]
    return parts[:, :-1], parts[:, 1:]


def of_engine(image: Image, engine: str, inputs: Ints, targets: Ints,
              progress: Callable[[int], object] = lambda tokens: None) -> Score:
    """The :class:`Score` of an engine.

    ``inputs``, ``targets``: from :func:`windows`. ``progress`` is called with the number of tokens
    of each part.
    """
    config = image.config
    elements = config.registers * config.positions * config.register_elements
    copies = max(1, min(len(inputs), _AT_A_TIME // config.positions, _REGISTERS // elements))
    machine = engines.start(image, engine, logits=True, copies=copies)
    score = Score(np.empty(inputs.shape), np.empty(inputs.shape, np.int64))
    for rows, columns, logits, chosen in machine.predict_all(inputs):
        score.surprisal[rows, columns] = surprisal(logits, targets[rows, columns])
        score.chosen[rows, columns] = chosen
        progress(chosen.size)
    return score


def of_reference(path: Path | str, inputs: Ints, targets: Ints,
                 progress: Callable[[int], object] = lambda tokens: None) -> Score:
    """The :class:`Score` of a checkpoint's equations in float64; arguments as of
    :func:`of_engine`."""
    model = reference.load(path)
    if inputs.max(initial=0) >= model.vocabulary:
        raise TernError(f"{path}: has {model.vocabulary} tokens, and the text id {inputs.max()}")
    score = Score(np.empty(inputs.shape), np.empty(inputs.shape, np.int64))
    step = max(1, _LOGITS // (inputs.shape[1] * model.vocabulary))
    for start in range(0, len(inputs), step):
        rows = slice(start, start + step)
        logits = model.logits(inputs[rows])
        score.surprisal[rows] = surprisal(logits, targets[rows])
        score.chosen[rows] = logits.argmax(-1)
        progress(inputs[rows].size)
    return score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--text", required=True, metavar="FILE", help="UTF-8 text")
    parser.add_argument("--limit", type=int, metavar="N",
                        help="read only the first N tokens (default: all)")
    parser.add_argument("--context", type=int, default=CONTEXT, metavar="N",
                        help=f"tokens of a window (default: {CONTEXT})")
    parser.add_argument("--compare", metavar="MODEL",
                        help="also the float64 model of the checkpoint that the image was made "
                             "from: perplexity, and share of tokens with the same top-1")
    engines.add_argument(parser)


def read_ids(path: Path | str, words: Any) -> Ints:
    """The tokens of a text file, (n,) int; TernError if it has fewer than two. ``words``: a
    tokenizer."""
    text = disk.read_text(path, _MOST_TEXT).replace("\r", "\n")
    ids = np.array(words.encode_documents(text), np.int64)
    if len(ids) < 2:
        raise TernError(f"{path}: needs at least two tokens")
    return ids


def run(args: argparse.Namespace) -> None:
    for name in ("limit", "context"):
        least = 2 if name == "limit" else 1
        if getattr(args, name) is not None and getattr(args, name) < least:
            raise TernError(f"--{name} must be at least {least}, not {getattr(args, name)}")
    image = images.load(args.directory)
    words = tokenizer.load(image)
    if words is None:
        raise TernError(f"{args.directory}: the model has no tokenizer")
    ids = read_ids(args.text, words)[:args.limit]
    if ids.max() >= image.model()[0]:
        raise TernError(f"{args.text}: has token {ids.max()}, and the model {image.model()[0]}; "
                        f"is {args.directory}'s tokenizer of another model?")
    inputs, targets = windows(ids, args.context)
    with progress_bar() as bar:
        task = bar.add_task(args.engine, total=inputs.size)
        score = of_engine(image, args.engine, inputs, targets, lambda n: bar.advance(task, n))
        if args.compare:
            task = bar.add_task("float64 model", total=inputs.size)
            other = of_reference(args.compare, inputs, targets, lambda n: bar.advance(task, n))
    print(f"perplexity {score.perplexity:.3f} over {inputs.size} tokens in {len(inputs)} windows "
          f"({score.surprisal.mean() / math.log(2):.3f} bits a token)")
    if args.compare:
        change = score.perplexity / other.perplexity - 1
        print(f"float64 model {other.perplexity:.3f}: {args.engine} is {change:+.3%} from it, "
              f"same top-1 at {score.agreement(other):.2%} of tokens")
