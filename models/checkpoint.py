"""Checkpoint folders in the published format: write one from a network, read one into a network."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
import torch

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.models.network import MatMulFreeLM, Shape


__all__ = ["STATE", "write", "settle", "export", "load"]


STATE = "training-state.safetensors"        # state of an unfinished run


def write(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write a safetensors file, completely or not at all; TernError if it cannot be written."""
    temporary = path.with_suffix(".tmp")
    try:
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise TernError(f"{path}: cannot write: {error}; run the same again when it can be: it "
                        f"goes on from the last state that was saved") from None


@torch.no_grad()
def settle(model: MatMulFreeLM) -> None:
    """Convert the weights in place to the values that a checkpoint holds.

    Gains, bounds and the embedding are rounded to bf16. Thousands of latent weights oscillate
    during training and end within float32 precision of a threshold. Summing the mean in another
    order, or rounding to bf16, would change their trits: a perplexity of 17.9 became 18.6, and 23
    in bf16. Therefore, each latent weight is replaced by a value with the same trit that is far
    from every threshold. The scale of the matrix does not change.
    """
    matrices = set(model.matrices())
    for name, parameter in model.named_parameters():
        if name in matrices:
            scale = parameter.abs().mean().clamp_min(1e-5)
            trits = (parameter / scale).round().clamp(-1, 1)
            parameter.copy_(trits * (scale / trits.abs().mean().clamp_min(1e-5)))
        else:
            parameter.copy_(parameter.bfloat16().float())


def export(model: MatMulFreeLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write config, float32 weights and tokenizer to the folder ``out``, each file completely or
    not at all. After that, remove the state from which a run resumes."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write(tensors, out / "model.safetensors", {"format": "pt"})
    disk.write_text(out / "config.json", json.dumps(model.shape.config(), indent=1) + "\n")
    disk.write_text(out / "tokenizer.json", tokenizer.to_str(pretty=True))
    (out / STATE).unlink(missing_ok=True)


def _latent(tensor: Any) -> NDArray[np.float32]:
    """Latent weights whose trits and scale are those of a packed matrix."""
    trits, scale = tensor.ternary()
    return trits * np.float32(scale / max(np.abs(trits).mean(), 1e-5))


def load(path: Path | str) -> tuple[MatMulFreeLM, Tokenizer]:
    """(model, tokenizer) of a checkpoint folder that :func:`export` or the assembler has written;
    TernError if it is none."""
    checkpoint = Checkpoint(path)
    config = checkpoint.config
    try:
        shape = Shape(config["vocab_size"], config["hidden_size"], config["num_hidden_layers"],
                      config["intermediate_size"])
        model = MatMulFreeLM(shape)
        matrices = set(model.matrices())
        model.load_state_dict({
            name: torch.from_numpy(_latent(t) if name in matrices else t.array())
            for name, t in checkpoint.tensors.items()})
    except (KeyError, RuntimeError) as error:
        raise TernError(f"{path}: is not a model that models.train wrote: {error}") from None
    return model, Tokenizer.from_file(str(checkpoint.tokenizer))
