"""Random legal programs: all units, close and far dependences, both kinds of step."""

import random

import numpy as np

from assembler import isa, packing
from assembler.image import Image, Section
from assembler.isa import Operand, Space, Stat
from assembler.registers import PROMPT_ALL, PROMPT_FRESH, PROMPT_SAMPLE, MessageKind, message


__all__ = ["make"]


_SPAN = 3                   # registers of a vector: groups start at multiples, so that two
                            # vectors are the same, or nested from the first, or apart
_ELEMENTWISE = ("mul", "add", "fma", "sigmoid", "silu")


class _Program:
    """Collects instructions over few registers, so that they meet."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        groups = min(12, config.registers // _SPAN)
        # Uniform and per-position vectors keep to their own registers: the groups 0 to 2.
        self.u = [_SPAN * g for g in range(3)]
        self.v = [_SPAN * g for g in range(3, groups)]
        self.q = list(range(0, config.code_registers - _SPAN + 1, _SPAN))[:4]
        self.words = []

    def add(self, mnemonic, **operands):
        self.words.append(isa.encode(mnemonic, **operands))

    def n(self):
        limit = _SPAN * self.config.register_elements
        return self.rng.choice([1, self.rng.randint(1, limit), self.rng.randint(1, limit),
                                self.config.vector_lanes, limit])

    def vector(self):
        return Operand(Space.V, self.rng.choice(self.v))

    def scalar(self):
        return Operand(Space.S, self.rng.randrange(8))

    def source(self):
        kind = self.rng.random()
        if kind < 0.6:
            return self.vector()
        return Operand(Space.U, self.rng.choice(self.u)) if kind < 0.8 else self.scalar()

    def statistic(self):
        stat = self.rng.choice([Stat.NONE, Stat.NONE, Stat.ABSMAX, Stat.SUMSQ])
        return {"stat": int(stat), "stat_to": self.rng.randrange(8) if stat else 0}

    def elementwise(self):
        mnemonic = self.rng.choice(_ELEMENTWISE)
        row = isa.lookup(mnemonic)
        operands = {f.name: self.source() for f in row.fields if f.name in "abc"}
        n = self.n()
        kind = self.rng.random()
        if kind < 0.1:
            n, dst = 1, self.scalar()
        else:
            dst = Operand(Space.NONE) if kind < 0.2 else self.vector()
        self.add(mnemonic, dst=dst, n=n, **operands, **self.statistic())

    def scan(self):
        self.add("scan", dst=self.vector(), a=self.source(), b=self.vector(), c=self.source(),
                 n=self.n(), **self.statistic())

    def carry(self):
        self.add("carry", dst=self.vector(), a=self.vector(), n=self.n())

    def quant(self):
        self.add("quant", q=self.rng.choice(self.q), a=self.source(), b=self.scalar(), n=self.n())

    def scalars(self):
        if self.rng.random() < 0.5:
            self.add("div", dst=self.scalar(), a=self.scalar(), b=self.scalar())
        else:
            self.add("sqrt", dst=self.scalar(), a=self.scalar())

    def constant(self):
        value = self.config.float.round(self.rng.gauss(0, 1) * 2.0 ** self.rng.randint(-6, 6))
        self.add("const", dst=self.scalar(), value=int(self.config.float.encode(value)))

    def memory(self, data, count):
        n = self.n()
        words = self.config.vector_words(_SPAN * self.config.register_elements)
        place = {"n": n, "r": self.rng.choice([0, 1]), "address": 0, "pitch": words}
        # Four places of `positions` vectors; r1 is 0 or the second of them.
        slot = self.rng.randrange(3)
        place["address"] = data + slot * self.config.positions * words
        kind = self.rng.random()
        if kind < 0.2:
            self.add("load", dst=Operand(Space.U, self.rng.choice(self.u)), **place)
        elif kind < 0.5:
            self.add("load", dst=self.vector(), **place)
        elif kind < 0.6:
            self.add("store", a=Operand(Space.U, self.rng.choice(self.u)), **place)
        elif kind < 0.85:
            self.add("store", a=self.vector(), **place)
        else:
            self.add("embed", dst=self.vector(), **{**place, "address": data, "r": 0})

    def matmul(self, weights, size, sample=False):
        elements = self.config.register_elements
        blocks = self.rng.randint(1, max(1, _SPAN * elements // self.config.lanes))
        rows = self.rng.choice([1, self.rng.randint(1, _SPAN * elements)])
        words = rows * blocks * self.config.beat_words
        start = weights + self.rng.randrange(max(1, size - words))
        split = self.rng.randint(0, words) if self.rng.random() < 0.3 else words
        dst = Operand(Space.NONE) if sample else self.vector()
        stream = [{"address": start, "words": split},
                  {"address": start + split, "words": words - split}]
        return stream, {"dst": dst, "q": self.rng.choice(self.q), "a": self.scalar(),
                        "rows": rows, "blocks": blocks}


def make(config, *, length, seed):
    """A random program of about ``length`` instructions a step, and messages for it.

    Returns
    -------
    Image, list of int
        The image, and the words for the host to send.
    """
    rng = random.Random(seed)
    program = _Program(config, rng)
    vector = config.vector_words(_SPAN * config.register_elements)
    code = config.program_words * isa.WORD_BITS // config.memory_bits
    data, places = code, 4 * config.positions
    weights = data + places * vector
    size = config.memory_words - weights

    program.add("set", r=1, imm=0)
    for number in range(8):
        program.constant()
        program.words[-1] = isa.encode("const", dst=Operand(Space.S, number),
                                       value=isa.decode(program.words[-1])[1]["value"])
    entry = len(program.words)
    program.add("next")
    ahead = []                      # matmuls whose weights are in the stream
    while len(program.words) < entry + length:
        choice = rng.random()
        if choice < 0.45:
            program.elementwise()
        elif choice < 0.5:
            program.scan()
        elif choice < 0.55:
            program.carry()
        elif choice < 0.65:
            program.quant()
        elif choice < 0.7:
            program.scalars()
        elif choice < 0.73:
            program.constant()
        elif choice < 0.85:
            program.memory(data, places)
        elif choice < 0.88:
            program.add("set", r=1, imm=rng.choice([0, config.positions * vector]))
        elif choice < 0.94 and len(ahead) < 4:
            stream, operands = program.matmul(weights, size, sample=rng.random() < 0.3)
            for part in stream:
                program.add("stream", r=0, **part)
            ahead.append(operands)
        elif ahead:
            program.add("matmul", **ahead.pop(0))
    for operands in ahead:
        program.add("matmul", **operands)
    # At least one matmul to the sampler, or there would be nothing to hand out.
    stream, operands = program.matmul(weights, size, sample=True)
    for part in stream:
        program.add("stream", r=0, **part)
    program.add("matmul", **operands)
    program.add("emit")
    program.add("jump", target=entry)

    values = np.random.default_rng(seed)
    vectors = config.float.round(values.standard_normal(
        (places, _SPAN * config.register_elements)) * 2.0 ** values.integers(-3, 4, (places, 1)))
    stored = packing.pack_vector(vectors, config).reshape(-1)
    trits = values.integers(0, 256, size * config.word_bytes, np.uint8)
    words = b"".join(word.to_bytes(16, "little") for word in program.words)
    sections = [Section("program", 0, len(words), np.frombuffer(words, np.uint8)),
                Section("data", data, len(stored), stored),
                Section("weights", weights, len(trits), trits)]
    return Image(config, sections, 0, len(program.words)), _messages(config, rng)


def _messages(config, rng):
    """Prompts of both kinds in several slots, then streams that run side by side."""
    out = []
    for _ in range(3):
        slot = rng.randrange(config.positions)
        count = rng.randint(1, config.positions)
        flags = PROMPT_FRESH * rng.randint(0, 1) + PROMPT_SAMPLE + PROMPT_ALL * rng.randint(0, 1)
        out += [message(MessageKind.GENERATE, slot, rng.randint(2, 4)),
                message(MessageKind.PROMPT, slot, count | flags),
                *(rng.randrange(4) for _ in range(count))]
    return out
