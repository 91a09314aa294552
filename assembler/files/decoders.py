"""Decodes tokens piece by piece; the pieces join to exactly the text of all tokens at once.

A decoder of the tokenizers library takes a whole list of tokens. It is a chain of steps from
lists of tokens to lists of tokens. The result of most steps for a token depends only on the token
itself, on whether it is the first or the last, or on the run of byte tokens around it. Each step is
a stage here, which passes on what no later token can change. The text of a token is always the
library's own result. A step of unknown kind holds all tokens back until the end.
"""

import codecs
from collections.abc import Callable, Iterable, Sequence
import copy
import functools
import json
from typing import TYPE_CHECKING, Any, Protocol, Self


__all__ = ["Decoding", "Text", "byte_alphabet", "token_bytes"]


_BYTES       = 256
_REPLACEMENT = "\ufffd"
_KEPT        = 1 << 14      # cached results of the library for single tokens
_ANY         = "a"          # a token to put beside another one

_Decode = Callable[[tuple[str, ...]], str]      # the library's decoder: tokens -> text

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def byte_alphabet() -> dict[str, int]:
    """Character -> byte of GPT-2's byte-level vocabularies: printable bytes are unchanged."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [byte for byte in range(_BYTES) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(_BYTES + n): byte for n, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


def token_bytes(token: str) -> bytes:
    """The bytes of a token of a byte-level vocabulary.

    Added tokens may hold characters outside of the byte alphabet: then the token's UTF-8.
    """
    if not _ALPHABET.keys() >= set(token):
        return token.encode()
    return bytes(_ALPHABET[c] for c in token)


class _Stage(Protocol):
    """A step of a decoder: ``push`` takes a token and returns those that can no longer change;
    ``flush`` returns the rest."""
    def push(self, token: str) -> list[str]: ...
    def flush(self) -> list[str]: ...


class _Each:
    """Each token by itself. ``text_of``: token -> text."""
    def __init__(self, text_of: Callable[[str], str]) -> None:
        self._text_of = text_of

    def push(self, token: str) -> list[str]:
        return [self._text_of(token)]

    def flush(self) -> list[str]:
        return []


class _First(_Each):
    """The first token has a text of its own: for example, no space precedes it."""
    def __init__(self, text_of: Callable[[str], str], text_of_later: Callable[[str], str]) -> None:
        super().__init__(text_of)
        self._later = text_of_later

    def push(self, token: str) -> list[str]:
        text = super().push(token)
        self._text_of = self._later
        return text


class _Last:
    """The last token has a text of its own: ``text_of`` it; ``text_of_earlier`` of the others."""
    def __init__(self, text_of: Callable[[str], str],
                 text_of_earlier: Callable[[str], str]) -> None:
        self._text_of, self._earlier = text_of, text_of_earlier
        self._held: list[str] = []

    def push(self, token: str) -> list[str]:
        texts = [self._earlier(held) for held in self._held]
        self._held = [token]
        return texts

    def flush(self) -> list[str]:
        held, self._held = self._held, []
        return [self._text_of(token) for token in held]


class _Distinct(_Each):
    """Drops a token that equals the one before it, and a token whose text is empty."""
    _before: str | None = None

    def push(self, token: str) -> list[str]:
        if token == self._before:
            return []
        self._before = token
        return [text for text in super().push(token) if text]


class _Fallback:
    """Runs of byte tokens. A run is text if all of it is valid UTF-8, otherwise each byte becomes
    U+FFFD. So a run is held back until it ends. ``decode``: tuple of tokens -> text."""
    def __init__(self, decode: _Decode) -> None:
        self._decode = decode
        self._run: list[str] = []

    def push(self, token: str) -> list[str]:
        if self._decode((token,)) != token:
            self._run.append(token)
            return []
        return [*self.flush(), token]

    def flush(self) -> list[str]:
        run, self._run = self._run, []
        if not run:
            return []
        text = self._decode(tuple(run))
        return list(text) if text == _REPLACEMENT * len(run) else [text]


class _Bytes:
    """All tokens are bytes of one text. A character is passed on with its last byte."""
    def __init__(self, bytes_of: Callable[[str], bytes] = token_bytes) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: str) -> list[str]:
        return [self._decoder.decode(self._bytes_of(token))]

    def flush(self) -> list[str]:
        return [self._decoder.decode(b"", final=True)]


class _Strip:
    """Removes up to ``start`` characters ``content`` from the beginning of a text, and up to
    ``stop`` from its end. Tokens are pieces of the text."""
    def __init__(self, content: str, start: int, stop: int) -> None:
        self._content, self._start, self._stop = content, start, stop
        self._held = ""         # characters `content` that may be at the end of the text

    def push(self, token: str) -> list[str]:
        while self._start and token:
            self._start -= 1
            if token[0] != self._content:
                self._start = 0
            else:
                token = token[1:]
        text = self._held + token
        end = max(len(text.rstrip(self._content)), len(text) - self._stop)
        self._held = text[end:]
        return [text[:end]]

    def flush(self) -> list[str]:
        self._held = ""
        return []


class _Whole:
    """Holds all tokens until the end: for steps that may depend on all of them."""
    def __init__(self, decode: _Decode) -> None:
        self._decode = decode
        self._tokens: list[str] = []

    def push(self, token: str) -> list[str]:
        self._tokens.append(token)
        return []

    def flush(self) -> list[str]:
        tokens, self._tokens = tuple(self._tokens), []
        return [self._decode(tokens)] if tokens else []


def _call(function: Callable[..., Any], *arguments: object) -> Any:
    return function(*arguments)


class Decoding:
    """The steps of a tokenizer's decoder.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    call : function of (function, *arguments)
        Calls a function of the library: see :func:`assembler.files.guard.call`.
    """
    def __init__(self, tokenizer: "Tokenizer", call: Callable[..., Any] = _call) -> None:
        self._call = call
        self._stages: list[Callable[[], _Stage]]
        if tokenizer.decoder is None:
            self._stages = [lambda: _First(lambda token: token, lambda token: f" {token}")]
            return
        from tokenizers import Tokenizer, models  # slow to import, and most commands need none

        self._parse = Tokenizer.from_str
        bare = Tokenizer(models.BPE())
        bare.decoder = tokenizer.decoder
        self._tree = json.loads(call(bare.to_str))
        self._stages = self._factories(self._flat(self._tree["decoder"]))

    def _flat(self, step: dict[str, Any]) -> list[dict[str, Any]]:
        if step["type"] != "Sequence":
            return [step]
        return [part for inner in step["decoders"] for part in self._flat(inner)]

    def _library(self, *steps: dict[str, Any]) -> _Decode:
        """The library's decoder for these steps: tuple of tokens -> text."""
        tree = self._tree | {"decoder": {"type": "Sequence", "decoders": list(steps)}}
        decoder = self._call(self._parse, json.dumps(tree)).decoder
        return lambda tokens: self._call(decoder.decode, list(tokens))

    def _factories(self, steps: list[dict[str, Any]]) -> list[Callable[[], _Stage]]:
        """Functions that make the stages of a text, one for each step."""
        out: list[Callable[[], _Stage]] = []
        for n, step in enumerate(steps):
            decode, kind = self._library(step), step["type"]
            alone = functools.lru_cache(_KEPT)(lambda token, decode=decode: decode((token,)))
            if kind in ("Replace", "Strip"):
                out.append(functools.partial(_Each, alone))
            elif kind in ("Metaspace", "WordPiece"):
                out.append(functools.partial(_First, alone, self._beside(decode, before=True)))
            elif kind == "BPEDecoder":
                out.append(functools.partial(_Last, alone, self._beside(decode, before=False)))
            elif kind == "CTC":
                out.append(functools.partial(_Distinct, alone))
            elif kind == "ByteFallback":
                out.append(functools.partial(_Fallback, functools.lru_cache(_KEPT)(decode)))
            elif kind in ("Fuse", "ByteLevel") and all(
                    later["type"] in ("Fuse", "Strip") for later in steps[n + 1:]):
                # From here on there is a single token, which is passed on in pieces.
                if kind == "ByteLevel":
                    out.append(_Bytes)
                return out + [functools.partial(_Strip, *(later[key] for key in (
                    "content", "start", "stop")))
                    for later in steps[n + 1:] if later["type"] == "Strip"]
            else:
                return [*out, functools.partial(_Whole, self._library(*steps[n:]))]
        return out

    @staticmethod
    def _beside(decode: _Decode, *, before: bool) -> Callable[[str], str]:
        """Token -> its text with another token before it, or after it."""
        other = len(decode((_ANY,)))

        @functools.lru_cache(_KEPT)
        def text_of(token: str) -> str:
            if before:
                return decode((_ANY, token))[other:]
            text = decode((token, _ANY))
            return text[:len(text) - other]
        return text_of

    def stages(self) -> list[_Stage]:
        """New stages, for one text."""
        return [make() for make in self._stages]


