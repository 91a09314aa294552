"""Hostile tokenizers, prompts, and boards that answer what no board should."""

import io
import json
import random

import numpy as np

from tern_fpga.assembler.contract import link
from tern_fpga.assembler.contract.config import preset
from tern_fpga.assembler.files.image import TOKENIZER
from tern_fpga.firmware import port
from tests.campaigns.hostile.corpus import CONFIG, tokenizers
from tests.campaigns.hostile.mutate import INTEGERS, as_json, changed_tree, damaged
from tests.campaigns.hostile.sandbox import Case, Fifo, Link
from tests.firmware.golden_board import GoldenPort


__all__ = ["words", "prompts", "frames"]


_TEXTS = ("the lion", "", " ", "a" * 20, "\ud800", "🦁" * 4, "\x00", "<s><s>", "the\nlion",
          "\u202e", "a" * 40 + "!", "\udcff\udcfe", "ﷺ" * 3, "\x1b[2J")
_REGEX = ("(a+)+$", "(a|aa)+$", "(x+x+)+y", "(?:a?){40}a{40}", "(", "[", "*", "(?<=a+)b", "\\",
          "(?P<n>a)(?P=n)", "a{1,100000}", "(?:a{1000}){1000}", "", "^", "(?i)ſ", "\\p{Nope}",
          "(?R)", "(?:(?:(?:a*)*)*)*b", "\\1", "[[:alpha:]", "a" * 50_000, "(" * 3000)


def _base(corpus):
    return {f"image/{name}": data for name, data in corpus.image.items()}


def words(corpus, rng):
    """tokenizer.json, in a checkpoint or in an image."""
    tree = tokenizers()[rng.choice(sorted(tokenizers()))]
    match rng.randrange(6):
        case 0:
            data = damaged(json.dumps(tree).encode(), rng)
        case 1:
            regex = {"type": "Split", "pattern": {"Regex": rng.choice(_REGEX)},
                     "behavior": "Isolated", "invert": rng.choice((True, False))}
            tree["pre_tokenizer"] = regex
            data = as_json(tree)
        case 2:
            tree["normalizer"] = rng.choice((
                {"type": "Replace", "pattern": {"Regex": rng.choice(_REGEX)},
                 "content": rng.choice(("", "a" * 5000))},
                {"type": "Precompiled", "precompiled_charsmap": rng.choice(
                    ("", "AAAA", "AAEAAA==", "/////w==", "A" * 400))},
                {"type": "Sequence", "normalizers": [
                    {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40},
                {"type": "Prepend", "prepend": "x" * 100_000}))
            data = as_json(tree)
        case 3:
            tree["added_tokens"] = [{"id": rng.choice(INTEGERS), "content": rng.choice(
                ("", "a", "<x>", "\x1b[2J", "the")), "single_word": False, "lstrip": True,
                "rstrip": True, "normalized": rng.choice((True, False)), "special": False}
                for _ in range(rng.choice((1, 3)))]
            data = as_json(tree)
        case _:
            data = as_json(changed_tree(tree, rng))
    prompt = rng.choice(_TEXTS[:1] * 3 + ("a" * 40 + "!", "the the x"))
    command = rng.choice((
        ("sim", "generate", "image", "--prompt", prompt, "--tokens", "3"),
        ("sim", "generate", "image", "--prompt", prompt, "--tokens", "3"),
        ("sim", "perplexity", "image", "--text", "text.txt"),
        ("assembler", "model", "-o", "out")))
    files = {f"image/{TOKENIZER}": data, f"model/{TOKENIZER}": data}
    base = {f"model/{name}": data for name, data in corpus.whole.items()}
    return Case("tokenizers", "tokenizer", command, files=files,
                base=_base(corpus) | base | {"text.txt": b"the lion, " + b"a" * 24 + b"!"},
                named=(TOKENIZER, "image", "prompt", "text.txt"), outputs=("out",))


def _arrays(corpus, rng):
    """Files of NumPy, more or less."""
    def npy(header, body=bytes(48)):
        text = header.encode() + b"\n"
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body

    def saved(array):
        file = io.BytesIO()
        np.save(file, array, allow_pickle=True)
        return file.getvalue()

    shape = rng.choice(((1 << 40, 1 << 20), (1 << 62, 4), (-1, 3), (1 << 33, 1), (0, 3), (2, 0),
                        (True, 6), (2.0, 3), (10 ** 30, 1)))
    return rng.choice((
        damaged(corpus.ids, rng), damaged(corpus.ids, rng),
        npy(f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}, }}"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }"),
        npy("{'descr': '<i8', 'fortran_order': False, 'shape': " + "(" * 2000),
        npy("__import__('os').system('touch stray')"),
        saved(np.array([[rng.choice((-1, 259, 260, 1 << 62))]])), saved(np.array([[1.5]])),
        saved(np.array([[None]], object)), saved(np.zeros((2, 2), "<u8") + (1 << 63)),
        saved(np.zeros((1, 3), "<i1")), saved(np.zeros((3,), int)), b"", b"PK\x03\x04" + bytes(99)))


