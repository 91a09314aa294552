"""The float model of a checkpoint: what it computes without the machine's number formats."""

from pathlib import Path
from typing import Any

import numpy as np

from tern_fpga.assembler.compiler.compile import check_tensors
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.ternary import Packed
from tern_fpga.assembler.models import registry
from tern_fpga.assembler.models.floats import FloatModel


__all__ = ["load"]


def load(path: Path | str, dtype: type[np.floating[Any]] = np.float64) -> FloatModel:
    """The model of a ``model.json``, checkpoint folder or ``config.json``.

    Raises TernError as the compiler does.
    """
    checkpoint = Checkpoint(path)
    model = registry.load(checkpoint.config, checkpoint.path)
    check_tensors(checkpoint, model)

    def read(name: str) -> Any:
        tensor = checkpoint.tensors[name]
        return tensor.ternary() if isinstance(tensor, Packed) else tensor.array()

    return model.reference(read, dtype)
