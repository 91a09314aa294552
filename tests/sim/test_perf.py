"""`sim perf` to the cycle and the byte, against second ways to count them."""

from fractions import Fraction
import json
from math import prod
import re

import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import preset
from tern_fpga.sim import host
from tern_fpga.sim.commands import perf
from tern_fpga.sim.rtl.machine import RtlMachine
from tests import random_model
from tests.campaigns import rates
from tests.campaigns.programs.machines import CONFIGS
from tests.hw.test_counters import SHAPE, TINY
from tests.hw.test_sdram import FAST
from tests.verilog import ROOT


STORIES = ROOT / "models" / "stories-5m"
WINDOW  = 500               # cycles
POLL    = 8                 # cycles that the answer to a question for the status takes at most
# ... and cycles between two questions.
BETWEEN = int(re.search(r"POLL_CYCLES = (\d+);", (
    ROOT / "sim" / "rtl" / "harness.cpp").read_text(encoding="utf-8"))[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_model.write(tmp_path_factory.mktemp("model") / "model", **SHAPE)


# What a token must read: trits of the matrices at 8/5 bits, one row of the embedding and every
# gain and bound at the width of the machine's float, each once.

def bits_by_the_checkpoint(folder, config):
    """From the names and shapes in the checkpoint's own file."""
    with open(folder / "model.safetensors", "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    bits = Fraction(0)
    for name, shape in ((name, entry["shape"]) for name, entry in header.items()
                        if name != "__metadata__"):
        if name == "model.embeddings.weight":
            bits += shape[1] * config.float.width
        elif len(shape) == 2 and name != "model.lower_bounds":
            bits += Fraction(8, 5) * prod(shape)
        else:
            bits += prod(shape) * config.float.width
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
    if name == "random":                # the shipped one has packed weights
        assert found == bits_by_the_checkpoint(path, config)
    assert found == bits_by_the_architecture(image.manifest, config)
    assert found == bits_by_the_manifest(image.manifest, config)


# Cycles and bytes of whole steps, and what is made of them.

def arrival(image, words, messages, **options):
    """The clock cycle, counted one by one, after which so many words have come for the host."""
    def ready():
        machine = RtlMachine(image, **options)
        for words in messages:
            machine.send(words)
        return machine

    machine, before = ready(), 0
    while len(machine.tokens) < words:      # roughly
        before += WINDOW
        machine.clock(WINDOW)
    before -= WINDOW
    machine, cycle = ready(), before        # exactly
    machine.clock(before)
    assert len(machine.tokens) < words
    while len(machine.tokens) < words:
        machine.clock(1)
        cycle += 1
    return cycle


def cycles_by_single_clocks(image, *, tokens, warm_up, streams, **options):
    """From the last warm-up token to the last of all."""
    messages = [host.conversation(image.config, [1 + slot], warm_up + tokens, slot=slot)
                for slot in range(streams)]
    first, last = (arrival(image, streams * count, messages, **options)
                   for count in (warm_up, warm_up + tokens))
    return last - first


def cycles_by_polling(image, *, tokens, warm_up, streams, **options):
    """The same with the looks at the status that `RtlMachine.run` takes, one clock at a time."""
    machine = RtlMachine(image, **options)
    for slot in range(streams):
        machine.send(host.conversation(image.config, [1 + slot], warm_up + tokens, slot=slot))

    def until(words):
        while True:
            machine._get("status")
            machine.clock(0)                    # takes the words that have come
            if len(machine.tokens) >= words:
                return machine.total_cycles
            for _ in range(BETWEEN):
                if len(machine.tokens) < words:
                    machine.clock(1)

    first = until(streams * warm_up)
    assert machine.counters                     # which take time to read
    return until(streams * (warm_up + tokens)) - first


def words_by_the_manifest(image, *, streams):
    """(read, written) in a step: all streams and all that lies beside them, once; a row and the
    states of every stream."""
    manifest, config = image.manifest, image.config
    shared = sum(tensor["bytes"] for tensor in manifest["tensors"] if "elements" in tensor)
    (row,) = [tensor["pitch"] for tensor in manifest["tensors"] if "pitch" in tensor]
    states = 0 if manifest["states_in_registers"] else SHAPE["layers"] * row
    return (sum(entry["words"] for entry in manifest["weight_streams"])
            + shared // config.word_bytes + streams * (row + states)), streams * states


@pytest.mark.parametrize("config, streams, tokens, options", [
    ("narrow", 1, 2, {}), ("narrow", 1, 3, {"latency": 30}), ("wide", 1, 2, {}),
    ("wide", 3, 2, {})])
def test_cycles_and_bytes_are_exact(folder, config, streams, tokens, options):
    image  = compile_model(folder, CONFIGS[config], "sim-tiny")
    result = perf.measure(image, clock_mhz=80, tokens=tokens, warm_up=2, streams=streams,
                          **options)
    read, written = words_by_the_manifest(image, streams=streams)
    size   = image.config.word_bytes
    assert (result.bytes_read, result.bytes_written) == (read * size, written * size)
    cycles = cycles_by_polling(image, tokens=tokens, warm_up=2, streams=streams, **options)
    assert result.cycles * tokens == cycles
    # Of the tokens themselves; `RtlMachine.run` stops with its next look at the status.
    arrived = cycles_by_single_clocks(image, tokens=tokens, warm_up=2, streams=streams, **options)
    assert abs(cycles - arrived) <= POLL
    useful = bits_by_the_architecture(image.manifest, image.config) / 8
    share  = useful * tokens / (cycles * size)
    assert result.peak_share == pytest.approx(float(share), rel=1e-12)
    assert result.tokens_per_second == pytest.approx(80e6 * streams * tokens / cycles, rel=1e-12)
    assert result.peak_bytes == 80e6 * size
    model  = image.manifest["model"]
    d, i   = SHAPE["hidden"], SHAPE["inner"]
    assert result.adds == streams * (SHAPE["layers"] * (4 * d * d + 3 * d * i)
                                     + SHAPE["vocab"] * d) == streams * model["ternary_weights"]


def test_the_peak_is_that_of_the_pins(folder):
    """Of an SDRAM with a clock of its own: 16 bits at 400/3 MHz, whatever the core's port."""
    image  = compile_model(folder, FAST, "ulx3s-85f-133")
    result = perf.measure(image, clock_mhz=100, sdram_mhz=Fraction(400, 3), tokens=2,
                          memory="ulx3s-85f-133")
    peak   = 2 * Fraction(400_000_000, 3)
    assert result.peak_bytes == pytest.approx(float(peak), rel=1e-12)
    useful = bits_by_the_architecture(image.manifest, image.config) / 8
    time   = Fraction(result.cycles) / 100_000_000
    assert result.peak_share == pytest.approx(float(useful / (time * peak)), rel=1e-12)
    assert result.tokens_per_second == pytest.approx(float(1 / time), rel=1e-12)
    assert sum(result.memory_shares.values()) == pytest.approx(1)


def test_the_report_has_the_cycles_of_the_rtl(tmp_path):
    """To the cycle: README quotes this report."""
    pair = rates.PAIRS[0]
    rows = json.loads((ROOT / "docs" / "reports" / "estimator.json").read_text("utf-8"))["rows"]
    row, = (row for row in rows if (row["model"], row["machine"]) == (pair.model, pair.machine))
    guess, found = rates.measure(pair, tmp_path)
    assert (found.cycles, found.peak_share, guess) == (
        row["cycles"], row["useful"], row["estimate"])