class Text:
    """The text of a stream of ids.

    ``push(id)`` returns the text that can no longer change, ``flush()`` the rest. Joined, they are
    the text of ``given`` and all ids at once, less the text of ``given`` alone.

    Parameters
    ----------
    stages : list
        See :meth:`Decoding.stages`.
    token_of : function of an id
        Returns its token, or None if it is not part of the text.
    given : list of int
        Ids before the first one, whose text is already known.
    """
    def __init__(self, stages: Sequence[_Stage], token_of: Callable[[int], str | None],
                 given: Iterable[int] = ()) -> None:
        self._stages, self._token_of = stages, token_of
        self._known = ""        # the part of the given text that the stages may return again
        for token in given:
            self._through(token)
        self._known = self._rest(copy.deepcopy(self._stages))

    @classmethod
    def of_bytes(cls, given: Iterable[int] = ()) -> Self:
        """For ids that are the bytes of a text."""
        return cls([_Bytes(lambda token: token.encode("latin-1"))], chr, given)

    @staticmethod
    def _push(tokens: list[str], stages: Iterable[_Stage]) -> str:
        for stage in stages:
            tokens = [text for token in tokens for text in stage.push(token)]
        return "".join(tokens)

    def _through(self, token: int) -> str:
        text = self._token_of(token)
        return "" if text is None else self._push([text], self._stages)

    @classmethod
    def _rest(cls, stages: Sequence[_Stage]) -> str:
        return "".join(cls._push(stage.flush(), stages[n:])
                       for n, stage in enumerate(stages, 1))

    def _new(self, text: str) -> str:
        if not text or not self._known:
            return text
        # Another token may change the end of the given text, such as an incomplete character.
        same = next((n for n, (a, b) in enumerate(zip(text, self._known)) if a != b),
                    min(len(text), len(self._known)))
        self._known = "" if same < len(text) else self._known[same:]
        return text[same:]

    def push(self, token: int) -> str:
        """The text that this id makes certain."""
        return self._new(self._through(token))

    def flush(self) -> str:
        """The rest of the text, after the last id."""
        return self._new(self._rest(self._stages))
