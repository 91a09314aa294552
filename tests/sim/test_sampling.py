"""Sampling as a whole: what a user says, the distribution, and streams on the core."""

from dataclasses import replace
import math

import numpy as np
import pytest

from tern_fpga.assembler.contract.config import PRESETS
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.sim import engines
from tern_fpga.sim.golden.batch import Batch
from tern_fpga.sim.golden.gumbel import gumbel, random_bits
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.sampler import Sampler, Setting, keys_of
from tern_fpga.sim.golden.scheduler import Scheduler, parse_token
from tern_fpga.sim.host import conversation
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.compiled import CONFIGS, random_image


DRAWS = 100_000
SCALE = 0.003              # of sums, as in the shipped models


def upper_tail(chi_square, freedom):
    """P(X >= chi_square): the regularised upper gamma function, by its series."""
    a, x = freedom / 2, chi_square / 2
    if x > a + 300:
        return 0.0
    term = total = 1 / a
    n = a
    while term > total * 1e-15:
        n += 1
        term *= x / n
        total += term
    return 1 - total * math.exp(a * math.log(x) - x - math.lgamma(a))


def test_upper_tail_is_the_chi_square_distribution():
    assert upper_tail(3.841459, 1) == pytest.approx(0.05, rel=1e-5)
    assert upper_tail(18.307038, 10) == pytest.approx(0.05, rel=1e-5)
    assert upper_tail(149.449253, 100) == pytest.approx(0.001, rel=1e-4)


def p_value(chosen, logits):
    """Of the counts of ``chosen`` against softmax(logits); rows too rare to count are one class."""
    weights  = np.exp(logits - logits.max())
    expected = weights / weights.sum() * len(chosen)
    counts   = np.bincount(chosen, minlength=len(logits))
    rare     = expected < 5
    if expected[rare].sum() < 5:
        assert counts[rare].sum() <= 25
        counts, expected = counts[~rare], expected[~rare]
    else:
        counts   = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    return upper_tail(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)


def draws(sums, setting):
    """Tokens of DRAWS draws from the same sums, as the golden sampler has it, many at a time."""
    keys = keys_of(sums, SCALE, setting)
    rows = np.arange(len(sums))
    if setting.top_k:
        rows = np.sort(np.argsort(-keys, kind="stable")[:setting.top_k])
    chosen = []
    for counts in np.arange(DRAWS).reshape(-1, 5000, 1):
        variates = gumbel(random_bits(setting.seed, counts, rows))
        chosen.append(rows[(keys[rows] + variates).argmax(1)])
    chosen = np.concatenate(chosen)
    for n in range(100):                # and one by one
        sampler = Sampler(1)
        for part in np.array_split(sums, 3):
            sampler.take(part[None], [0], [SCALE], [replace(setting, count=n)])
        assert sampler.ids[0] == chosen[n]
    return chosen


def setting_of(sampling, seen=()):
    setting = Setting(inverse=sampling.inverse, seed=sampling.seed, top_k=sampling.top_k,
                      penalty=sampling.penalties[0], reward=sampling.penalties[1])
    setting.seen[list(seen)] = True
    return setting


def wanted_logits(sums, sampling, seen):
    """What the distribution is the softmax of, in float64."""
    logits = sums * SCALE
    penalty = np.where(logits < 0, sampling.repetition_penalty, 1 / sampling.repetition_penalty)
    logits = np.where(np.isin(np.arange(len(sums)), seen), logits * penalty, logits)
    logits = logits / sampling.temperature
    if sampling.top_k:
        logits[np.argsort(-logits, kind="stable")[sampling.top_k:]] = -np.inf
    return logits


SUMS = np.rint(np.random.default_rng(11).standard_normal(64) * 500).astype(np.int64)
SEEN = [int(row) for row in np.argsort(-SUMS)[[0, 2, 5, 40, 60]]]


@pytest.mark.parametrize("sampling, seen", [
    (Sampling(temperature=0.5, seed=1), ()),
    (Sampling(temperature=1, seed=2), ()),
    (Sampling(temperature=2, seed=3), ()),
    (Sampling(temperature=1, top_k=8, seed=4), ()),
    (Sampling(temperature=2, top_k=32, repetition_penalty=1.3, seed=5), SEEN),
    (Sampling(temperature=0.8, repetition_penalty=1.5, seed=6), SEEN),
], ids=str)
def test_draws_are_from_the_softmax(sampling, seen):
    chosen = draws(SUMS, setting_of(sampling, seen))
    assert p_value(chosen, wanted_logits(SUMS, sampling, seen)) > 0.001
    # The test would notice.
    for wrong in (replace(sampling, temperature=sampling.temperature * 1.1),
                  replace(sampling, repetition_penalty=sampling.repetition_penalty + 0.25)):
        assert p_value(chosen, wanted_logits(SUMS, wrong, seen or SEEN)) < 0.001


def test_variates_follow_each_other_without_relation():
    """Of neighbours by row, count and seed, as streams have them: together normal of variance 1."""
    for step in ({"row": 1}, {"row": 2}, {"count": 1}, {"seed": 1}, {"count": 1, "row": 1}):
        key = {"seed": np.arange(20)[:, None, None], "count": np.arange(50)[:, None],
               "row": np.arange(1000)}
        one, other = (gumbel(random_bits(**{name: x + far * step.get(name, 0)
                                            for name, x in key.items()})) for far in (0, 1))
        one, other = one - one.mean(), other - other.mean()
        related = (one * other).sum() / np.sqrt((one * one).sum() * (other * other).sum())
        assert abs(related) < 4 / math.sqrt(one.size)
        high = [(x > 2 * 4096) for x in (one, other)]
        both, each = (high[0] & high[1]).sum(), high[0].mean() * high[1].mean() * one.size
        assert abs(both - each) < 4 * math.sqrt(each)


