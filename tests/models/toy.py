"""A small text, and a model that is trained on it in seconds."""

from dataclasses import replace
import random

from tern_fpga.models import text as texts
from tern_fpga.models.train import PRESETS


__all__ = ["RECIPE", "story", "tokens"]


RECIPE = replace(PRESETS["toy"], steps=40)


def story(documents=60, seed=0):
    """Text of simple sentences, in documents."""
    rng = random.Random(seed)
    words = [["the", "a", "one"], ["little", "old", "brown", "sly"],
             ["fox", "dog", "lion", "mouse"], ["saw", "met", "asked"],
             ["the moon", "a friend", "the king", "the naïve crow"]]
    lines = []
    for _ in range(documents):
        sentences = [" ".join(rng.choice(choice) for choice in words).capitalize() + "."
                     for _ in range(rng.randint(4, 9))]
        lines += [" ".join(sentences), texts.SEPARATOR]
    return "\n".join(lines) + "\n"


def tokens(recipe=RECIPE, seed=0):
    """(tokenizer, ids) of :func:`story`."""
    text = story(seed=seed)
    tokenizer = texts.train_tokenizer(text, recipe.shape.vocab)
    return tokenizer, texts.encode(tokenizer, text)
