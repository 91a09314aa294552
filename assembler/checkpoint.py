"""Reading checkpoints: ``config.json`` and safetensors, one or several, a tensor at a time.

Matrices may be packed already: see ``assembler/ternary.py``.
"""

from dataclasses import dataclass
from itertools import pairwise
import os
from pathlib import Path

import numpy as np

from assembler import files, ternary
from assembler.errors import TernError


__all__ = ["Tensor", "Checkpoint", "SINGLE", "INDEX", "BYTES"]


SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_MAX_RANK = 8              # dimensions of a tensor; the model's have two
_FLOATS = ("BF16", "F16", "F32")       # of weights; the others are for packed matrices only
_STORED = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}
BYTES = {dtype: np.dtype(stored).itemsize for dtype, stored in _STORED.items()}
_CHUNK = 1 << 20           # elements converted at a time


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: ``offset`` is in bytes from the start of the file."""
    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def count(self):
        count = 1
        for n in self.shape:
            count *= n
        return count

    def stored(self):
        """Parts of the tensor as they are in the file, flat and in order; bf16 as uint16."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            for start in range(0, self.count, _CHUNK):
                count = min(_CHUNK, self.count - start)
                raw = np.fromfile(file, _STORED[self.dtype], count)
                if len(raw) != count:
                    raise TernError(f"{self.path}: truncated inside tensor {self.name}")
                yield raw

    def chunks(self):
        """Parts of the tensor, flat and in order: float32 arrays, exact for every dtype.

        Raises TernError on a value that is not finite.
        """
        start = 0
        for raw in self.stored():
            if self.dtype == "BF16":
                x = (raw.astype(np.uint32) << np.uint32(16)).view(np.float32)
            else:
                x = raw.astype(np.float32)
            if not np.isfinite(x).all():
                where = int(np.argmin(np.isfinite(x)))
                raise TernError(f"{self.path}: tensor {self.name} holds {x[where]} at element "
                                f"{start + where}; weights must be finite")
            start += len(x)
            yield x

    def array(self):
        """The whole tensor: float32, in its shape."""
        out = np.empty(self.count, np.float32)
        start = 0
        for x in self.chunks():
            out[start:start + len(x)] = x
            start += len(x)
        return out.reshape(self.shape)

    def ternary(self):
        """The tensor as BitLinear reads it: (trits int8 in its shape, scale).

        ``scale = max(mean|W|, 1e-5)``, ``trits = clamp(round(W / scale), -1, 1)``.
        """
        total = sum(float(np.abs(x).sum(dtype=np.float64)) for x in self.chunks())
        scale = max(total / self.count, 1e-5)
        # round(w / s) is 0 up to s / 2 included (half goes to even). The comparison is exact
        # in float32 with the threshold rounded down.
        half = np.float32(scale / 2)
        if float(half) > scale / 2:
            half = np.nextafter(half, np.float32(0))
        out = np.empty(self.count, np.int8)
        start = 0
        for x in self.chunks():
            part = out[start:start + len(x)]
            np.subtract((x > half).view(np.int8), (x < -half).view(np.int8), out=part)
            start += len(x)
        return out.reshape(self.shape), scale


def _read_header(path):
    """Name -> Tensor of a safetensors file, all of them checked to lie in the file."""
    size = files.size_of(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, files.JSON_BYTES):
                raise TernError(f"{path}: truncated or no safetensors file: its header of "
                                f"{length} bytes does not fit the {size} bytes of the file")
            text = file.read(length)
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None
    try:
        header = files.parse_json(text)
        entries = []
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                entries.append((name, entry["dtype"], tuple(entry["shape"]), start, end))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise TernError(f"{path}: damaged safetensors header") from None
    tensors = {}
    for name, dtype, shape, start, end in entries:
        integers = (*shape, start, end)
        if (type(dtype) is not str or len(shape) > _MAX_RANK
                or not all(type(n) is int and n >= 0 for n in integers)):
            raise TernError(f"{path}: tensor {name} has a damaged header entry")
        if dtype not in (BYTES if ternary.is_part(name) else _FLOATS):
            raise TernError(f"{path}: tensor {name} is {dtype}; supported: {', '.join(_FLOATS)}")
        tensor = Tensor(name, path, dtype, shape, 8 + length + start)
        if end - start != tensor.count * BYTES[dtype]:
            raise TernError(f"{path}: tensor {name} has {end - start} bytes, but shape "
                            f"{list(shape)} of {dtype} takes {tensor.count * BYTES[dtype]}")
        if 8 + length + end > size:
            raise TernError(f"{path}: truncated: tensor {name} ends at byte {8 + length + end}, "
                            f"the file at {size}")
        tensors[name] = tensor
    _check_apart(path, sorted((start, end, name) for name, *_, start, end in entries))
    return tensors