@pytest.mark.parametrize("wrong, message", [
    ({"temperature": 0.01}, "temperature must be 0, or 0.016 to 1024, not 0.01"),
    ({"temperature": -1.0}, "temperature must be"), ({"temperature": math.nan}, "temperature must"),
    ({"top_k": 33}, "top_k must be 0 to 32, not 33"), ({"top_k": -1}, "top_k must be"),
    ({"repetition_penalty": 0.9}, "repetition_penalty must be 1 to 3.99, not 0.9"),
    ({"repetition_penalty": 4}, "repetition_penalty must be"),
    ({"seed": -1}, "seed must be 0 to 16777215, not -1"), ({"seed": 1 << 24}, "seed must be"),
])
def test_settings_outside_their_rules_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**wrong)


# One for each slot of a board of eight, no two alike.
CHOICES = [Sampling(temperature=1.2, top_k=12, seed=5), Sampling(),
           Sampling(temperature=0.7, repetition_penalty=1.3, seed=77),
           Sampling(repetition_penalty=2),
           Sampling(temperature=2, seed=1 << 23), Sampling(temperature=1.5, top_k=3, seed=8),
           Sampling(temperature=0.9, top_k=32, repetition_penalty=1.1, seed=9),
           Sampling(repetition_penalty=3.9)]
PROMPTS = [[3, 7], [50, 2, 9, 9, 31, 4, 18], [11], [8, 8, 120],
           [199, 5, 5], [17], [63, 1, 2, 3, 4, 5, 6, 7, 8, 9], [140, 7]]
EIGHT   = CONFIGS["many"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return random_image(tmp_path_factory.mktemp("sampling"), EIGHT, hidden=40, inner=72,
                        layers=2, vocab=200)


def talk(machine, config, streams, tokens=32):
    """Tokens of streams, {slot: number}, by number."""
    for slot, n in streams.items():
        machine.send(conversation(config, PROMPTS[n], tokens - n, slot=slot, sampling=CHOICES[n]))
    assert machine.run() == "waiting"
    if hasattr(machine, "settle"):
        machine.settle()
    words = [parse_token(word) for word in machine.tokens]
    machine.tokens.clear()
    return {n: [token for at, _, token in words if at == slot] for slot, n in streams.items()}


def test_streams_on_the_core(image):
    """In all slots at once, sampled and greedy, and each alone in another slot: the same ids."""
    config = image.config
    slots  = range(config.positions)
    assert len(slots) == len(CHOICES) == max(each.positions for each in PRESETS.values())
    golden, rtl = Machine(image), RtlMachine(image)
    together = talk(golden, config, {n: n for n in slots})
    assert [len(together[n]) for n in slots] == [32 - n for n in slots]
    assert talk(rtl, config, {n: n for n in slots}) == together
    for n in slots:
        alone = {(n + 3) % len(slots): n}
        assert talk(golden, config, alone) == {n: together[n]}
        assert talk(rtl, config, alone) == {n: together[n]}


def test_a_seed_goes_on_until_it_is_set_again(image):
    config, machine = image.config, Machine(image)
    words = [conversation(config, [3, 7], 8, sampling=sampling)
             for sampling in (CHOICES[0], None, CHOICES[0])]
    answers = []
    for each in words:
        machine.send(each)
        machine.run()
        answers.append([parse_token(word)[2] for word in machine.tokens])
        machine.tokens.clear()
    assert answers[0] == answers[2] != answers[1]


def test_temperature_0_is_greedy(image):
    engine = engines.start(image, "golden")
    plain, zero = ([token.id for token in engine.generate([[3, 7]], 12, sampling=sampling)]
                   for sampling in (None, Sampling(temperature=0, seed=9, top_k=3)))
    assert plain == zero


def test_engines_seed_each_stream(image):
    """A prompt has the same answer in whatever company, if its seed is the same."""
    ids = {}
    for prompts, offset in (([[3, 7]] * 3, 0), ([[3, 7]] * 2, 1)):
        for token in engines.start(image, "golden").generate(
                prompts, 12, sampling=replace(CHOICES[0], seed=5 + offset)):
            ids.setdefault((offset, token.stream + offset), []).append(token.id)
    assert ids[0, 1] == ids[1, 1] and ids[0, 2] == ids[1, 2] and ids[0, 0] != ids[0, 1]


def test_a_repetition_penalty_avoids_what_was_said(image):
    """On the float engine too, whose chance is another one."""
    for name in ("golden", "float"):
        engine = engines.start(image, name)
        plain, fresh = ([token.id for token in engine.generate([[3, 7]], 40, sampling=sampling)]
                        for sampling in (None, Sampling(repetition_penalty=3.9)))
        assert len(set(fresh)) > 1.5 * len(set(plain))


def test_batched_machines_draw_as_those_alone(image):
    config, copies = image.config, 3
    batch = Batch(image, copies=copies)
    messages = [conversation(config, [3, 7, m], 6, slot=1,
                             sampling=replace(CHOICES[m - 1], seed=m)) for m in range(copies)]
    batch.send_each(messages)
    batch.run()
    for scheduler, words in zip(batch.schedulers, messages):
        machine = Machine(image)
        machine.send(words)
        machine.run()
        assert scheduler.tokens == machine.tokens


def test_scheduler_refuses_a_top_k_that_the_core_lacks():
    scheduler = Scheduler(CONFIGS["wide"])
    scheduler.send(message(MessageKind.TOP_K, 0, 33))
    with pytest.raises(ValueError, match="top-k must be 0 to 32"):
        scheduler.next()
