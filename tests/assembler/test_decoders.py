"""Streamed text is the text decoded at once: for any decoder of the library and any ids."""

import functools
import json
import time

from hypothesis import HealthCheck, assume, example, given, settings, strategies as st
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models

from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import guard
from tern_fpga.assembler.files.decoders import Decoding
from tests.assembler.test_tokenizer import TEXT, byte_level, loaded


# What decoders look for: word marks, byte tokens in order and out of it, half characters of
# byte-level alphabets, blanks at both ends, punctuation that cleaning moves.
TOKENS = [
    "<unk>", "", " ", "  ", "▁", "▁▁", "▁a", "a", "b ", "▁b▁", "é", "一", "\ufffd", "\n", "\x1b",
    "<0xC3>", "<0xA9>", "<0x41>", "<0xff>", "<0xF0>", "<0x9F>", "<0xA6>", "<0x81>", "<0x+5>",
    "<0xZZ>", "<0x20>", "</w>", "low</w>", "</w>x", "##s", "##", " ##t", ".", " .", ",", "?", "n't",
    "'s", " do not", "|", "<pad>", "x<pad>", "Ġa", "Ġ", "Ã", "©", "ð", "Ł", "¦", "ģ", "âĢ", "<s>",
    "</s>", "aa", "aaa", "ab"]
SPECIAL = ["<s>", "</s>", "<|im_start|>"]
ADDED   = [AddedToken(" foo", normalized=True), AddedToken("▁bar▁", normalized=False),
           AddedToken("<think>", special=False), AddedToken("Ġ¦é", normalized=False),
           AddedToken("<0xE9>", lstrip=True), AddedToken("a\u202eb", rstrip=True)]


def model(decoder):
    made = Tokenizer(models.WordLevel({token: n for n, token in enumerate(TOKENS)},
                                      unk_token="<unk>"))
    made.add_special_tokens(SPECIAL)
    made.add_tokens(ADDED)
    if decoder is not None:
        made.decoder = decoder
    return made


IDS = st.lists(st.one_of(
    st.integers(0, len(TOKENS) + len(ADDED)), st.sampled_from([60, 90, 5000, (1 << 24) - 1]),
    st.integers(TOKENS.index("<0xC3>"), TOKENS.index("<0x20>"))), max_size=24)

LETTERS = st.sampled_from(["▁", " ", "a", "é", "|"])
WORDS   = st.sampled_from(["▁", "a", "</w>", "##", "ab", " ", "<pad>", ""])

STEPS = st.one_of(
    st.builds(decoders.ByteLevel),
    st.builds(decoders.Metaspace, LETTERS, st.sampled_from(["always", "first", "never"])),
    st.builds(decoders.WordPiece, WORDS, st.booleans()),
    st.builds(decoders.BPEDecoder, WORDS),
    st.builds(decoders.CTC, WORDS, WORDS, st.booleans()),
    st.builds(decoders.Replace, WORDS, st.sampled_from([" ", "", "ab", "▁"])),
    st.builds(decoders.ByteFallback), st.builds(decoders.Fuse),
    st.builds(decoders.Strip, LETTERS, st.integers(0, 3), st.integers(0, 3)))

CHAINS = st.one_of(st.none(), STEPS, st.recursive(
    STEPS, lambda inner: st.lists(inner, max_size=4).map(decoders.Sequence), max_leaves=6))

# As models have them: LLaMA, Gemma, T5, BERT, GPT-2, an old BPE.
KNOWN = {
    "llama": decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
    "gemma": decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                decoders.Fuse()]),
    "metaspace, always": decoders.Metaspace(prepend_scheme="always"),
    "metaspace, first": decoders.Metaspace(prepend_scheme="first"),
    "metaspace, never": decoders.Metaspace(prepend_scheme="never"),
    "mistral": decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(),
                                  decoders.Fuse()]),
    "bert": decoders.WordPiece(),
    "gpt-2": decoders.ByteLevel(),
    "old": decoders.BPEDecoder(),
    "wav2vec": decoders.CTC(),
    "none": None,
    "regular expression": decoders.Sequence([
        decoders.Fuse(), decoders.Replace(Regex(r"(a\s*)+$"), "!")]),
    "both ends": decoders.Sequence([decoders.Fuse(), decoders.Strip(" ", 2, 2),
                                    decoders.Strip("a", 0, 1)]),
}


@functools.cache
def known(name):
    """The library's tokenizer and ours."""
    made = model(KNOWN[name])
    return made, loaded(made)


