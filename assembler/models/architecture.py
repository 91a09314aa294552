"""What the compiler and the float reference ask of an architecture."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files.image import token_ids
from tern_fpga.assembler.models.floats import FloatModel
from tern_fpga.assembler.models.program import LayerProgram


__all__ = ["Architecture", "Read", "MAX_SIZE", "MAX_VOCAB", "MAX_LAYERS", "size", "choice",
           "check_tokens"]


MAX_SIZE = 65535           # elements of a vector, a 16-bit field of the instruction set
MAX_VOCAB = 1 << 24        # a token is 24 bits
MAX_LAYERS = 4096

Read = Callable[[str], npt.NDArray[np.float64]]     # the checkpoint's tensor of that name


class Architecture(ABC):
    """A model of some sizes: its config, tensors, layer program, parameters and float reference.

    Members
    -------
    model_type : str
        That of the configs which :meth:`from_config` takes.
    vocab : int
        Number of tokens.
    """
    model_type: ClassVar[str]
    vocab: int

    @classmethod
    @abstractmethod
    def from_config(cls, config: Mapping[str, Any], where: Path | str) -> Self:
        """The model that a Hugging Face config describes.

        Raises TernError on anything that is not supported. The message begins with ``where``.
        """

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of all tensors of the checkpoint."""

    @abstractmethod
    def program(self) -> LayerProgram:
        """The model as a layer program."""

    @abstractmethod
    def reference(self, tensor: Callable[[str], Any],
                  dtype: type[np.floating[Any]] = np.float64) -> FloatModel:
        """The float model of these weights.

        ``tensor(name)``: the checkpoint's tensor as an array, or (trits, scale) of a packed matrix.
        """

    def manifest(self) -> dict[str, Any]:
        """What the manifest of an image tells of the model besides its width, layers and tokens:
        ``intermediate_size``, if it has an MLP, and whatever else tells it from others."""
        return {}

    def parameter(self, name: str, repetition: int, prefix: str,
                  read: Read) -> npt.NDArray[np.float64]:
        """A vector of parameters of the layer program: (elements,) float64.

        ``name``: in the operations of a part; ``repetition`` and ``prefix``: of the part. Here:
        the tensor of that name.
        """
        return read(f"{prefix}{name}.weight")

    def matrices(self) -> list[str]:
        """Names of the tensors that are ternary matrices, in the order of their use."""
        return list(dict.fromkeys(f"{prefix}{op.matrix}.weight"
                                  for _, _, prefix, op in self.program().linears()))


def size(config: Mapping[str, Any], key: str, limit: int, where: Path | str) -> int:
    """The whole number ``config[key]``; TernError unless it is from 1 to ``limit``."""
    value = config.get(key)
    if type(value) is not int or not 1 <= value <= limit:
        raise TernError(f"{where}: {key} must be a whole number from 1 to {limit}, "
                        f"not {value!r}")
    return value


def choice(config: Mapping[str, Any], key: str, good: tuple[object, ...], shown: str,
           where: Path | str) -> None:
    """TernError unless ``config[key]`` is one of ``good``, which a message shows as ``shown``."""
    if not any(value is config.get(key) or value == config.get(key) for value in good):
        raise TernError(f"{where}: {key} {config[key]!r} is not supported; supported: {shown}")


def check_tokens(config: Mapping[str, Any], vocab: int, where: Path | str) -> None:
    """TernError unless the first and last tokens of a sequence are tokens of the model."""
    for key in ("bos_token_id", "eos_token_id"):
        try:
            token_ids(config.get(key), vocab)
        except ValueError:
            raise TernError(f"{where}: {key} must be a token from 0 to {vocab - 1}, or several, "
                            f"not {config.get(key)!r}") from None
