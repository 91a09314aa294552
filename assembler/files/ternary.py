"""Matrices that are stored in ternary form, as the machine uses them: packed trits and one scale.

In place of the ``X.weight`` of a published checkpoint, a packed one has

==================== ==== =================================================================
``X.weight_packed``  U8   (rows, ceil(columns / 5)): five trits a byte, see ``packing.pack``; the
                          last byte of a row is filled up with trits that are 0
``X.weight_scale``   F64  (1,): ``max(mean|W|, 1e-5)`` of the unpacked matrix, exactly as the
                          compiler computes it
``X.weight_shape``   I64  (2,): rows, columns
==================== ==== =================================================================

and ``config.json`` names the form under ``quantization_config``. The compiler uses trits and scale
unchanged, because ternarising the trits again would give another scale. The names are those of the
compressed-tensors format for packed weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.contract.formats import MAX_LENGTH, TRITS_PER_BYTE
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import packing


__all__ = ["Packed", "CONFIG", "check_config", "is_part", "parts", "gather"]


CONFIG = {"quant_method": "tern", "format": "trits-5-per-byte", "version": 1}

_PACKED, _SCALE, _SHAPE = "_packed", "_scale", "_shape"
_PARTS = {_PACKED: "U8", _SCALE: "F64", _SHAPE: "I64"}
_MAX_ROWS = 1 << 24        # a head has a row a token, and a token is 24 bits


class _Tensor(Protocol):
    """The members of :class:`assembler.files.checkpoint.Tensor` that this module uses."""
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def stored(self) -> Iterator[npt.NDArray[Any]]: ...


_T = TypeVar("_T", bound=_Tensor)


@dataclass(frozen=True)
class Packed:
    """A packed matrix. Its members are those of :class:`assembler.files.checkpoint.Tensor`."""
    name: str
    path: Path
    shape: tuple[int, int]
    scale: float
    packed: _Tensor

    @property
    def count(self) -> int:
        return self.shape[0] * self.shape[1]

    def ternary(self) -> tuple[npt.NDArray[np.int8], float]:
        """(trits: int8 of shape ``shape``, scale). Raises TernError on damaged bytes."""
        data = np.concatenate(list(self.packed.stored()))
        if not packing.is_code(data).all():
            byte = int(np.argmin(packing.is_code(data)))
            raise TernError(f"{self.path}: tensor {self.packed.name} is damaged: byte {byte} is "
                            f"{data[byte]:#04x}, which no five trits give")
        rows, columns = self.shape
        trits = packing.unpack(data).reshape(rows, -1)
        if trits[:, columns:].any():
            row = int(np.argmax(trits[:, columns:].any(1)))
            raise TernError(f"{self.path}: tensor {self.packed.name} is damaged: row {row} has "
                            f"trits after its {columns} columns")
        return np.ascontiguousarray(trits[:, :columns]), self.scale


def check_config(config: Mapping[str, Any], where: Path | str) -> None:
    """Raise TernError if the config names a form of weights other than this one."""
    form = config.get("quantization_config")
    if form is not None and form != CONFIG:
        method = form.get("quant_method") if isinstance(form, dict) else form
        if method == CONFIG["quant_method"]:
            method = f"{method}, {form.get('format')}, version {form.get('version')}"
        raise TernError(f"{where}: quantization_config {method!r} is not supported; supported: "
                        f"none, or {', '.join(map(str, CONFIG.values()))}")


def is_part(name: str) -> bool:
    """Whether a tensor of this name is a part of a packed matrix."""
    return name.endswith(tuple(f".weight{part}" for part in _PARTS))


def parts(name: str, trits: npt.NDArray[np.int8],
          scale: float) -> list[tuple[str, str, npt.NDArray[Any]]]:
    """The tensors that store a matrix: [(name, dtype, array)].

    ``name``: name of the matrix, ``X.weight``. ``trits``: (rows, columns) int8.
    """
    rows, columns = trits.shape
    padded = np.zeros((rows, -(-columns // TRITS_PER_BYTE) * TRITS_PER_BYTE), np.int8)
    padded[:, :columns] = trits
    values = {_PACKED: packing.pack(padded.reshape(-1)).reshape(rows, -1),
              _SCALE: np.array([scale], "<f8"), _SHAPE: np.array([rows, columns], "<i8")}
    return [(name + part, _PARTS[part], values[part]) for part in _PARTS]


def _matrix(name: str, tensors: Mapping[str, _Tensor]) -> Packed:
    """Check the parts of the matrix ``name`` among ``tensors`` and put them together."""
    found: dict[str, _Tensor] = {}
    there = next(tensors[name + part] for part in _PARTS if name + part in tensors)
    for part in _PARTS:
        tensor = tensors.get(name + part)
        if tensor is None:
            raise TernError(f"{there.path}: tensor {name + part} is missing beside {there.name}")
        if tensor.dtype != _PARTS[part]:
            raise TernError(f"{tensor.path}: tensor {tensor.name} is {tensor.dtype}, not "
                            f"{_PARTS[part]}")
        found[part] = tensor
    packed, scale, shape = found.values()
    for tensor, expected in (scale, (1,)), (shape, (2,)):
        if tensor.shape != expected:
            raise TernError(f"{tensor.path}: tensor {tensor.name} has shape "
                            f"{list(tensor.shape)}, not {list(expected)}")
    rows, columns = (int(n) for n in next(shape.stored()))
    if not (1 <= rows <= _MAX_ROWS and 1 <= columns <= MAX_LENGTH):
        raise TernError(f"{shape.path}: tensor {shape.name} says {rows} x {columns}, which no "
                        f"matrix has")
    if packed.shape != (rows, -(-columns // TRITS_PER_BYTE)):
        raise TernError(f"{packed.path}: tensor {packed.name} has shape {list(packed.shape)}, "
                        f"which {rows} x {columns} trits do not take")
    value = float(next(scale.stored())[0])
    if not 0 < value < np.inf:
        raise TernError(f"{scale.path}: tensor {scale.name} holds {value}; a scale is positive "
                        f"and finite")
    return Packed(name, packed.path, (rows, columns), value, packed)


def gather(tensors: Mapping[str, _T]) -> dict[str, _T | Packed]:
    """Name -> tensor of a checkpoint, with the parts of each packed matrix put together.

    Raises TernError if a part is missing, or has a wrong type, shape or value.
    """
    out: dict[str, _T | Packed] = {}
    for name, tensor in tensors.items():
        if not is_part(name):
            if name in out:
                raise TernError(f"{tensor.path}: tensor {name} is there twice, packed and whole")
            out[name] = tensor
            continue
        matrix = name[:name.rindex("_")]
        if matrix in tensors:
            raise TernError(f"{tensor.path}: tensor {matrix} is there twice, packed and whole")
        if matrix not in out:
            out[matrix] = _matrix(matrix, tensors)
    return out