def _check_apart(path, stretches):
    """No byte belongs to two tensors, or a small file could claim any number of weights."""
    for (_, end, name), (start, _, other) in pairwise(stretches):
        if start < end:
            raise TernError(f"{path}: tensors {name} and {other} overlap")


def _read_index(path):
    """Name -> Tensor over the shards that an index names; none may lie elsewhere."""
    mapping = files.read_json(path).get("weight_map")
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise TernError(f"{path}: has no weight_map from tensor names to file names")
    shards = {}
    for shard in sorted(set(mapping.values())):
        place = path.parent / shard
        if (shard in ("", "..") or "\0" in shard or Path(shard).name != shard
                or not files.inside(place, path.parent)):
            raise TernError(f"{path}: shard {shard!r} leaves the folder of the checkpoint")
        if not os.path.lexists(place):
            raise TernError(f"{path}: names shard {shard!r}, which is missing")
        shards[shard] = _read_header(_checked(place, path.parent))
    tensors = {}
    for name, shard in mapping.items():
        if name not in shards[shard]:
            raise TernError(f"{path}: tensor {name} is missing in {shard}")
        tensors[name] = shards[shard][name]
    return tensors


def _checked(path, folder):
    """The path, unless it is a pickle or a link that leaves the folder."""
    if path.suffix in _PICKLES:
        raise TernError(f"{path}: a pickle can run code when it is read; convert the checkpoint "
                        f"to safetensors")
    return files.kept_in(path, folder)


def _find_weights(folder):
    for name in (INDEX, SINGLE):
        if (folder / name).exists():
            return folder / name
    for path in sorted(folder.iterdir()):
        _checked(path, path)
    raise TernError(f"{folder}: holds neither {SINGLE} nor {INDEX}")


class Checkpoint:
    """A model on disk.

    Parameters
    ----------
    path : path
        ``model.json``, or a checkpoint folder, or its ``config.json``. A ``model.json`` may
        also name ``weights`` (file, index or folder) and ``tokenizer``, both in its own folder
        or below, and a ``target``.

    Members
    -------
    path : Path
        The JSON file.
    config : dict
        What it says.
    tensors : dict
        Name -> :class:`Tensor` or, of a packed matrix, :class:`assembler.ternary.Packed`; only
        the headers have been read.
    tokenizer : Path or None

    Raises
    ------
    TernError
        A file is missing, truncated, damaged, or a pickle; or it lies outside of the folder of
        ``path``, by its name or behind a link.
    """
    def __init__(self, path):
        try:
            self._open(Path(path))
        except (OSError, RuntimeError, UnicodeError) as error:
            # Names too long, loops of links, characters that no file system has.
            raise TernError(f"{path}: cannot read: {error}") from None

    def _open(self, path):
        if path.is_dir():
            names = [n for n in ("config.json", "model.json") if (path / n).exists()]
            if not names:
                raise TernError(f"{path}: holds no config.json; name a checkpoint folder")
            path = _checked(path / names[0], path)
        if path.suffix == ".safetensors":
            raise TernError(f"{path}: name the checkpoint's folder or its config.json instead")
        _checked(path, path)
        self.path = path
        self.config = files.read_json(path)
        weights = self._named("weights") or path.parent
        if weights.is_dir():
            weights = _checked(_find_weights(weights), path.parent)
        ternary.check_config(self.config, path)
        self.tensors = ternary.gather(_read_index(weights) if weights.suffix == ".json"
                                      else _read_header(weights))
        self.tokenizer = self._named("tokenizer") or path.parent
        if self.tokenizer.is_dir():
            self.tokenizer /= "tokenizer.json"
        if self._named("tokenizer") is None and not os.path.lexists(self.tokenizer):
            self.tokenizer = None
        else:
            files.size_of(_checked(self.tokenizer, path.parent))

    def _named(self, key):
        """The file or folder that the config names under this key, or None."""
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise TernError(f"{self.path}: {key} must be a path, not {value!r}")
        place = self.path.parent / value
        if Path(value).is_absolute() or ".." in Path(value).parts or not files.inside(
                place, self.path.parent):
            raise TernError(f"{self.path}: {key} {value!r} leaves the folder {self.path.parent}; "
                            f"nothing outside of it is read")
        return _checked(place, self.path.parent)
