import codecs

from hypothesis import given, settings, strategies
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import decoders as decoders_of, tokenizer
from tern_fpga.assembler.files.image import TOKENIZER, Image


TEXT = "Ein Löwe, 一只狮子, and a 🦁! The lion said: naïve fellow 🙂"


def byte_level(vocabulary=300, special=("<s>", "</s>")):
    """A byte-level BPE so small that most characters outside ASCII take several tokens."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, show_progress=False,
                                  special_tokens=list(special),
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


WORDS = loaded(byte_level())
TOKENS = {n: decoders_of.token_bytes(WORDS._token_of(n)) for n in range(2, 258)}
BYTE_IDS = {data[0]: n for n, data in TOKENS.items()}


def test_streamed_text_is_the_text():
    words = loaded(byte_level())
    ids = words.encode(TEXT)
    stream = words.stream()
    pieces = [stream.push(token) for token in ids]
    assert "".join(pieces) + stream.flush() == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    assert "" in pieces                             # half a character was held back


def test_every_byte_has_its_token():
    assert sorted(TOKENS.values()) == [bytes([b]) for b in range(256)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(strategies.lists(strategies.one_of(
    strategies.characters().filter(lambda c: not "\ud800" <= c <= "\udfff").map(str.encode),
    strategies.binary(min_size=1, max_size=3), strategies.sampled_from(
        [b"\xf0\x9f", b"\xe4\xb8", b"\xed\xa0\x80", b"\xf4\x90", "\ufffd".encode()])), max_size=20))
def test_any_bytes_come_as_soon_as_they_are_sure(pieces):
    """Characters in one token a byte, cut characters, bytes that are none, an end anywhere."""
    words, data = WORDS, b"".join(pieces)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    stream = words.stream()
    for byte in data:
        assert stream.push(BYTE_IDS[byte]) == decoder.decode(bytes([byte]))
    assert stream.flush() == decoder.decode(b"", final=True)


@pytest.mark.parametrize("seed", range(3))
def test_random_tokens_are_the_decoded_text(seed):
    """Tokens of several bytes, and what the library makes of all of them at once."""
    model = byte_level()
    ids = np.random.default_rng(seed).integers(2, 300, 300).tolist()
    stream = loaded(model).stream()
    text = "".join(map(stream.push, ids)) + stream.flush()
    assert text == model.decode(ids)


def test_an_end_inside_a_character_is_one_replacement():
    stream = WORDS.stream()
    assert [stream.push(BYTE_IDS[b]) for b in "a🦁".encode()[:-1]] == ["a", "", "", ""]
    assert stream.flush() == "\ufffd" and stream.flush() == ""


def test_a_prompt_may_end_inside_a_character():
    *first, last = [BYTE_IDS[b] for b in "一".encode()]
    assert WORDS.stream(first).push(last) == "一"


def test_bytes_that_a_vocabulary_falls_back_to():
    """Like SentencePiece with byte_fallback: characters outside the vocabulary are bytes."""
    words = {w: i for i, w in enumerate(["<unk>", "▁the", *(f"<0x{b:02X}>" for b in range(256))])}
    model = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    model.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                       decoders.Fuse()])
    stream = loaded(model).stream([1])
    ids = [2 + b for b in "é🦁".encode()]
    # Another byte would make all of the run U+FFFD.
    assert [stream.push(token) for token in [1, *ids, 1]] == [" the", *[""] * 6, "é🦁 the"]


def test_documents_end_with_the_separator():
    text = f"the lion\n\nand\n{tokenizer.SEPARATOR}\n\nthe\n{tokenizer.SEPARATOR}\n"
    assert tokenizer.documents(text) == ["the lion\n\nand", "the"]
    words = loaded(byte_level(special=[tokenizer.SEPARATOR]))
    assert words.encode_documents(text) == [*words.encode("the lion\n\nand"), 0,
                                            *words.encode("the"), 0]
    assert WORDS.encode_documents(text) == WORDS.encode(text)       # knows no such token


def test_word_after_the_prompt_keeps_its_space():
    stream = loaded(metaspace()).stream([1])
    assert [stream.push(token) for token in (2, 3, 5)] == [" lion", " roars", "."]


def test_what_goes_on_gets_no_special_tokens():
    """A conversation begins once; LLaMA's tokenizer puts `<s>` before any text."""
    model = byte_level()
    model.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[
        ("<s>", 0), ("</s>", 1)])
    words, plain = loaded(model), loaded(byte_level())
    assert words.encode("the lion") == [0, *plain.encode("the lion"), 1]
    assert words.encode("the lion", continues=True) == plain.encode("the lion")
    assert tokenizer.ByteTokenizer().encode("ab", continues=True) == [97, 98]


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
