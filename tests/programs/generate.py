"""Draws legal programs: all instructions, close and far dependences, loops, both kinds of step."""

from contextlib import contextmanager
from dataclasses import dataclass
import random

from assembler import isa
from assembler.isa import Operand, Space, Stat
from assembler.registers import (
    PROMPT_ALL,
    PROMPT_FRESH,
    PROMPT_SAMPLE,
    MessageKind,
    message,
)
from assembler.sampling import Sampling
from hw.sequencer import STREAM_DEPTH
from tests.programs.machines import Pace
from tests.programs.program import Places, Program
from tests.programs.trace import Trace, Undefined


__all__ = ["draw"]


_MASK32 = (1 << 32) - 1
_ELEMENTWISE = ("mul", "add", "fma", "sigmoid", "silu")
_FREE = (1, 2)                  # address registers that are set at any place but in loops
_STRIDED = (3, 7)               # ... that loops count on
_COUNTERS = (4, 5)
_STEPS = 6
_TRIES = 12

# What a stretch of a program is made of: weights of the kinds of instruction.
_MOODS = (
    {"elementwise": 10, "scan": 1, "carry": 1, "quant": 2, "scalar": 1, "const": 1, "memory": 3,
     "address": 1, "arrays": 2},
    {"elementwise": 10, "scan": 2, "carry": 1, "quant": 2, "scalar": 1},        # queues fill up
    {"memory": 12, "elementwise": 1, "address": 1},
    {"arrays": 6, "quant": 3, "elementwise": 2},
    {"scalar": 4, "const": 4, "elementwise": 4, "arrays": 1},
    {"memory": 4, "elementwise": 4, "quant": 2, "arrays": 3},
    {"address": 3, "memory": 1, "elementwise": 1},                              # ... and empty
)


@dataclass
class _Pool:
    """Registers that a stretch of a program uses: few, so that its instructions meet."""
    v: list
    s: list
    q: list
    longest: int            # elements


