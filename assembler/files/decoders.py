"""Text of tokens, piece by piece, that is letter for letter the text of all of them at once.

A decoder of the tokenizers library takes a whole list of tokens. It is a chain of steps from
lists of tokens to lists of tokens, and each kind of step looks only so far: at the token alone, at
whether it is the first or the last, or at the run of byte tokens that it is in. So each step is
a stage here that passes on what no later token can change. What a token becomes is the library's
own answer for it. A step of which that is not known keeps everything up to the end.
"""

import codecs
import copy
import functools
import json


__all__ = ["Decoding", "Text", "byte_alphabet", "token_bytes"]


_BYTES       = 256
_REPLACEMENT = "\ufffd"
_KEPT        = 1 << 14      # answers of the library for single tokens
_ANY         = "a"          # a token that stands beside the one in question


def byte_alphabet():
    """Character -> byte of byte-level vocabularies, GPT-2's: what prints stands for itself."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [byte for byte in range(_BYTES) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {
        chr(_BYTES + n): byte for n, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


def token_bytes(token):
    """What a token of a byte-level vocabulary stands for; its UTF-8 if it is not of that
    alphabet, as added tokens may be."""
    if not _ALPHABET.keys() >= set(token):
        return token.encode()
    return bytes(_ALPHABET[c] for c in token)


# Stages. ``push`` takes a token and returns those that are sure by now; ``flush`` those left.

class _Each:
    """Each token by itself. ``text_of``: function of it."""
    def __init__(self, text_of):
        self._text_of = text_of

    def push(self, token):
        return [self._text_of(token)]

    def flush(self):
        return []


class _First(_Each):
    """The first token is another case than the ones after it, as where it begins no word."""
    def __init__(self, text_of, text_of_later):
        super().__init__(text_of)
        self._later = text_of_later

    def push(self, token):
        text = super().push(token)
        self._text_of = self._later
        return text


class _Last:
    """The last token is another case than the ones before it."""
    def __init__(self, text_of, text_of_earlier):
        self._text_of, self._earlier = text_of, text_of_earlier
        self._held = []

    def push(self, token):
        texts = [self._earlier(held) for held in self._held]
        self._held = [token]
        return texts

    def flush(self):
        held, self._held = self._held, []
        return [self._text_of(token) for token in held]


class _Distinct(_Each):
    """A token that repeats the one before it is dropped, and one that becomes nothing."""
    _before = None

    def push(self, token):
        if token == self._before:
            return []
        self._before = token
        return [text for text in super().push(token) if text]


class _Fallback:
    """A run of byte tokens is one character or more if it is UTF-8 as a whole, otherwise each byte
    is U+FFFD: nothing of it is sure before it ends. ``decode``: of a list of tokens."""
    def __init__(self, decode):
        self._decode = decode
        self._run = []

    def push(self, token):
        if self._decode((token,)) != token:
            self._run.append(token)
            return []
        return [*self.flush(), token]

    def flush(self):
        run, self._run = self._run, []
        if not run:
            return []
        text = self._decode(tuple(run))
        return list(text) if text == _REPLACEMENT * len(run) else [text]


class _Bytes:
    """All tokens are bytes of one text: a character appears with its last byte."""
    def __init__(self, bytes_of=token_bytes):
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token):
        return [self._decoder.decode(self._bytes_of(token))]

    def flush(self):
        return [self._decoder.decode(b"", final=True)]


class _Strip:
    """So many of a character are cut off at both ends of a text, whose pieces come."""
    def __init__(self, content, start, stop):
        self._content, self._start, self._stop = content, start, stop
        self._held = ""         # of the character, so that it may be at the end

    def push(self, token):
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

    def flush(self):
        self._held = ""
        return []


class _Whole:
    """All of the text at its end: for steps that may look at all of it."""
    def __init__(self, decode):
        self._decode = decode
        self._tokens = []

    def push(self, token):
        self._tokens.append(token)
        return []

    def flush(self):
        tokens, self._tokens = tuple(self._tokens), []
        return [self._decode(tokens)] if tokens else []


class Decoding:
    """The steps of a tokenizer's decoder.

    Parameters
    ----------
    tokenizer : tokenizers.Tokenizer
    call : function of (function, *arguments)
        Calls the library: see :func:`assembler.files.guard.call`.
    """
    def __init__(self, tokenizer, call=lambda function, *arguments: function(*arguments)):
        self._call = call
        if tokenizer.decoder is None:
            self._stages = [lambda: _First(lambda token: token, lambda token: f" {token}")]
            return
        from tokenizers import Tokenizer, models  # slow, and most commands need none

        self._parse = Tokenizer.from_str
        bare = Tokenizer(models.BPE())
        bare.decoder = tokenizer.decoder
        self._tree = json.loads(call(bare.to_str))
        self._stages = self._factories(self._flat(self._tree["decoder"]))

    def _flat(self, step):
        if step["type"] != "Sequence":
            return [step]
        return [part for inner in step["decoders"] for part in self._flat(inner)]

    def _library(self, *steps):
        """The library's function of a tuple of tokens that carries out some steps."""
        tree = self._tree | {"decoder": {"type": "Sequence", "decoders": list(steps)}}
        decoder = self._call(self._parse, json.dumps(tree)).decoder
        return lambda tokens: self._call(decoder.decode, list(tokens))

    def _factories(self, steps):
        out = []
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
                # One token is left, which comes in pieces from here on.
                if kind == "ByteLevel":
                    out.append(_Bytes)
                return out + [functools.partial(_Strip, *(later[key] for key in (
                    "content", "start", "stop")))
                    for later in steps[n + 1:] if later["type"] == "Strip"]
            else:
                return [*out, functools.partial(_Whole, self._library(*steps[n:]))]
        return out

    @staticmethod
    def _beside(decode, *, before):
        """What a token becomes with another one before it, or after it."""
        other = len(decode((_ANY,)))

        @functools.lru_cache(_KEPT)
        def text_of(token):
            if before:
                return decode((_ANY, token))[other:]
            text = decode((token, _ANY))
            return text[:len(text) - other]
        return text_of

    def stages(self):
        """Stages for one text."""
        return [make() for make in self._stages]


