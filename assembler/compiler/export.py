"""Writes a checkpoint in its compact form: ``python -m assembler --export-ternary MODEL DIR``.

Every ternary matrix becomes packed trits and a scale (``assembler/files/ternary.py``); every other
tensor is stored in bf16 if that changes none of its values, and as it was otherwise. So the
copy compiles to the same image, bit for bit.
"""

import json
import os
from pathlib import Path
import shutil
import tempfile

import numpy as np

from tern_fpga.assembler.compiler.compile import check_tensors
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, ternary
from tern_fpga.assembler.files.checkpoint import BYTES, INDEX, SINGLE
from tern_fpga.assembler.models import hgrn as models


__all__ = ["export"]


_CONFIG, _TOKENIZER = "config.json", "tokenizer.json"
# Of a published checkpoint, for other programs; Tern reads none of them.
_COPIED = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
_HERE = ("weights", "tokenizer")        # entries of a model.json that name files elsewhere


def _fits_bf16(tensor):
    """Whether every value is a bf16 number."""
    return all(not (x.view(np.uint32) & np.uint32(0xffff)).any() for x in tensor.chunks())


def _as_bf16(tensor):
    for x in tensor.chunks():
        yield (x.view(np.uint32) >> np.uint32(16)).astype("<u2")


def _entries(checkpoint, model, progress):
    """([(name, dtype, shape, function that yields the arrays)], names of what bf16 cannot hold).

    Trits are made one matrix at a time, when they are asked for; scales and shapes now.
    """
    matrices, wide, out, done = set(model.matrices()), [], [], 0
    for name, tensor in checkpoint.tensors.items():
        if name not in matrices:
            dtype, read = "BF16", lambda tensor=tensor: _as_bf16(tensor)
            if not _fits_bf16(tensor):
                dtype, read = tensor.dtype, tensor.stored
                wide.append(name)
            out.append((name, dtype, tensor.shape, read))
            continue
        progress(done, name)
        done += tensor.count
        for part, dtype, array in ternary.parts(name, *tensor.ternary()):
            # Kept as packed bytes, a fifth of the weights' number: 0.5 GB for the largest.
            out.append((part, dtype, array.shape, lambda array=array: [array]))
    # Wide elements first, so that each lies at a multiple of its size, as the format advises.
    return sorted(out, key=lambda entry: -BYTES[entry[1]]), wide


def _write_safetensors(path, entries):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
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
                file.write(np.ascontiguousarray(array))


def _config(checkpoint):
    config = {k: v for k, v in checkpoint.config.items() if k not in _HERE}
    return json.dumps(config | {"quantization_config": ternary.CONFIG}, indent=1) + "\n"


def _is_ours(directory):
    """Whether the checkpoint in a folder is such a copy, which another may replace."""
    config = directory / _CONFIG
    return (os.path.lexists(config)
            and disk.read_json(config).get("quantization_config") == ternary.CONFIG)


def export(checkpoint, directory, progress=lambda done, what: None):
    """Write ``checkpoint`` to ``directory``; what was there stays whole until all is written.

    Parameters
    ----------
    checkpoint : assembler.files.checkpoint.Checkpoint
    directory : path
    progress : callable
        ``progress(weights done, what is next)``.

    Returns
    -------
    list of str
        Tensors that are not in bf16, because it would change them.

    Raises
    ------
    TernError
        The checkpoint is not a supported model or is damaged, or the directory is the
        checkpoint's own, holds another that is no copy of this kind, or cannot be written.
    """
    directory = Path(directory)
    model = models.load(checkpoint.config, checkpoint.path)
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