class _Draft:
    """Instructions so far, and what is known of the machine when it comes to the next."""

    def __init__(self, config, rng):
        self.config, self.rng = config, rng
        self.places = Places.of(config)
        self.code = []                              # [mnemonic, operands]
        self.r = {n: [0] for n in range(isa.ADDRESS_REGISTERS)}     # values each may have now
        self.room = config.program_words
        self.pending = []                           # matmuls whose weights are in the stream
        self.rows = rng.choice([3, 20, 60])         # a step samples among, at most
        self.left = 0                               # of them, in this step
        self.loops = 0
        self.mood, self.pool = None, None

    # Choices

    def few(self, numbers, most=4):
        return [self.rng.choice(numbers) for _ in range(self.rng.randint(1, most))]

    def change_mood(self):
        config, rng = self.config, self.rng
        self.mood = rng.choice(_MOODS)
        self.pool = _Pool(self.few(range(config.registers), 6),
                          self.few(range(isa.SCALARS), 6),
                          self.few(range(config.code_registers)),
                          rng.choice([config.vector_lanes, config.register_elements,
                                      2 * config.register_elements,
                                      5 * config.register_elements,
                                      config.registers * config.register_elements // 2]))

    def length(self, *limits):
        """Elements of a vector: 1, around a row, around a register, any, or as many as can be."""
        config, rng = self.config, self.rng
        limit = min(limits)
        longest = min(self.pool.longest, limit)
        n = rng.choice([1, rng.randint(1, config.vector_lanes + 1), rng.randint(1, longest),
                        config.register_elements + rng.randint(-1, 1),
                        config.vector_lanes * rng.randint(1, 8), longest])
        return max(1, min(n, limit))

    def scalar(self):
        if self.rng.random() < 0.05:
            return Operand(Space.S, self.rng.randrange(isa.SCALARS))
        return Operand(Space.S, self.rng.choice(self.pool.s))

    def vector(self, space=Space.V):
        """(operand, registers it may start at, elements that it can have)."""
        config, rng = self.config, self.rng
        start = (rng.randrange(config.registers) if rng.random() < 0.05
                 else rng.choice(self.pool.v))
        values = self.r[isa.INDEX_REGISTER]
        low, high = min(values), max(values)
        indexed = rng.random() < 0.3 and start + high - low < config.registers
        starts = [start + value - low for value in values] if indexed else [start]
        size = config.register_elements * (config.positions if space is Space.U else 1)
        number = (start - low) % (1 << Operand.NUMBER_BITS) if indexed else start
        return (Operand(space, number, indexed), starts,
                (config.registers - max(starts)) * size)

    def source(self, letters="vus"):
        kind = self.rng.choices("vus", [6, 2, 2])[0]
        if kind not in letters:
            kind = self.rng.choice(letters)
        if kind == "s":
            return self.scalar(), None, isa.N.hi << 16
        return self.vector(Space.V if kind == "v" else Space.U)

    def statistic(self):
        stat = self.rng.choice([Stat.NONE, Stat.NONE, Stat.ABSMAX, Stat.SUMSQ])
        return {"stat": int(stat), "stat_to": self.rng.choice(self.pool.s) if stat else 0}

    # Instructions

    def add(self, mnemonic, **operands):
        self.code.append([mnemonic, operands])

    def full(self, spare=0):
        """Whether the program memory has no room for more, but for what ends the program."""
        return len(self.code) + spare + 2 * len(self.pending) >= self.room - 24

    def _apart(self, dst, source, n):
        """Whether the result replaces the operand, or they do not meet, wherever r7 is."""
        (_, dsts, _), (operand, sources, _) = dst, source
        if sources is None:
            return True
        size = self.config.register_elements
        count = -(-n // size)
        if operand.space is Space.U:
            reach = -(-n // (size * self.config.positions))
        else:
            reach = count
        return all(d == s and operand.space is Space.V or d + count <= s or s + reach <= d
                   for d in dsts for s in sources)

    def vectors(self, mnemonic, letters, results="v"):
        """An instruction with sources in the spaces ``letters``, and a result of n elements."""
        config, rng = self.config, self.rng
        for _ in range(_TRIES):
            sources = {name: self.source(spaces) for name, spaces in letters.items()}
            n = self.length(*(limit for *_, limit in sources.values()),
                            config.registers * config.register_elements)
            kind = rng.choices("vs_", [8, 1, 1])[0]
            if kind not in results:
                kind = "v"
            if kind == "s":
                n, dst = 1, self.scalar()
            elif kind == "_":
                dst = Operand(Space.NONE)
            else:
                place = rng.choice([self.vector(), *(s for s in sources.values() if s[1]
                                                     and s[0].space is Space.V)])
                dst = place[0]
                if place[2] < n or not all(self._apart(place, s, n) for s in sources.values()):
                    continue
            operands = {name: source[0] for name, source in sources.items()}
            if isa.STAT in isa.lookup(mnemonic).fields:
                operands |= self.statistic()
            self.add(mnemonic, dst=dst, n=n, **operands)
            return

    def elementwise(self):
        mnemonic = self.rng.choice(_ELEMENTWISE)
        self.vectors(mnemonic, {f.name: "vus" for f in isa.lookup(mnemonic).fields
                                if f.name in "abc"}, "vs_")

    def scan(self):
        self.vectors("scan", {"a": "vus", "b": "v", "c": "vus"})

    def carry(self):
        self.vectors("carry", {"a": "v"})

    def quant(self):
        source, _, limit = self.source()
        q = self.rng.choice(self.pool.q)
        codes = (self.config.code_registers - q) * self.config.register_elements
        self.add("quant", q=q, a=source, b=self.scalar(), n=self.length(limit, codes))

    def scalar_only(self):
        if self.rng.random() < 0.5:
            self.add("div", dst=self.scalar(), a=self.scalar(), b=self.scalar())
        else:
            self.add("sqrt", dst=self.scalar(), a=self.scalar())

    def const(self, dst=None):
        rng, fmt = self.rng, self.config.float
        value = rng.choice([rng.gauss(0, 1) * 2.0 ** rng.randint(-6, 6), rng.gauss(0, 1),
                            rng.choice([0.0, 1.0, -1.0, fmt.max, fmt.tiny, 127.0])])
        self.add("const", dst=dst or self.scalar(), value=int(fmt.encode(fmt.round(value))))

    def address(self):
        """``set`` or ``add_r`` of a register that loops leave alone."""
        rng = self.rng
        if self.loops:
            if rng.random() < 0.3:
                self.add("add_r", r=0, imm=rng.getrandbits(32))
            return
        r = rng.choice(_FREE)
        imm = rng.choice([0, 1, rng.getrandbits(16), rng.getrandbits(32), -rng.getrandbits(8)])
        if rng.random() < 0.5:
            self.add("set", r=r, imm=imm & _MASK32)
            self.r[r] = [imm & _MASK32]
        else:
            self.add("add_r", r=r, imm=imm & _MASK32)
            self.r[r] = [value + imm & _MASK32 for value in self.r[r]]

    def memory(self):
        config, rng, places = self.config, self.rng, self.places
        mnemonic = rng.choice(["load", "load", "store", "store", "embed"])
        kind = Space.U if mnemonic != "embed" and rng.random() < 0.3 else Space.V
        operand, _, limit = self.vector(kind)
        grains = (places.weights - places.data) // places.grain
        count = {"load": config.positions, "store": config.positions,
                 "embed": self.rows}[mnemonic] if kind is Space.V else 1
        r = rng.choice([0, *_FREE, *_STRIDED])
        low, high = min(self.r[r]), max(self.r[r])
        if (high - low) % places.grain or high - low >= (places.weights - places.data) // 2:
            r, low, high = 0, 0, 0
        span = places.weights - places.data - (high - low)
        n = self.length(limit, span // 2 * config.memory_bits // config.row_bits
                        * config.vector_lanes)
        words = config.vector_words(n)
        most = (span - words) // max(1, count - 1) // places.grain
        whole = -(-words // places.grain)
        pitch = rng.choice([whole, whole, rng.randint(0, 2 * whole), 0])
        pitch = min(pitch, most, isa.PITCH.hi and ((1 << isa.PITCH.width) - 1) // places.grain)
        pitch *= places.grain
        span -= words + (count - 1) * pitch
        start = places.data + rng.randint(0, min(span // places.grain,
                                                 rng.choice([4, grains]))) * places.grain
        self.add(mnemonic, **{"a" if mnemonic == "store" else "dst": operand}, n=n, r=r,
                 address=(start - low) & _MASK32, pitch=pitch)

    def stream(self, words):
        """Descriptors of ``words`` words, which may lie in several places; returns how many."""
        rng, beat = self.rng, self.config.beat_words
        cuts = sorted(rng.randint(0, words // beat) for _ in range(rng.choice([0, 0, 0, 1, 3])))
        r = rng.choice([0, *_FREE])
        places = self.places
        for a, b in zip([0, *cuts], [*cuts, words // beat]):
            size = (b - a) * beat
            start = rng.randint(places.weights, places.end - size)
            self.add("stream", r=r, address=(start - self.r[r][0]) & _MASK32, words=size)
        return len(cuts) + 1

    def matmuls(self, most=3, sample=False):
        """Weights of some matmuls, which follow later."""
        config, rng, places = self.config, self.rng, self.places
        used = sum(entry[1] for entry in self.pending)
        if not sample and (used + 4 > STREAM_DEPTH or self.full(5 + most)):
            return
        room = (places.end - places.weights) // config.beat_words
        entries, beats = [], 0
        for _ in range(rng.randint(1, most)):
            q = rng.choice(self.pool.q)
            widest = (config.code_registers - q) * config.register_elements // config.lanes
            if not widest:
                q, widest = 0, config.code_registers * config.register_elements // config.lanes
            blocks = rng.randint(1, max(1, min(widest, rng.choice([1, 3, 8]))))
            to_sampler = sample or not self.loops and rng.random() < 0.2 and self.left > 1
            if to_sampler:
                dst, rows = Operand(Space.NONE), rng.randint(1, self.left - (not sample))
            else:
                dst, _, limit = self.vector()
                rows = self.length(limit, 4 * config.accumulator_rows)
            if beats + rows * blocks > room // 2:
                if not sample:
                    continue
                rows = blocks = 1
            beats += rows * blocks
            self.left -= rows * to_sampler
            entries.append([{"dst": dst, "q": q, "a": self.scalar(), "rows": rows,
                             "blocks": blocks}, 0])
        if entries:
            entries[-1][1] = self.stream(beats * config.beat_words)
            self.pending += entries

    def arrays(self):
        if self.pending and self.rng.random() < 0.6:
            self.flush(self.rng.choice([1, 1, 20]))
        else:
            self.matmuls()

    def flush(self, most=1 << 20):
        while self.pending and most:
            operands, _ = self.pending.pop(0)
            most -= 1
            if operands["dst"].indexed:         # r7 may be another by now
                operands["dst"] = Operand(Space.V, min(self.pool.v))
                limit = (self.config.registers - min(self.pool.v)) * self.config.register_elements
                if operands["rows"] > limit:
                    operands["dst"] = Operand(Space.V, 0)
            self.add("matmul", **operands)

    # Stretches

    def stretch(self, count):
        """About ``count`` instructions, with loops and jumps."""
        end = len(self.code) + count
        while len(self.code) < end and not self.full():
            choice = self.rng.random()
            if choice < 0.06 or self.mood is None:
                self.change_mood()
            elif choice < 0.08 and self.loops < len(_COUNTERS) and not self.full(40):
                self.loop(self.rng.randint(2, 14))
            elif choice < 0.1 and not self.full(12):
                self.jump_over(self.rng.randint(0, 5))
            else:
                kind, = self.rng.choices(list(self.mood), list(self.mood.values()))
                getattr(self, {"scalar": "scalar_only"}.get(kind, kind))()

    @contextmanager
    def alone(self):
        """What is written inside neither takes weights from outside nor leaves any."""
        self.flush()
        yield
        self.flush()

    def loop(self, count):
        rng, turns = self.rng, self.rng.randint(2, 5)
        counter = _COUNTERS[self.loops]
        mine = [r for r in _STRIDED if len(self.r[r]) == 1 and r not in self.strided
                and rng.random() < 0.5]
        with self.alone():
            steps = {}
            for r in mine:
                if r == isa.INDEX_REGISTER:
                    first = rng.choice([0, rng.randrange(8), -rng.randrange(1, 100)])
                    steps[r] = rng.choice([1, 1, 2, -1])
                else:
                    first = rng.choice([0, rng.getrandbits(20)])
                    steps[r] = rng.randint(0, 3) * self.places.grain
                self.add("set", r=r, imm=first & _MASK32)
                self.r[r] = [first + steps[r] * turn for turn in range(turns)]
            self.strided |= set(mine)
            self.add("set", r=counter, imm=turns)
            self.loops += 1
            top = len(self.code)
            self.stretch(count)
            self.flush()
            self.loops -= 1
            self.strided -= set(mine)
            for r, step in steps.items():
                self.add("add_r", r=r, imm=step & _MASK32)
                self.r[r] = [self.r[r][-1] + step]
            self.add("add_r", r=counter, imm=_MASK32)
            self.add("bnz", r=counter, target=top)

    strided = frozenset()

    def jump_over(self, count):
        """A branch over some instructions: always, never, in some turns, or in some steps."""
        rng = self.rng
        with self.alone():
            kind = rng.choice(["jump", "bnz", "bns"])
            self.add(kind, target=0, **({"r": rng.choice([0, *_FREE, *_STRIDED])}
                                        if kind == "bnz" else {}))
            branch = self.code[-1][1]
            loops, self.loops = self.loops, len(_COUNTERS)  # addresses stay as they are
            self.stretch(count)
            self.flush()
            self.loops = loops
            branch["target"] = len(self.code)

    def sample(self):
        """The end of a step: a matmul to the sampler at least, and ``emit``."""
        rng = self.rng
        self.flush()
        skip = rng.random() < 0.5
        if skip:
            self.add("bns", target=0)
            branch = self.code[-1][1]
            loops, self.loops = self.loops, len(_COUNTERS)
        self.left = max(1, self.left)
        self.matmuls(1, sample=True)
        self.flush()
        self.add("emit")
        if skip:
            self.stretch(rng.choice([0, 2]))
            self.flush()
            self.loops = loops
            branch["target"] = len(self.code)


def _code(config, rng, length):
    """A loop of steps of about ``length`` instructions in all, as instruction words."""
    draft = _Draft(config, rng)
    draft.change_mood()
    draft.room = rng.choice([config.program_words, config.program_words // 2 + 24])
    for number in rng.sample(range(isa.SCALARS), 8):
        draft.const(Operand(Space.S, number))
    if rng.random() < 0.3:
        draft.left = 0
        draft.stretch(length // 8)          # no position lives yet
        draft.flush()
    entry = len(draft.code)
    draft.r = {n: [0] for n in range(isa.ADDRESS_REGISTERS)}
    parts = rng.choice([1, 1, 2])
    for _ in range(parts):
        draft.add("next")
        for r in (*_FREE, *_STRIDED):       # nobody knows what the last step left there
            if r in _FREE or rng.random() < 0.9:
                value = rng.choice([0, rng.randrange(6)])
                draft.add("set", r=r, imm=value)
                draft.r[r] = [value]
        draft.left = draft.rows
        draft.stretch(length // parts)
        draft.sample()
        draft.stretch(rng.choice([0, 0, 3, 8]))
        draft.flush()
    draft.add("jump", target=entry)
    return draft


def _end(draft, rng):
    """Now and then a program ends by itself after some steps: by `halt`, past its last word, or
    at a word that is no instruction."""
    kind = rng.random()
    if kind > 0.25:
        return
    counter = _STEPS
    entry = draft.code.pop()[1]["target"]
    draft.code.insert(entry, ["set", {"r": counter, "imm": rng.randint(1, 5)}])
    for _, operands in draft.code:
        if operands.get("target", -1) >= entry:
            operands["target"] += 1
    draft.add("add_r", r=counter, imm=_MASK32)
    draft.add("bnz", r=counter, target=entry + 1)
    if kind > 0.15:
        draft.add("halt")
    elif kind > 0.08:
        draft.code.append([None, {"word": 0x3f << isa.OPCODE.lo | rng.getrandbits(122)}])


def _prompt(config, rng, vocabulary):
    slot, count = rng.randrange(config.positions), rng.randint(1, config.positions)
    flags = 0
    for flag, chance in ((PROMPT_FRESH, 0.5), (PROMPT_SAMPLE, 0.8), (PROMPT_ALL, 0.2)):
        flags |= flag * (rng.random() < chance)
    return slot, [message(MessageKind.PROMPT, slot, count | flags),
                  *(rng.randrange(vocabulary) for _ in range(count))]


def _rounds(config, rng, vocabulary):
    """Prompts of both kinds in several slots, chained ones too, and streams side by side."""
    rounds = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        words = []
        for _ in range(rng.randint(1, 3)):
            slot, prompt = _prompt(config, rng, vocabulary)
            if rng.random() < 0.4:
                # Forgetting what a slot has seen takes 2**15 cycles: not every time.
                sampling = Sampling(temperature=rng.choice([0.0, 0.5, 1.0, 8.0]),
                                    top_k=rng.choice([0, 0, 1, 3, 32]),
                                    repetition_penalty=rng.choice([1, 1, 1, 1, 1.5]),
                                    seed=rng.randrange(1 << 24))
                words += sampling.messages(slot)
            if rng.random() < 0.1:
                words.append(message(MessageKind.STOP, rng.randrange(config.positions), 0))
            if rng.random() < 0.1:
                words.append(message(MessageKind.STOP_TOKEN, 0, rng.randrange(vocabulary)))
            if rng.random() < 0.05:
                words.append(rng.choice([0, 9, 15]) << 28 | rng.getrandbits(28))    # ignored
            words += [message(MessageKind.GENERATE, slot, rng.randint(0, 4)), *prompt]
        rounds.append(tuple(words))
    return tuple(rounds)


def _words(code):
    return tuple(operands["word"] if mnemonic is None else isa.encode(mnemonic, **operands)
                 for mnemonic, operands in code)


def draw(config, *, seed, length=150):
    """A program of about ``length`` instructions a step, that does nothing undefined.

    What turns out to be undefined when it runs (a load of what is no float, since a store ended
    there) is left out.

    Returns
    -------
    Program, Trace, int
        The program, its run on the golden machine, and how many instructions were left out.
    """
    rng = random.Random(f"{config.digest} {seed}")
    while True:
        draft = _code(config, rng, length)
        _end(draft, rng)
        program = Program(config, _words(draft.code), rng.getrandbits(32),
                          _rounds(config, rng, draft.rows), Pace.draw(rng))
        for dropped in range(_TRIES):
            try:
                return program, Trace(program, most=20_000).run(), dropped
            except Undefined as error:
                if "no float" not in str(error):
                    break
                program = program.without(error.pc, 1)
