"""What the host says while a random program runs."""

from tern_fpga.assembler.contract.registers import (
    PROMPT_ALL,
    PROMPT_FRESH,
    PROMPT_SAMPLE,
    MessageKind,
    message,
)
from tern_fpga.assembler.contract.sampling import Sampling


__all__ = ["rounds"]


def _prompt(config, rng, slot, vocabulary):
    count = rng.randint(1, config.positions)
    flags = 0
    for flag, chance in ((PROMPT_FRESH, 0.5), (PROMPT_SAMPLE, 0.8), (PROMPT_ALL, 0.2)):
        flags |= flag * (rng.random() < chance)
    return [message(MessageKind.PROMPT, slot, count | flags),
            *(rng.randrange(vocabulary) for _ in range(count))]


def rounds(config, rng, vocabulary):
    """Prompts of both kinds in several slots, chained ones too, and streams side by side."""
    out = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        words = []
        count = rng.choice([1, 2, 3, config.positions])
        slots = rng.sample(range(config.positions), min(count, config.positions))
        for slot in [*slots, *slots][:max(1, count)]:
            prompt = _prompt(config, rng, slot, vocabulary)
            if rng.random() < 0.4:
                # Forgetting what a slot has seen takes 2**15 cycles: not every time.
                sampling = Sampling(temperature=rng.choice([0.0, 0.5, 1.0, 8.0]),
                                    top_k=rng.choice([0, 0, 1, 3, 32]),
                                    repetition_penalty=rng.choice([1, 1, 1, 1.3, 3]),
                                    seed=rng.randrange(1 << 24))
                words += sampling.messages(slot)
            if rng.random() < 0.1:
                words.append(message(MessageKind.STOP, rng.randrange(config.positions), 0))
            if rng.random() < 0.1:
                words.append(message(MessageKind.STOP_TOKEN, 0, rng.randrange(vocabulary)))
            if rng.random() < 0.05:
                words.append(rng.choice([0, 9, 15]) << 28 | rng.getrandbits(28))    # ignored
            words += [message(MessageKind.GENERATE, slot, rng.randint(0, 4)), *prompt]
        out.append(tuple(words))
    return tuple(out)
