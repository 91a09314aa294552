"""Checkpoint folders in the published format, written from a network and read into one."""

import json
import os

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import Tokenizer
import torch

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import disk
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.models.network import MatMulFreeLM, Shape


__all__ = ["STATE", "write", "settle", "export", "load"]


STATE = "training-state.safetensors"        # of a run that has not ended


def write(tensors, path, metadata):
    """A safetensors file, whole or not there; TernError where it cannot be written."""
    temporary = path.with_suffix(".tmp")
    try:
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise TernError(f"{path}: cannot write: {error}; run the same again when it can be: it "
                        f"goes on from the last state that was saved") from None


@torch.no_grad()
def settle(model):
    """Make the weights, in place, those that a checkpoint holds.

    Gains, bounds and the embedding are rounded to bf16. Latent weights that flip to and fro end
    up as near to their threshold as a float32 can be, thousands of them: a mean that was summed
    in another order, or a rounding to bf16, would make other trits of them (a perplexity of 17.9
    became 18.6, and 23 in bf16). So each is replaced by one with the same trit that lies far from
    every threshold, and the scale of the matrix stays.
    """
    matrices = set(model.matrices())
    for name, parameter in model.named_parameters():
        if name in matrices:
            scale = parameter.abs().mean().clamp_min(1e-5)
            trits = (parameter / scale).round().clamp(-1, 1)
            parameter.copy_(trits * (scale / trits.abs().mean().clamp_min(1e-5)))
        else:
            parameter.copy_(parameter.bfloat16().float())


def export(model, tokenizer, out):
    """Write config, float32 weights and tokenizer to the folder ``out``; each file is whole or not
    there. Only then the state that a run resumes from is removed."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    write(tensors, out / "model.safetensors", {"format": "pt"})
    disk.write_text(out / "config.json", json.dumps(model.shape.config(), indent=1) + "\n")
    disk.write_text(out / "tokenizer.json", tokenizer.to_str(pretty=True))
    (out / STATE).unlink(missing_ok=True)


def _latent(tensor):
    """Weights that ternarise to the trits and the scale that a packed matrix holds."""
    trits, scale = tensor.ternary()
    return trits * np.float32(scale / max(np.abs(trits).mean(), 1e-5))


def load(path):
    """(model, tokenizer) of a checkpoint folder that :func:`export` or the assembler wrote."""
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
