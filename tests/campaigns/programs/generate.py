"""Draws legal programs: all instructions, close and far dependences, loops, both kinds of step."""

from contextlib import contextmanager
import random

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Space
from tests.campaigns.programs.draft import COUNTERS, FREE, MASK32, STEPS, STRIDED, TRIES, Draft
from tests.campaigns.programs.machines import Pace
from tests.campaigns.programs.program import Program
from tests.campaigns.programs.talk import rounds
from tests.campaigns.programs.trace import Trace, Undefined


__all__ = ["draw"]


class _Body(Draft):
    """Stretches of instructions, with loops and jumps."""

    strided = frozenset()           # address registers that a loop counts on

    def stretch(self, count):
        """About ``count`` instructions, with loops and jumps."""
        end = len(self.code) + count
        while len(self.code) < end and not self.full():
            choice = self.rng.random()
            if choice < 0.06 or self.mood is None:
                self.change_mood()
            elif choice < 0.08 and self.loops < len(COUNTERS) and not self.full(40):
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
        counter = COUNTERS[self.loops]
        mine = [r for r in STRIDED if len(self.r[r]) == 1 and r not in self.strided
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
                self.add("set", r=r, imm=first & MASK32)
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
                self.add("add_r", r=r, imm=step & MASK32)
                self.r[r] = [self.r[r][-1] + step]
            self.add("add_r", r=counter, imm=MASK32)
            self.add("bnz", r=counter, target=top)

    def jump_over(self, count):
        """A branch over some instructions: always, never, in some turns, or in some steps."""
        rng = self.rng
        with self.alone():
            kind = rng.choice(["jump", "bnz", "bns"])
            self.add(kind, target=0, **({"r": rng.choice([0, *FREE, *STRIDED])}
                                        if kind == "bnz" else {}))
            branch = self.code[-1][1]
            loops, self.loops = self.loops, len(COUNTERS)  # addresses stay as they are
            self.stretch(count)
            self.flush()
            if kind == "jump" and rng.random() < 0.5:   # what nobody executes may be anything
                self.code.append([None, {"word": rng.getrandbits(isa.WORD_BITS)}])
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
            loops, self.loops = self.loops, len(COUNTERS)
        self.left = max(1, self.left)
        self.matmuls(1, sample=True)
        self.flush()
        self.add("emit")
        self.left = 0
        if skip:
            self.stretch(rng.choice([0, 2]))
            self.flush()
            self.loops = loops
            branch["target"] = len(self.code)


def _code(config, rng, length):
    """A loop of steps of about ``length`` instructions in all, as instruction words."""
    draft = _Body(config, rng)
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
        for r in (*FREE, *STRIDED):       # nobody knows what the last step left there
            if r in FREE or rng.random() < 0.9:
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
    counter = STEPS
    entry = draft.code.pop()[1]["target"]
    draft.code.insert(entry, ["set", {"r": counter, "imm": rng.randint(1, 5)}])
    for _, operands in draft.code:
        if operands.get("target", -1) >= entry:
            operands["target"] += 1
    draft.add("add_r", r=counter, imm=MASK32)
    draft.add("bnz", r=counter, target=entry + 1)
    if kind > 0.15:
        draft.add("halt")
    elif kind > 0.08:
        draft.code.append([None, {"word": 0x3f << isa.OPCODE.lo | rng.getrandbits(122)}])


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
        if len(draft.code) > config.program_words:
            continue
        program = Program(config, _words(draft.code), rng.getrandbits(32),
                          rounds(config, rng, draft.rows), Pace.draw(rng))
        for dropped in range(TRIES):
            try:
                return program, Trace(program, most=20_000).run(), dropped
            except Undefined as error:
                if "no float" not in str(error):
                    break
                program = program.without(error.pc, 1)
