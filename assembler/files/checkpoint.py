"""Reads checkpoints: ``config.json`` and one or several safetensors files, a tensor at a time.

Matrices may already be packed as trits: see ``assembler/files/ternary.py``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
import os
from pathlib import Path
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk, ternary
from tern_fpga.assembler.models import registry


__all__ = ["Tensor", "Checkpoint", "SINGLE", "INDEX", "BYTES"]


SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_MAX_RANK = 8              # most dimensions of a tensor; those of a model have two
_FLOATS = ("BF16", "F16", "F32")       # of weights; the others are for packed matrices only
_Kind = tuple[tuple[str, ...], str]    # patterns of file names, and what to say of such a file
_STORED = {"BF16": "<u2", "F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "u1"}
BYTES = {dtype: np.dtype(stored).itemsize for dtype, stored in _STORED.items()}
_CHUNK = 1 << 20           # elements converted at a time


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file. ``offset`` is in bytes from the start of the file."""
    name: str
    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def count(self) -> int:
        count = 1
        for n in self.shape:
            count *= n
        return count

    def stored(self) -> Iterator[npt.NDArray[Any]]:
        """Parts of the tensor in the file's number format, flat and in order; bf16 as uint16."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            for start in range(0, self.count, _CHUNK):
                count = min(_CHUNK, self.count - start)
                raw = np.fromfile(file, _STORED[self.dtype], count)
                if len(raw) != count:
                    raise TernError(f"{self.path}: truncated inside tensor {self.name}")
                yield raw

    def chunks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Parts of the tensor, flat and in order, as float32, which is exact for BF16, F16, F32.

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

    def array(self) -> npt.NDArray[np.float32]:
        """The whole tensor: float32, of shape ``shape``."""
        out = np.empty(self.count, np.float32)
        start = 0
        for x in self.chunks():
            out[start:start + len(x)] = x
            start += len(x)
        return out.reshape(self.shape)

    def ternary(self) -> tuple[npt.NDArray[np.int8], float]:
        """The tensor in the form that BitLinear uses: (trits: int8 of shape ``shape``, scale).

        ``scale = max(mean|W|, 1e-5)``, ``trits = clamp(round(W / scale), -1, 1)``.
        """
        total = sum(float(np.abs(x).sum(dtype=np.float64)) for x in self.chunks())
        scale = max(total / self.count, 1e-5)
        # round(w / s) is 0 up to and including s / 2 (ties to even). The comparison is exact in
        # float32 with the threshold rounded down.
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


def _read_header(path: Path) -> dict[str, Tensor]:
    """Name -> Tensor of a safetensors file. Checks that each of them lies in the file."""
    size = disk.size_of(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, disk.JSON_BYTES):
                if what := disk.foreign(path):
                    raise TernError(f"{path}: is {what}")
                raise TernError(f"{path}: truncated or no safetensors file: its header of "
                                f"{length} bytes does not fit the {size} bytes of the file")
            text = file.read(length)
    except OSError as error:
        raise TernError(f"{path}: cannot read: {error.strerror}") from None
    try:
        header = disk.parse_json(text)
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


def _check_apart(path: Path, stretches: Iterable[tuple[int, int, str]]) -> None:
    """Raise TernError if two tensors share a byte.

    A small file could otherwise claim any number of weights.
    """
    for (_, end, name), (start, _, other) in pairwise(stretches):
        if start < end:
            raise TernError(f"{path}: tensors {name} and {other} overlap")


def _read_index(path: Path) -> dict[str, Tensor]:
    """Name -> Tensor over the shards that an index names. All must be in the index's folder."""
    mapping = disk.read_json(path).get("weight_map")
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise TernError(f"{path}: has no weight_map from tensor names to file names")
    shards: dict[str, dict[str, Tensor]] = {}
    for shard in sorted(set(mapping.values())):
        place = path.parent / shard
        if (shard in ("", "..") or "\0" in shard or Path(shard).name != shard
                or not disk.inside(place, path.parent)):
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


def _checked(path: Path, folder: Path) -> Path:
    """The path. Raises TernError if it is a pickle, or a link that leaves the folder."""
    if path.suffix in _PICKLES:
        raise TernError(f"{path}: {_PICKLE}")
    return disk.kept_in(path, folder)


_PICKLE = ("a pickle can run code when it is read; convert the checkpoint to safetensors, where it "
           "is trusted: `AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)` of "
           "transformers")
