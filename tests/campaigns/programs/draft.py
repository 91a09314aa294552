"""Single instructions of a random program, with what must be known to keep them legal."""

from dataclasses import dataclass

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Space, Stat
from tern_fpga.hw.control.sequencer import STREAM_DEPTH
from tests.campaigns.programs.program import Places


__all__ = ["Draft", "MASK32", "FREE", "STRIDED", "COUNTERS", "STEPS", "TRIES"]


MASK32 = (1 << 32) - 1
_ELEMENTWISE = ("mul", "add", "fma", "sigmoid", "silu")
FREE = (1, 2)                  # address registers that are set at any place but in loops
STRIDED = (3, 7)               # ... that loops count on
COUNTERS = (4, 5)               # their turns
STEPS = 6                       # ... and the steps of a program that ends by itself
TRIES = 12
_ANY = 1 << isa.N.width         # no limit of a length

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


class Draft:
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
            return self.scalar(), None, _ANY
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
        for _ in range(TRIES):
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
        r = rng.choice(FREE)
        imm = rng.choice([0, 1, rng.getrandbits(16), rng.getrandbits(32), -rng.getrandbits(8)])
        if rng.random() < 0.5:
            self.add("set", r=r, imm=imm & MASK32)
            self.r[r] = [imm & MASK32]
        else:
            self.add("add_r", r=r, imm=imm & MASK32)
            self.r[r] = [value + imm & MASK32 for value in self.r[r]]

    def memory(self):
        config, rng, places = self.config, self.rng, self.places
        mnemonic = rng.choice(["load", "load", "store", "store", "embed"])
        kind = Space.U if mnemonic != "embed" and rng.random() < 0.3 else Space.V
        operand, _, limit = self.vector(kind)
        grains = (places.weights - places.data) // places.grain
        count = {"load": config.positions, "store": config.positions,
                 "embed": self.rows}[mnemonic] if kind is Space.V else 1
        r = rng.choice([0, *FREE, *STRIDED])
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
        pitch = min(pitch, most, ((1 << isa.PITCH.width) - 1) // places.grain) * places.grain
        span -= words + (count - 1) * pitch
        start = places.data + rng.randint(0, min(span // places.grain,
                                                 rng.choice([4, grains]))) * places.grain
        self.add(mnemonic, **{"a" if mnemonic == "store" else "dst": operand}, n=n, r=r,
                 address=(start - low) & MASK32, pitch=pitch)

    def stream(self, words):
        """Descriptors of ``words`` words, which may lie in several places; returns how many."""
        rng, beat = self.rng, self.config.beat_words
        cuts = sorted(rng.randint(0, words // beat) for _ in range(rng.choice([0, 0, 0, 1, 3])))
        r = rng.choice([0, *FREE])
        places = self.places
        for a, b in zip([0, *cuts], [*cuts, words // beat]):
            size = (b - a) * beat
            start = rng.randint(places.weights, places.end - size)
            self.add("stream", r=r, address=(start - self.r[r][0]) & MASK32, words=size)
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
        """Matmuls for what is in the stream, each with the result's registers."""
        while self.pending and most:
            operands, _ = self.pending.pop(0)
            most -= 1
            if operands["dst"].space is Space.V:
                for _ in range(TRIES):
                    dst, _, limit = self.vector()
                    if limit >= operands["rows"]:
                        break
                else:
                    dst = Operand(Space.V, 0)
                operands["dst"] = dst
            self.add("matmul", **operands)
