"""Perplexity of a text, from any engine."""

import math

import numpy as np
from rich.console import Console
from rich.progress import Progress

from assembler import tokenizer
from assembler.errors import TernError
from sim import engines


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run", "surprisal"]


HELP = "how well a model predicts a text"
EXAMPLE = "python -m sim perplexity build/stories --text story.txt --limit 512"


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--text", required=True, metavar="FILE", help="UTF-8 text")
    parser.add_argument("--limit", type=int, metavar="N",
                        help="read only the first N tokens (default: all)")
    parser.add_argument("--context", type=int, metavar="N",
                        help="forget everything after every N tokens (default: never)")
    engines.add_argument(parser)


def surprisal(logits, targets):
    """-ln p(target) of each row. ``logits``: (n, vocabulary), ``targets``: (n,) -> (n,)."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    total = np.log(np.exp(shifted).sum(-1))
    return total - np.take_along_axis(shifted, np.asarray(targets)[:, None], -1)[:, 0]


def _read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise TernError(f"{path}: not UTF-8 text (byte {error.start})") from None


def run(args):
    for name in ("limit", "context"):
        if getattr(args, name) is not None and getattr(args, name) < 2:
            raise TernError(f"--{name} must be at least 2, not {getattr(args, name)}")
    text = _read(args.text)
    engine = engines.load(args.directory, args.engine, logits=True)
    words = tokenizer.load(engine.image)
    if words is None:
        raise TernError(f"{args.directory}: the model has no tokenizer")
    ids = np.array(words.encode(text)[:args.limit], np.int64)
    if len(ids) < 2:
        raise TernError(f"{args.text}: needs at least two tokens")
    engine.check(ids, args.text)
    total = count = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("tokens", total=len(ids))
        for start in range(0, len(ids), args.context or len(ids)):
            part = ids[start:start + (args.context or len(ids))]
            t = 0
            for logits in engine.logits(part):
                targets = part[t + 1:t + 1 + len(logits)]       # the last token has none
                total += surprisal(logits[:len(targets)], targets).sum()
                count += len(targets)
                t += len(logits)
                progress.advance(task, len(logits))
    print(f"perplexity {math.exp(total / count):.3f} over {count} tokens "
          f"({total / count / math.log(2):.3f} bits a token)")
