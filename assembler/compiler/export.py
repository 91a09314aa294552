"""Writes a checkpoint in its compact form: ``python -m assembler --export-ternary MODEL DIR``.

Every ternary matrix becomes packed trits and a scale (``assembler/files/ternary.py``). Every other
tensor is stored in bf16 if that changes none of its values; otherwise its format is kept. So the
copy compiles to the same image, bit for bit.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
import json
import os
from pathlib import Path
import shutil
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.compiler.compile import Progress, check_tensors, no_progress
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, ternary
from tern_fpga.assembler.files.checkpoint import BYTES, INDEX, SINGLE, Checkpoint, Tensor
from tern_fpga.assembler.models import registry
from tern_fpga.assembler.models.architecture import Architecture


__all__ = ["export"]


_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
# Files of a published checkpoint that are copied for other programs.
_COPIED = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
_HERE = ("weights", "tokenizer")        # entries of a model.json that name files elsewhere

# (name, dtype, shape, function that returns the arrays of the tensor in order)
_Entry = tuple[str, str, tuple[int, ...], Callable[[], Iterable[npt.NDArray[Any]]]]


def _fits_bf16(tensor: Tensor) -> bool:
    """Whether every value is a bf16 number."""
    return all(not (x.view(np.uint32) & np.uint32(0xffff)).any() for x in tensor.chunks())


def _as_bf16(tensor: Tensor) -> Iterator[npt.NDArray[np.uint16]]:
    for x in tensor.chunks():
        yield (x.view(np.uint32) >> np.uint32(16)).astype("<u2")


def _entries(checkpoint: Checkpoint, model: Architecture,
             progress: Progress) -> tuple[list[_Entry], list[str]]:
    """(entries of the copy's tensors, names of the tensors that bf16 would change).

    The trits of all matrices are kept, packed.
    """
    matrices, done = set(model.matrices()), 0
    wide: list[str] = []
    out: list[_Entry] = []
    for name in checkpoint.tensors:
        if name not in matrices:
            tensor = checkpoint.whole(name)
            if _fits_bf16(tensor):
                out.append((name, "BF16", tensor.shape, partial(_as_bf16, tensor)))
            else:
                out.append((name, tensor.dtype, tensor.shape, tensor.stored))
                wide.append(name)
            continue
        matrix = checkpoint.tensors[name]
        progress(done, name)
        done += matrix.count
        for part, dtype, array in ternary.parts(name, *matrix.ternary()):
            # Kept as packed bytes, a fifth of the weights' number: 0.5 GB for the largest.
            out.append((part, dtype, array.shape, partial(iter, (array,))))
    # Wide elements first, so that each is at a multiple of its size, as the format recommends.
    return sorted(out, key=lambda entry: -BYTES[entry[1]]), wide


def _write_safetensors(path: Path, entries: Iterable[_Entry]) -> None:
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, dtype, shape, _ in entries:
        end = offset + int(np.prod(shape, dtype=np.int64)) * BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for *_, read in entries:
            for array in read():
                file.write(np.ascontiguousarray(array).data)


def _config(checkpoint: Checkpoint) -> str:
    config = {k: v for k, v in checkpoint.config.items() if k not in _HERE}
    return json.dumps(config | {"quantization_config": ternary.CONFIG}, indent=1) + "\n"


def _is_ours(directory: Path) -> bool:
    """Whether the checkpoint in a folder was written by this module, so that it may be replaced."""
    config = directory / _CONFIG
    return (os.path.lexists(config)
            and disk.read_json(config).get("quantization_config") == ternary.CONFIG)


def export(checkpoint: Checkpoint, directory: Path | str,
           progress: Progress = no_progress) -> list[str]:
    """Write ``checkpoint`` to ``directory``. Files there are replaced after all new ones are
    complete.

    Parameters
    ----------
    checkpoint : assembler.files.checkpoint.Checkpoint
    directory : path
    progress : callable
        ``progress(weights done, name of the next matrix)``.

    Returns
    -------
    list of str
        Tensors that are not stored in bf16, because it would change them.

    Raises
    ------
    TernError
        The checkpoint is not a supported model or is damaged, or the directory is the
        checkpoint's own, holds another that is no copy of this kind, or cannot be written.
    """
    directory = Path(directory)
    model = registry.load(checkpoint.config, checkpoint.path)
    check_tensors(checkpoint, model)
    source = checkpoint.path.parent
    if directory.resolve() in (source.resolve(), checkpoint.path.resolve().parent):
        raise TernError(f"{directory}: is the model's own folder; name another for the copy")
    if (directory / INDEX).exists():
        raise TernError(f"{directory}: holds a checkpoint in several files; name another folder")
    if disk.is_model(directory) and not _is_ours(directory):
        raise TernError(f"{directory}: is the folder of a model; name another for the copy")
    disk.can_be_folder(directory)
    copied = [name for name in _COPIED if (source / name).is_file()]
    for name in copied:
        if not disk.inside(source / name, source):
            raise TernError(f"{source / name}: leaves the folder {source}; nothing outside of it "
                            f"is read")
    entries, wide = _entries(checkpoint, model, progress)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            _write_safetensors(part / SINGLE, entries)
            (part / _CONFIG).write_text(_config(checkpoint), encoding="utf-8")
            if checkpoint.tokenizer is not None:
                shutil.copyfile(checkpoint.tokenizer, part / _TOKENIZER)
            for name in copied:
                shutil.copyfile(source / name, part / name)
            directory.mkdir(exist_ok=True)
            for name in sorted(os.listdir(part), key=lambda name: name == _CONFIG):
                os.replace(part / name, directory / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise TernError(f"{directory}: cannot write: {error.strerror or error}") from None
    return wide