class Text:
    """The text of ids as they come.

    ``push(id)`` returns what is sure, ``flush()`` the rest: together, the text of ``given`` and
    all ids at once, without what is in the text of ``given`` alone.

    Parameters
    ----------
    stages : list
        See :meth:`Decoding.stages`.
    token_of : function of an id
        Its token, or None where it is no part of the text.
    given : list of int
        Ids before the first one, whose text is known already.
    """
    def __init__(self, stages, token_of, given=()):
        self._stages, self._token_of = stages, token_of
        self._known = ""        # of the given text, that may come again
        for token in given:
            self._through(token)
        self._known = self._rest(copy.deepcopy(self._stages))

    @classmethod
    def of_bytes(cls, given=()):
        """Ids are the bytes of a text."""
        return cls([_Bytes(lambda token: bytes([token]))], lambda token: token, given)

    @staticmethod
    def _push(tokens, stages):
        for stage in stages:
            tokens = [text for token in tokens for text in stage.push(token)]
        return "".join(tokens)

    def _through(self, token):
        token = self._token_of(token)
        return "" if token is None else self._push([token], self._stages)

    @classmethod
    def _rest(cls, stages):
        return "".join(cls._push(stage.flush(), stages[n:])
                       for n, stage in enumerate(stages, 1))

    def _new(self, text):
        if not text or not self._known:
            return text
        # The given text may end in what another token changes, as half a character.
        same = next((n for n, (a, b) in enumerate(zip(text, self._known)) if a != b),
                    min(len(text), len(self._known)))
        self._known = "" if same < len(text) else self._known[same:]
        return text[same:]

    def push(self, token):
        return self._new(self._through(token))

    def flush(self):
        return self._new(self._rest(self._stages))