# What to say of a file that is given where a model is expected; the first match is reported.
_KINDS: tuple[_Kind, ...] = (
    (("image.bin",), "is a compiled image; --disassemble shows its program"),
    (("adapter_config.json", "adapter_model.*"),
     "an adapter (LoRA) holds only changes to the weights of another model; merge it into that "
     "model (`merge_and_unload` of peft) and save the whole"),
    (("*.gguf",), "GGUF holds weights that are quantised in another way; give the checkpoint that "
                  "it was made from, in safetensors"),
    (tuple(f"*{suffix}{more}" for suffix in _PICKLES for more in ("", ".index.json")), _PICKLE),
    (("*.tar", "*.tar.*", "*.tgz", "*.zip", "*.7z", "*.gz", "*.xz", "*.zst"),
     "is an archive; unpack it and give its folder"),
    (("*.h5", "*.msgpack", "*.onnx", "*.npz"),
     "is a checkpoint of another library; give one in safetensors"),
)
_SAFETENSORS: tuple[_Kind, ...] = (
    (("*-of-*.safetensors",), f"is one file of several, and {INDEX} is missing beside it; download "
                              f"it too"),
    (("*.safetensors",), f"Tern looks for {SINGLE}; give the file that name, or write it into a "
                         f"model.json as `weights`"),
)
_TOKENIZERS: tuple[_Kind, ...] = (
    (("tokenizer.model", "spiece.model", "tokenizer.json", "vocab.json", "vocab.txt"),
     "is a tokenizer without a model; download the whole checkpoint"),)
