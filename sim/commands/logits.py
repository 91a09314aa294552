"""Logits of whole sequences from any engine, written to an array file."""

import argparse
from pathlib import Path
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.console import terminal
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.sim import engines
from tern_fpga.sim.host import progress_bar


__all__ = ["HELP", "EXAMPLE", "add_arguments", "run", "read_ids"]


_MOST_IDS = 1 << 28        # bytes of the largest array file that is read
_IDS = re.compile(rb"\{'descr': ?'([<|>][iu][1248])', ?'fortran_order': ?(True|False), ?"
                  rb"'shape': ?\((\d{1,15}), ?(\d{1,15})\),? ?\}\s*")


HELP = "logits after every token of given sequences"
EXAMPLE = "python -m sim logits build/stories --ids ids.npy -o logits.npy"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", help="image directory, from the assembler")
    parser.add_argument("--ids", required=True, metavar="IDS.npy",
                        help="(n, t) integers: n sequences of t token ids")
    parser.add_argument("-o", "--output", required=True, metavar="LOGITS.npy",
                        help="takes (n, t, vocabulary) float32")
    engines.add_argument(parser)


def read_ids(path: Path | str) -> NDArray[np.integer[Any]]:
    """The (n, t) integers of an array file; TernError if it holds anything else.

    NumPy's own reader is not used, because it evaluates the header as Python, and also reads
    archives and pickles.
    """
    data = disk.read(path, _MOST_IDS)
    length = int.from_bytes(data[8:10], "little")
    header = data[10:10 + length]
    if data[:7] != b"\x93NUMPY\x01" or not header.startswith(b"{'descr'"):
        raise TernError(f"{path}: not an array file of NumPy (.npy)")
    match = _IDS.fullmatch(header)
    if not match:
        found = header.decode("ascii", "replace").strip()
        raise TernError(f"{path}: expected integers in the shape (n, t), found {found}")
    dtype, n, t = np.dtype(match[1].decode()), int(match[3]), int(match[4])
    if n * t * dtype.itemsize != len(data) - 10 - length:
        raise TernError(f"{path}: truncated or damaged: {len(data) - 10 - length} bytes for "
                        f"{n} x {t} numbers of {dtype.itemsize}")
    ids = np.frombuffer(data, dtype, offset=10 + length)
    return ids.reshape((n, t), order="F" if match[2] == b"True" else "C")


def run(args: argparse.Namespace) -> None:
    ids = read_ids(args.ids)
    engine = engines.load(args.directory, args.engine, logits=True)
    engine.check(ids, args.ids)
    disk.has_folder(args.output)
    out = np.empty((*ids.shape, engine.vocabulary), np.float32)
    with progress_bar() as progress:
        task = progress.add_task("tokens", total=ids.size)
        for row, sequence in enumerate(ids):
            t = 0
            for chunk in engine.logits(sequence, batch=engine.image.config.positions):
                out[row, t:t + len(chunk)] = chunk
                t += len(chunk)
                progress.advance(task, len(chunk))
    disk.write(args.output, lambda file: np.save(file, out))
    print(f"{terminal.shown(args.output)}: {' x '.join(map(str, out.shape))} float32")
