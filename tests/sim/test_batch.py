"""The batched golden machine: each copy computes what a machine alone would."""

from dataclasses import replace

import numpy as np
import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.sim import engines
from tern_fpga.sim.golden.batch import Batch
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.host import conversation, prompt
from tests.compiled import CONFIGS, random_image


SHAPE = dict(hidden=40, inner=72, layers=3, vocab=61)
# States in registers, in memory; uniform vectors over one position, over several.
MACHINES = {
    "narrow": CONFIGS["narrow"], "wide": CONFIGS["wide"], "many": CONFIGS["many"],
    "states in memory": replace(preset("sim-tiny"), registers=16, register_elements=32,
                                code_registers=32, positions=2),
}


def places(batch, m):
    """Places of machine m."""
    return slice(m, None, batch.copies)


@pytest.mark.parametrize("config", MACHINES.values(), ids=MACHINES)
def test_every_copy_is_the_machine_alone(tmp_path, config):
    """All registers after every instruction of prompts, then of streams."""
    image = random_image(tmp_path, config, **SHAPE)
    rng = np.random.default_rng(3)
    copies = 3
    batch = Batch(image, copies=copies, logits=True)
    alone = [Machine(image, logits=True) for _ in range(copies)]
    assert image.manifest["states_in_registers"] == (config is not MACHINES["states in memory"])
    messages = [[word for slot in range(min(2, config.positions))
                 for word in conversation(config, rng.integers(0, 61, 5 + slot).tolist(), 4,
                                          slot=slot)] for _ in range(copies)]
    batch.send_each(messages)
    for machine, words in zip(alone, messages):
        machine.send(words)
    status = "running"
    while status == "running":
        status = batch.step()
        for m, machine in enumerate(alone):
            assert machine.step() == status
            assert batch.pc == machine.pc and batch.r == machine.r
            for ours, theirs in ((batch.v, machine.v), (batch.q, machine.q), (batch.s, machine.s)):
                assert np.array_equal(ours[:, places(batch, m)], theirs)
    assert status == "waiting" and batch.schedulers[0].tokens
    for m, machine in enumerate(alone):
        assert batch.schedulers[m].tokens == machine.tokens
        assert len(batch.logits) == len(machine.logits)
        for ours, theirs in zip(batch.logits, machine.logits):
            assert np.array_equal(ours[places(batch, m)], theirs)
    assert batch.saturated == any(machine.saturated for machine in alone)


@pytest.mark.parametrize("engine", ["golden", "float"])
def test_predictions_of_many_sequences(tmp_path, engine):
    """More sequences than copies, of no whole number of chunks."""
    image = random_image(tmp_path, CONFIGS["wide"], **SHAPE)
    ids = np.random.default_rng(4).integers(0, 61, (7, 10))
    logits, chosen = np.full((7, 10, 61), np.nan), np.zeros((7, 10), int)
    for rows, columns, values, tokens in engines.start(
            image, engine, logits=True, copies=3).predict_all(ids):
        logits[rows, columns], chosen[rows, columns] = values, tokens
    single = engines.start(image, engine, logits=True)
    for row in range(7):
        expected = list(single.predict(ids[row]))
        assert np.array_equal(chosen[row], np.concatenate([tokens for _, tokens in expected]))
        expected = np.concatenate([values for values, _ in expected])
        # The order of float64 sums may depend on the number of rows.
        assert (logits[row] == expected).all() if engine == "golden" else np.allclose(
            logits[row], expected, rtol=1e-9)
    assert (chosen == logits.argmax(-1)).mean() > 0.9       # but for ties of rounded logits
    again = [part[0] for part in single.predict_all(ids[:2])]
    assert again[0] == slice(0, 1) and again[-1] == slice(1, 2)


def test_uniform_vectors_are_registers_of_each_copy():
    """Read as a uniform vector what vector instructions wrote, different in each copy."""
    config = CONFIGS["wide"]
    u = Operand(Space.U, 1)
    words = [isa.encode("next"), isa.encode("mul", dst=Operand(Space.V, 2), a=u,
                                            b=Operand(Space.V, 0), n=70), isa.encode("halt")]
    batch = Batch.__new__(Batch)
    batch.copies = 2
    batch._setup(config, words, np.zeros(config.memory_bytes, np.uint8), False)
    alone = [Machine.bare(config, words) for _ in range(2)]
    rng = np.random.default_rng(5)
    for m, machine in enumerate(alone):
        machine.v[:] = config.float.round(rng.standard_normal(machine.v.shape))
        batch.v[:, places(batch, m)] = machine.v
        machine.send(prompt(config, [1, 2, 3]))
    batch.send(prompt(config, [1, 2, 3]))
    assert batch.run() == "halted"
    for m, machine in enumerate(alone):
        machine.run()
        assert np.array_equal(batch.v[:, places(batch, m)], machine.v)


def test_different_messages_are_refused(tmp_path):
    image = random_image(tmp_path, CONFIGS["wide"], **SHAPE)
    batch = Batch(image, copies=2)
    batch.send_each([prompt(image.config, [1, 2]), prompt(image.config, [1])])
    with pytest.raises(ValueError, match="different messages"):
        batch.run()