def at_once(made, ids):
    """The library's own; what makes it panic is no case, as often no text is."""
    if not ids:
        return ""
    try:
        return guard.call(lambda: made.decode(ids, skip_special_tokens=True), where="")
    except TernError:
        assume(False)


def check(pair, prompt, ids):
    made, words = pair
    before, whole = at_once(made, prompt), at_once(made, prompt + ids)
    stream = words.stream(prompt)
    pieces = [stream.push(token) for token in ids]
    text = "".join(pieces) + stream.flush()
    if whole.startswith(before):
        assert text == whole[len(before):]
    else:                               # the prompt ends in half a character, or before a space
        same = next(n for n, (a, b) in enumerate(zip(before + "\0", whole + "\1")) if a != b)
        assert text == whole[same:]
    assert stream.flush() == ""
    return pieces


@pytest.mark.parametrize("name", KNOWN)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(prompt=IDS, ids=IDS)
def test_decoders_of_models(name, prompt, ids):
    check(known(name), [], ids)
    check(known(name), prompt, ids)


@settings(max_examples=400, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.filter_too_much])
@given(decoder=CHAINS, prompt=IDS, ids=IDS)
def test_any_decoder(decoder, prompt, ids):
    made = model(decoder)
    check((made, loaded(made)), [], ids)
    check((made, loaded(made)), prompt, ids)


@pytest.mark.parametrize("scheme", [
    {"add_prefix_space": True}, {"add_prefix_space": True, "prepend_scheme": "first"},
    {"add_prefix_space": False, "prepend_scheme": "never"}])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(ids=IDS)
@example(ids=[TOKENS.index("</s>"), TOKENS.index("▁a"), TOKENS.index("<s>"), TOKENS.index("▁a")])
def test_metaspace_of_old_files(scheme, ids):
    tree = json.loads(model(None).to_str())
    tree["decoder"] = {"type": "Metaspace", "replacement": "▁", **scheme}
    made = Tokenizer.from_str(json.dumps(tree))
    check((made, loaded(made)), [], ids)


def test_a_space_after_a_special_token_stays():
    """LLaMA's: `</s>` is no text, and the space of the word after it is."""
    for name in ("llama", "mistral", "metaspace, always"):
        ids = [TOKENS.index(t) for t in ("<s>", "▁a", "</s>", "▁a", "<s>", "<s>", "▁b▁")]
        pieces = check(known(name), [], ids)
        assert pieces[1:4] == ["a", "", " a"]       # and nothing waits for the end


def test_text_comes_as_soon_as_it_is_sure():
    def pieces(name, *tokens):
        return check(known(name), [], [TOKENS.index(t) for t in tokens])

    assert pieces("bert", "a", "##s", "##", ".") == ["a", "s", "", "."]
    assert pieces("old", "low</w>", "a") == ["", "low "]
    assert pieces("gpt-2", "ð", "Ł", "¦", "ģ", "Ġa") == ["", "", "", "🦁", " a"]
    assert pieces("gemma", "▁a", "<0xC3>", "<0xA9>", "a") == [" a", "", "", "éa"]


def test_decoders_that_the_library_does_not_have_yet_wait_for_the_end():
    class Newer(Decoding):
        def _flat(self, step):
            return [part | {"type": "Metaspace2"} if part["type"] == "Metaspace" else part
                    for part in super()._flat(step)]

        def _library(self, *steps):
            return super()._library(*(step | {"type": step["type"].removesuffix("2")}
                                      for step in steps))

    words = loaded(model(KNOWN["metaspace, first"]))
    words._decoding = Newer(words._tokenizer)
    stream = words.stream()
    assert [stream.push(TOKENS.index(t)) for t in ("▁a", "▁a")] == ["", ""]
    assert stream.flush() == "a a"


@pytest.mark.parametrize("name", KNOWN)
def test_a_long_text_takes_no_longer_for_each_token(name):
    """Decoding a growing prefix, or all that was held, for each token takes many minutes."""
    _, words = known(name)
    ids = [n % len(TOKENS) for n in range(200_000)]
    start = time.monotonic()
    stream = words.stream(ids[:50_000])
    for token in ids:
        stream.push(token)
    stream.flush()
    assert time.monotonic() - start < 30


def test_text_that_was_encoded_comes_back():
    made = byte_level()
    ids = made.encode(TEXT).ids
    for cut in range(len(ids)):
        check((made, loaded(made)), ids[:cut], ids[cut:])


def test_a_decoder_that_panics_is_one_line():
    words = loaded(model(decoders.Strip("a", 0, 9)))
    stream = words.stream()
    with pytest.raises(TernError, match="not a tokenizer"):
        for token in range(len(TOKENS)):
            stream.push(token)
