"""Logits of whole sequences, from any engine, as an array file."""

import os
from pathlib import Path
import tempfile

import numpy as np
from rich.console import Console
from rich.progress import Progress

from assembler.errors import TernError
from sim import engines


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run", "read_ids", "save"]


HELP = "logits after every token of given sequences"
EXAMPLE = "python -m sim logits build/stories --ids ids.npy -o logits.npy"


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--ids", required=True, metavar="IDS.npy",
                        help="(n, t) integers: n sequences of t token ids")
    parser.add_argument("-o", "--output", required=True, metavar="LOGITS.npy",
                        help="takes (n, t, vocabulary) float32")
    engines.add_argument(parser)


def read_ids(path):
    """The (n, t) integers of an array file; TernError if it holds something else."""
    try:
        ids = np.load(path, allow_pickle=False)
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise TernError(f"{path}: not an array file of NumPy (.npy)") from None
    if not isinstance(ids, np.ndarray) or ids.ndim != 2 or ids.dtype.kind not in "iu":
        shape = f"{ids.dtype} {ids.shape}" if isinstance(ids, np.ndarray) else "an archive"
        raise TernError(f"{path}: expected integers in the shape (n, t), found {shape}")
    return ids


def save(path, array):
    """Write an array file; what was there stays whole until all is written."""
    path = Path(path)
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            np.save(file, array)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)       # mkstemp gives it to the owner only
        os.replace(part, path)
    except OSError as error:
        raise TernError(f"{path}: cannot write: {error.strerror}") from None
    finally:
        if part is not None and os.path.exists(part):
            os.unlink(part)


def run(args):
    ids = read_ids(args.ids)
    engine = engines.load(args.directory, args.engine, logits=True)
    engine.check(ids, args.ids)
    if not Path(args.output).absolute().parent.is_dir():
        raise TernError(f"{args.output}: no such folder")
    out = np.empty((*ids.shape, engine.vocabulary), np.float32)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("tokens", total=ids.size)
        for row, sequence in enumerate(ids):
            t = 0
            for chunk in engine.logits(sequence, batch=engine.image.config.positions):
                out[row, t:t + len(chunk)] = chunk
                t += len(chunk)
                progress.advance(task, len(chunk))
    save(args.output, out)
    print(f"{args.output}: {' x '.join(map(str, out.shape))} float32")