_OTHER_TOKENIZERS = ("tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


def _kind(names: Iterable[str], kinds: Sequence[_Kind]) -> tuple[str, str] | None:
    """(name, what to say of it) of the first file that matches one of the kinds, or None."""
    return next(((name, what) for patterns, what in kinds for name in sorted(names)
                 if any(fnmatch(name.lower(), pattern) for pattern in patterns)), None)


def _instead_of_config(folder: Path) -> str:
    """What to say of a folder without a config."""
    names = sorted(os.listdir(folder))
    if not names:
        return f"{folder}: is empty and holds no config.json; name a checkpoint folder"
    if (folder / "snapshots").is_dir():
        snapshots = sorted((folder / "snapshots").iterdir())
        last = f" {snapshots[-1]}" if snapshots else ", of which there is none"
        return (f"{folder}: is a repository in a cache of Hugging Face and holds no config.json; "
                f"name its snapshot{last}")
    if {"image.bin", "manifest.json"} <= set(names):
        return (f"{folder}: is an image, which is compiled already; run it with `python -m sim "
                f"generate {folder}`")
    if found := _kind(names, (*_KINDS, *_TOKENIZERS)):
        return f"{folder / found[0]}: {found[1]}"
    inner = [name for name in names if (folder / name / "config.json").is_file()]
    return (f"{folder}: holds no config.json; name "
            + (f"{folder / inner[0]}, which does" if inner else "a checkpoint folder"))


def _find_weights(folder: Path) -> Path | None:
    """The file that holds the weights in a folder, or the index of several files; else None."""
    return next((folder / name for name in (INDEX, SINGLE) if os.path.lexists(folder / name)),
                None)


def _instead_of_weights(folder: Path) -> str:
    """What to say of a folder without weights."""
    if found := _kind(os.listdir(folder), (*_KINDS, *_SAFETENSORS)):
        return f"{folder / found[0]}: {found[1]}"
    return f"{folder}: holds neither {SINGLE} nor {INDEX}"


def _read(path: Path) -> dict[str, Tensor]:
    """Name -> Tensor of a safetensors file, or of the files that an index names."""
    return _read_index(path) if path.suffix == ".json" else _read_header(path)


def _read_alone(path: Path) -> dict[str, Tensor]:
    """As :func:`_read`, for weights that were found by their file name.

    If a folder has a single-file checkpoint and an index, the index must name that file only. An
    index that names other files is refused: one of the two is stale, and programs differ in which
    they read.
    """
    single = path.parent / SINGLE
    if path.name != INDEX or not os.path.lexists(single):
        return _read(path)
    try:
        tensors = _read(path)
    except TernError as error:
        raise TernError(f"{error}; if {path.name} is stale, for there is {SINGLE} too, remove "
                        f"it") from None
    if any(tensor.path != single for tensor in tensors.values()):
        raise TernError(f"{path.parent}: holds {SINGLE}, and {INDEX} that names other files; "
                        f"remove what is stale")
    return _read(single)


def _on_the_hub(path: Path) -> str:
    """What to say of a path that does not exist but has the form of a model's name on the hub."""
    found = re.fullmatch(r"(?:https?:/+)?(?:(?:huggingface|hf)\.co/)?(\w[\w.-]*)/(\w[\w.-]*)"
                         r"(?:/(?:tree|blob|resolve)/.*)?", str(path), re.ASCII)
    if not found or Path(found[1]).is_dir():
        return ""
    name, folder = f"{found[1]}/{found[2]}", found[2]
    return (f"; if it is a model on the Hugging Face hub, type `hf download {name} --local-dir "
            f"{folder}`, and then `python -m assembler {folder}`")


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
        Its contents.
    tensors : dict
        Name -> :class:`Tensor` or, for a packed matrix, :class:`assembler.files.ternary.Packed`.
        Only the headers have been read.
    tokenizer : Path or None
        ``tokenizer.json``, if there is one.

    Raises
    ------
    TernError
        A file is missing, truncated, damaged, or a pickle; or its name or a link leads out of the
        folder of ``path``.
    """
    path: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor | ternary.Packed]
    tokenizer: Path | None

    def __init__(self, path: Path | str) -> None:
        try:
            self._open(Path(path))
        except (OSError, RuntimeError, UnicodeError) as error:
            # A name is too long, links form a loop, or the file system lacks a character.
            raise TernError(f"{path}: cannot read: {error}") from None

    def _open(self, path: Path) -> None:
        if path.is_dir():
            names = [name for name in disk.MODELS if os.path.lexists(path / name)]
            if not names:
                raise TernError(_instead_of_config(path))
            path = _checked(path / names[0], path)
        elif not os.path.lexists(path):
            shipped = Path("models") / path.name
            hint = (f"; did you mean {shipped}?" if os.path.lexists(shipped / "config.json")
                    else _on_the_hub(path))
            raise TernError(f"{path}: no such file or folder{hint}")
        self._check_kind(path)
        self.path = path
        self.config = disk.read_json(path)
        weights = self._named("weights") or path.parent
        found = _find_weights(weights) if weights.is_dir() else weights
        if found is None or "model_type" in self.config:
            registry.check_type(self.config, path)        # tells more than that weights are missing
        if found is None:
            raise TernError(_instead_of_weights(weights))
        ternary.check_config(self.config, path)
        self.tensors = ternary.gather(_read(weights) if found is weights
                                      else _read_alone(_checked(found, path.parent)))
        tokenizer = self._named("tokenizer") or path.parent
        if tokenizer.is_dir():
            tokenizer /= "tokenizer.json"
        self.tokenizer = tokenizer
        if self._named("tokenizer") is None and not os.path.lexists(tokenizer):
            self._check_other_tokenizers(tokenizer.parent)
            self.tokenizer = None
        elif what := disk.foreign(_checked(tokenizer, path.parent)):
            raise TernError(f"{tokenizer}: is {what}")

    def whole(self, name: str) -> Tensor:
        """The tensor ``name``, which must not be packed: raises TernError if it is."""
        tensor = self.tensors[name]
        if isinstance(tensor, ternary.Packed):
            raise TernError(f"{tensor.path}: tensor {name} is packed as trits; only the matrices "
                            f"of ternary weights may be")
        return tensor

    @staticmethod
    def _check_kind(path: Path) -> None:
        """Raise TernError if the name of a given file shows that it is not a config."""
        if found := _kind([path.name], (*_KINDS, *_TOKENIZERS)):
            raise TernError(f"{path}: {found[1]}")
        if path.suffix == ".safetensors":
            raise TernError(f"{path}: name the checkpoint's folder or its config.json instead")

    @staticmethod
    def _check_other_tokenizers(folder: Path) -> None:
        """Raise TernError if the tokenizer is in another form; without it, text cannot be used."""
        for name in _OTHER_TOKENIZERS:
            if (folder / name).exists():
                raise TernError(
                    f"{folder / name}: is a tokenizer in another form; write the tokenizer.json "
                    f"that Tern reads: `AutoTokenizer.from_pretrained({str(folder)!r})"
                    f".save_pretrained({str(folder)!r})` of transformers")

    def _named(self, key: str) -> Path | None:
        """The file or folder that the config names under ``key``, or None."""
        value = self.config.get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value or "\0" in value:
            raise TernError(f"{self.path}: {key} must be a path, not {value!r}")
        place = self.path.parent / value
        if Path(value).is_absolute() or ".." in Path(value).parts or not disk.inside(
                place, self.path.parent):
            raise TernError(f"{self.path}: {key} {value!r} leaves the folder {self.path.parent}; "
                            f"nothing outside of it is read")
        return _checked(place, self.path.parent)