def prompts(corpus, rng):
    """Ids and text, on the command line and in files."""
    base = _base(corpus) | {"ids.npy": corpus.ids, "text.txt": b"the lion\n" * 2}
    files, stdin, prepare = {}, b"", None
    tokens = rng.choice(("3", "3", "3", "3", "0", "-1", "1e9", "9" * 5000, str(1 << 24), "٣"))
    match rng.randrange(5):
        case 0:
            ids = rng.choice(("1,2", ",".join(str(rng.choice(INTEGERS)) for _ in range(3)), "", ",",
                              "1,,2", "259", "260", "9" * 5000, "1e3", "٣", "0x10", "-1", "1;2",
                              "nan", ",".join(["1"] * 12), "\x1b[2J", "\udcff", "1\n2"))
            command = ("sim", "generate", "image", f"--ids={ids}", "--tokens", tokens)
        case 1:
            text = rng.choice((*_TEXTS, "".join(chr(rng.choice((
                rng.randrange(1, 128), rng.randrange(1, 0xd800), rng.randrange(0xdc80, 0xdd00))))
                for _ in range(9)))).replace("\0", "\1").replace("\ud800", "\udced")
            command = ("sim", "generate", "image", f"--prompt={text}", "--tokens", tokens)
        case 2:
            files["ids.npy"] = _arrays(corpus, rng)
            command = ("sim", "logits", "image", "--ids", "ids.npy", "-o", "logits.npy")
        case 3:
            files["text.txt"] = rng.choice((
                b"", b"a", b"\xff\xfe", bytes(20), b"\n" * 20, b"<|endoftext|>\n" * 9,
                damaged(b"the lion said " * 2, rng), "🦁".encode() * 4, Fifo, Link("nowhere")))
            context = rng.choice((("--context", "5"), ("--limit", "2"), ("--limit", "9" * 30),
                                  ("--context", "0"), ("--context", "9" * 30), ()))
            if files["text.txt"] is Fifo:       # the user named it, and waits for its writer
                files["text.txt"] = b"x"
            command = ("sim", "perplexity", "image", "--text", "text.txt", *context)
        case _:
            lines = rng.choice((b"the lion\n", b"\xff\xfe\n", b"1,2\n", b"9" * 12 + b"\n",
                                b"\0\n", b"a" * 12 + b"\n", rng.randbytes(12)))
            stdin, prepare = lines * 2, lambda: _connect(lambda: GoldenPort(CONFIG))
            command = ("firmware", "chat", "image", "--port", "board", "--tokens", tokens,
                       *rng.choice(((), ("--ids",))))
    return Case("prompts", "prompt", command, files=files, base=base, stdin=stdin, prepare=prepare,
                named=("prompt", "golden", "--ids", "--prompt", "--tokens", "ids.npy", "text.txt",
                       "--limit", "--context", "sequence"), outputs=("logits.npy",))


class _Hostile(GoldenPort):
    """A board that sometimes answers what it should not, in frames that are in order.

    Its time runs fast, for nobody here waits a minute.
    """
    def __init__(self, config, seed, mode):
        super().__init__(config)
        self._draw, self._mode = random.Random(seed), mode

    def _answer(self, frame):
        """Another frame in place of a right one."""
        draw, payload = self._draw, link.decode(frame)
        if payload is None or draw.random() < (0.9 if self._mode == "seldom" else 0.5):
            return frame
        head, data = payload[:3], payload[3:]
        match draw.randrange(7):
            case 0:
                data = draw.randbytes(draw.choice((0, 1, 3, 4, 8, 36, 240)))
            case 1:
                data = damaged(data, draw)[:240] if data else b"\xff" * 4
            case 2:
                head = bytes([head[0], draw.choice((0, 1, 2, 3, 4, 5, 9, 255)), head[2]])
            case 3:
                head = bytes([draw.randrange(256), head[1], draw.randrange(256)])
            case 4:
                return damaged(frame, draw)
            case 5:
                data = data[:4] + bytes([draw.choice((0, 1, 255))]) * (len(data) - 4)
            case _:
                data = (1 << 31 | draw.choice(INTEGERS[:16]) & 0xffffff).to_bytes(4, "little")
        return link.encode(head + data)

    def sleep(self, seconds):
        super().sleep(max(seconds, 0.05))

    def write(self, data):
        before = len(self._came)
        super().write(data)
        new, self._came = self._came[before:], self._came[:before]
        self._came += b"\0".join(self._answer(frame) if frame else frame
                                 for frame in new.split(b"\0"))

    def read(self, seconds):
        if self._mode == "babble":
            self._pass(1e-4)
            return self._draw.randbytes(200)
        if self._mode == "frames":
            self._pass(1e-4)
            return link.encode(self._draw.randbytes(7)) + b"\0"
        if self._mode == "endless":
            self._pass(1e-4)
            return b"\x55" * 4096
        return super().read(seconds)


def _connect(make):
    port.open_port = lambda args, config: make()


def frames(corpus, rng):
    """A board that lies."""
    seed, mode = rng.getrandbits(32), rng.choice(
        ("often", "often", "seldom", "seldom", "babble", "frames", "endless"))
    command = rng.choice((("upload", "image"),
                          ("chat", "image", "--prompt", "the", "--tokens", "3"),
                          ("chat", "image", "--prompt", "1,2", "--tokens", "3", "--ids"),
                          ("selftest", "--words", "1024")))
    config = preset("sim-tiny") if command[0] == "selftest" else CONFIG
    return Case("link frames", f"{mode} {seed}", ("firmware", *command, "--port", "board"),
                base=_base(corpus), named=("golden", "image", "board"),
                statuses=(0, 1, 2) if command[0] == "selftest" else (0, 2),
                prepare=lambda: _connect(lambda: _Hostile(config, seed, mode)))
