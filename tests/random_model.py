"""Random checkpoints in the published format, of any shape, written tensor by tensor.

    python -m tests.random_model DIR --hidden 1024 --layers 24 --vocab 32000 --dtype BF16
"""

import argparse
import json
from pathlib import Path

import numpy as np


__all__ = ["intermediate", "shapes", "write"]


_CHUNK = 1 << 22           # elements made at a time


def intermediate(hidden, hidden_ratio=4):
    """The intermediate size when the config leaves it out."""
    return 256 * -(-int(hidden * hidden_ratio * 2 / 3) // 256)


def shapes(*, hidden, inner, layers, vocab, lower_bounds=True):
    """Name -> shape of all tensors, in the order of a published file."""
    out = {"lm_head.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden),
           "model.embeddings.weight": (vocab, hidden)}
    for n in range(layers):
        prefix = f"model.layers.{n}."
        for name in ("f", "g", "i", "o"):
            out[f"{prefix}attn.{name}_proj.norm.weight"] = (hidden,)
            out[f"{prefix}attn.{name}_proj.weight"] = (hidden, hidden)
        out[f"{prefix}attn.g_norm.weight"] = (hidden,)
        out[f"{prefix}attn_norm.weight"] = (hidden,)
        out[f"{prefix}mlp.down_proj.norm.weight"] = (inner,)
        out[f"{prefix}mlp.down_proj.weight"] = (hidden, inner)
        out[f"{prefix}mlp.gate_proj.norm.weight"] = (hidden,)
        out[f"{prefix}mlp.gate_proj.weight"] = (2 * inner, hidden)
        out[f"{prefix}mlp_norm.weight"] = (hidden,)
    if lower_bounds:
        out["model.lower_bounds"] = (layers, hidden)
    out["model.norm.weight"] = (hidden,)
    return out


def _encode(x, dtype):
    """(n,) float32 -> bytes; bf16 by rounding half up, which is random enough."""
    if dtype == "BF16":
        return ((x.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)).astype("<u2").tobytes()
    return x.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def _values(name, count, rng):
    x = rng.standard_normal(count, np.float32)
    if "norm" in name:
        return np.abs(1 + np.float32(0.2) * x)      # gains are near 1
    if name == "model.embeddings.weight":
        return x
    return x * np.float32(1 if name == "model.lower_bounds" else 0.02)


def _write_file(path, tensors, dtype, seed):
    size = 2 if dtype in ("BF16", "F16") else 4
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        end = offset + int(np.prod(shape)) * size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors.items():
            # One generator a tensor: its values do not depend on the sharding.
            rng = np.random.default_rng([seed, *name.encode()])
            left = int(np.prod(shape))
            while left:
                count = min(left, _CHUNK)
                file.write(_encode(_values(name, count, rng), dtype))
                left -= count


def write(directory, *, hidden=64, inner=None, layers=2, vocab=131, dtype="F32", shards=1,
          lower_bounds=True, seed=0, **options):
    """Write a checkpoint folder and return its path.

    Parameters
    ----------
    directory : path
        Made if it is missing.
    hidden, layers, vocab : int
        Sizes of the model.
    inner : int
        Intermediate size; None leaves it out of ``config.json``.
    dtype : str
        ``F32``, ``F16`` or ``BF16``.
    shards : int
        Number of safetensors files; more than one also writes the index.
    lower_bounds : bool
        ``use_lower_bound`` of the config.
    seed : int
    options
        More entries of ``config.json``, or other values for those that are there.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "hgrn_bit", "hidden_size": hidden, "num_hidden_layers": layers,
              "vocab_size": vocab, "intermediate_size": inner, "hidden_ratio": 4,
              "num_heads": 1, "expand_ratio": 1, "use_short_conv": False,
              "use_lower_bound": lower_bounds, "hidden_act": "swish", "rms_norm_eps": 1e-6,
              "tie_word_embeddings": False, "bos_token_id": min(1, vocab - 1),
              "eos_token_id": min(2, vocab - 1)}
    (directory / "config.json").write_text(json.dumps(config | options, indent=1), encoding="utf-8")
    tensors = list(shapes(hidden=hidden, inner=inner or intermediate(hidden), layers=layers,
                          vocab=vocab, lower_bounds=lower_bounds).items())
    if shards == 1:
        _write_file(directory / "model.safetensors", dict(tensors), dtype, seed)
        return directory
    index = {}
    for n in range(shards):
        name = f"model-{n + 1:05}-of-{shards:05}.safetensors"
        part = dict(tensors[n * len(tensors) // shards:(n + 1) * len(tensors) // shards])
        _write_file(directory / name, part, dtype, seed)
        index |= dict.fromkeys(part, name)
    (directory / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index}), encoding="utf-8")
    return directory


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    for name, default in (("hidden", 64), ("inner", None), ("layers", 2), ("vocab", 131),
                          ("shards", 1), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", choices=("F32", "F16", "BF16"), default="F32")
    parser.add_argument("--no-lower-bounds", dest="lower_bounds", action="store_false")
    write(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
