"""`sim perf` to the cycle and the byte, against second ways to count them."""

from fractions import Fraction
import json

import pytest

from assembler.checkpoint import Checkpoint
from assembler.compile import compile_model
from assembler.config import CLOCK_MHZ, SDRAM_MHZ, preset
from sim import host, perf
from sim.golden.machine import Machine
from sim.rtl import RtlMachine
from tests import random_model
from tests.programs.machines import CONFIGS
from tests.test_counters import SHAPE, TINY
from tests.verilog import ROOT


STORIES = ROOT / "models" / "stories-5m"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_model.write(tmp_path_factory.mktemp("model") / "model", **SHAPE)


# What a token must read: trits of the matrices at 8/5 bits, one row of the embedding and every
# gain and bound at the width of the machine's float, each once.

def bits_by_the_checkpoint(folder, config):
    """From the names and shapes in the checkpoint's own files."""
    bits = Fraction(0)
    for name, shape in Checkpoint(folder).shapes.items():
        if name == "model.embeddings.weight":
            bits += shape[1] * config.float.width
        elif len(shape) == 2 and name != "model.lower_bounds":
            bits += Fraction(8, 5) * shape[0] * shape[1]
        else:
            count = 1
            for size in shape:
                count *= size
            bits += count * config.float.width
    return bits


def bits_by_the_architecture(manifest, config):
    """From the sizes of the model alone: arXiv 2406.02528, and a gain before every matrix."""
    model = manifest["model"]
    d, i, layers = (model[name] for name in ("hidden_size", "intermediate_size", "layers"))
    trits  = layers * (4 * d * d + 2 * i * d + d * i) + model["vocab_size"] * d
    # Of a layer: gains of f, i, g, o and of gate and up, three norms, and the bound; of down.
    floats = layers * (9 * d + i) + 3 * d
    return Fraction(8, 5) * trits + config.float.width * floats


def bits_by_the_manifest(manifest, config):
    """From the names of its tensors, and what must lie in between."""
    words = {"embeddings": 0, "matrix": 0, "float": 0}
    for tensor in manifest["tensors"]:
        name = tensor["name"].rpartition("layers.")[2].lstrip("0123456789.")
        if name == "model.embeddings.weight":
            words["embeddings"] += tensor["shape"][1]
        elif name in ("attn.f_proj.weight", "attn.i_proj.weight", "attn.g_proj.weight",
                      "attn.o_proj.weight", "mlp.gate_proj.weight", "mlp.down_proj.weight",
                      "lm_head.weight"):
            words["matrix"] += (tensor["rows"][1] - tensor["rows"][0]) * tensor["columns"]
        elif name in ("f_gain", "i_gain", "g_gain", "o_gain", "m_gain", "z_gain", "head_gain",
                      "attn_norm", "g_norm", "mlp_norm", "norm", "f_floor"):
            words["float"] += tensor["elements"]
        else:
            assert name == "f_slope", name      # 1 - floor: derived, so nothing that must be read
    return (Fraction(8, 5) * words["matrix"]
            + config.float.width * (words["embeddings"] + words["float"]))


@pytest.mark.parametrize("name, config", [("random", TINY), ("random", CONFIGS["wide"]),
                                          ("stories-5m", preset("ulx3s-85f"))])
def test_useful_bytes_are_those_of_the_checkpoint(folder, name, config):
    path  = STORIES if name == "stories-5m" else folder
    image = compile_model(path, config, "sim-tiny")
    found = 8 * Fraction(perf.useful_bytes(image))
    assert found == bits_by_the_checkpoint(path, config)
    assert found == bits_by_the_architecture(image.manifest, config)
    assert found == bits_by_the_manifest(image.manifest, config)
