import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from assembler import tokenizer
from assembler.config import preset
from assembler.errors import TernError
from assembler.image import TOKENIZER, Image


TEXT = "Ein Löwe, 一只狮子, and a 🦁! The lion said: naïve fellow 🙂"


def byte_level(vocabulary=300):
    """A byte-level BPE so small that most characters outside ASCII take several tokens."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False,
                                  special_tokens=["<s>", "</s>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    model.train_from_iterator(["the lion and the fellow said a thing"], trainer)
    return model


def metaspace():
    """Like SentencePiece: a token that begins a word carries the space before it."""
    words = {w: i for i, w in enumerate(["<unk>", "▁the", "▁lion", "▁roars", "s", "."])}
    model = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    model.decoder = decoders.Metaspace()
    return model


def image(files=None, vocab=300):
    return Image(preset("sim-tiny"), [], 0, 0, {"model": {"vocab_size": vocab}}, files or {})


def loaded(model):
    return tokenizer.load(image({TOKENIZER: model.to_str().encode()}))


def test_streamed_text_is_the_text():
    words = loaded(byte_level())
    ids = words.encode(TEXT)
    stream = words.stream()
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.flush() == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces                             # half a character was held back


@pytest.mark.parametrize("seed", range(5))
def test_random_tokens_lose_nothing_and_are_not_held_back_for_long(seed):
    words = loaded(byte_level())
    ids = np.random.default_rng(seed).integers(2, 258, 200).tolist()
    stream = words.stream()
    held = longest = 0
    for token in ids:
        text = stream.push(token)
        text.encode("utf-8")
        held = 0 if text else held + 1
        longest = max(longest, held)
    assert longest < 8      # two characters at the most, where bytes make none


def test_word_after_the_prompt_keeps_its_space():
    stream = loaded(metaspace()).stream([1])
    assert [stream.push(token) for token in (2, 3, 5)] == [" lion", " roars", "."]


def test_special_tokens_are_not_text():
    words = loaded(byte_level())
    stream = words.stream()
    assert stream.push(1) + stream.push(words.encode("a")[0]) == "a"


def test_bytes_where_the_vocabulary_is_256():
    words = tokenizer.load(image(vocab=256))
    ids = words.encode(TEXT)
    assert ids == list(TEXT.encode())
    stream = words.stream(ids)
    assert "".join(map(stream.push, ids)) == TEXT
    assert stream.push(0xf0) == "" and stream.push(0x9f) == "" and stream.flush() == "\ufffd"


def test_no_tokenizer_and_broken_ones():
    assert tokenizer.load(image(vocab=300)) is None
    with pytest.raises(TernError, match="tokenizer.json: not a tokenizer"):
        tokenizer.load(image({TOKENIZER: b'{"version": 1}'}))
