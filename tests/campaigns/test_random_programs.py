"""Random programs at full speed, and step by step: RTL equals golden."""

from pathlib import Path
import random

import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Space, Stat
from tern_fpga.assembler.contract.registers import PROMPT_SAMPLE, MessageKind, message
from tern_fpga.sim.commands.lockstep import Lockstep
from tern_fpga.sim.golden.machine import Machine
from tests.campaigns.programs import illegal
from tests.campaigns.programs.compare import Outcome, compare
from tests.campaigns.programs.coverage import Coverage, state_names
from tests.campaigns.programs.generate import draw
from tests.campaigns.programs.machines import CONFIGS, SHIPPED
from tests.campaigns.programs.program import Places, Program
from tests.campaigns.programs.report import plain
from tests.campaigns.programs.shrink import shrink
from tests.campaigns.programs.trace import Trace, Undefined


FOUND = sorted((Path(__file__).parents[1] / "data" / "programs").glob("*.tasm"))
INSTRUCTIONS = 300          # of each test: 2 machines x 5 seeds x 300 = 3,000
NARROW = CONFIGS["narrow"]

over_machines = pytest.mark.parametrize("name", SHIPPED)


@over_machines
@pytest.mark.parametrize("seed", range(1, 6))
def test_at_full_speed(name, seed):
    done = number = 0
    while done < INSTRUCTIONS:
        print(f"python -m tests.campaigns.programs --only {name} --seed {seed} --number {number}")
        program, trace, _ = draw(CONFIGS[name], seed=f"{seed} {name} {number}")
        assert compare(program, trace).difference is None
        done += trace.executed
        number += 1


@over_machines
@pytest.mark.parametrize("seed", [101])
def test_step_by_step(name, seed):
    program, trace, _ = draw(CONFIGS[name], seed=seed, length=60)
    pair = Lockstep(program.image())
    for words in program.send:
        pair.send(words)
        difference = pair.run()
        assert difference is None, str(difference)
    assert pair.count == trace.executed


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_found_once(path):
    program = Program.parse(path.read_text(encoding="utf-8"), path.name)
    assert compare(program, Trace(program).run()).difference is None


@over_machines
def test_illegal_words_end(name):
    kinds, faults = illegal.run(CONFIGS[name], seed=1, count=50)
    assert set(kinds) == set(illegal.KINDS) and faults == []


@pytest.mark.parametrize("seed", [1])
def test_random_words_come_back_from_text(seed):
    rng = random.Random(seed)
    for name in SHIPPED:
        for _ in range(300):
            assert illegal.check_text(rng.getrandbits(isa.WORD_BITS), CONFIGS[name]) is None


def test_programs_reach_every_instruction_operand_branch_and_step():
    coverage = Coverage()
    for name, count in (("narrow", 3), ("wide", 3), ("pair", 3), ("eight", 3), ("few", 6)):
        for seed in range(count):
            _, trace, _ = draw(CONFIGS[name], seed=seed)
            coverage.add(trace, Outcome())
    missing = coverage.missing()
    del missing["counters"]                 # the RTL's
    assert not any(missing.values()), missing


def test_every_state_machine_is_watched_and_has_names():
    program, trace, _ = draw(NARROW, seed=1)
    outcome = compare(program, trace, watch=True)
    states = {plain(path): seen for path, seen in outcome.states.items()}
    names = {plain(path): known for path, known in state_names(NARROW).items()}
    assert states.keys() == names.keys()
    assert all(seen <= set(range(len(names[path]))) for path, seen in states.items())
    assert len(states["core", "sequencer", "fsm_state"]) > 4


def test_a_program_comes_back_from_its_file():
    for name in SHIPPED:
        program, *_ = draw(CONFIGS[name], seed=7)
        assert Program.parse(program.text("a note")) == program


class Faulty(Machine):
    """Adds where it should multiply and add."""

    def _fma(self, dst, a, b, c, n, stat, stat_to):
        self._add(dst, a, c, n, stat, stat_to)


def test_a_failure_shrinks_to_a_few_lines():
    def fails(program, trace):
        faulty = Trace(program, machine=Faulty).run()
        return not (faulty.golden.v == trace.golden.v).all()

    program = next(program for program, trace, _ in
                   (draw(NARROW, seed=seed, length=20) for seed in range(20))
                   if trace.executed < 500 and fails(program, trace))
    short = shrink(program, fails)
    words = [isa.decode(word)[0] for word in short.words]
    assert fails(short, Trace(short).run())
    assert len(words) <= 8 and "fma" in words and len(program.words) > 20


def test_jumps_lead_to_the_same_instruction_when_others_go():
    words = [isa.encode("jump", target=3), *[isa.encode("add_r", r=1, imm=n) for n in (1, 2, 3)],
             isa.encode("bnz", r=1, target=2), isa.encode("jump", target=5)]
    left = Program(NARROW, tuple(words)).without(1, 2).words
    assert [isa.decode(word)[1].get("target") for word in left] == [1, None, 1, 3]


def v(number):
    return Operand(Space.V, number)


S0 = Operand(Space.S, 0)
NEXT = ("next", {})
STREAM = ("stream", {"r": 0, "address": Places.of(NARROW).weights, "words": 1})
SAMPLE = ("matmul", {"dst": Operand(Space.NONE), "q": 0, "a": S0, "rows": 1, "blocks": 1})
EMIT = ("emit", {})
STORE = ("store", {"a": Operand(Space.U, 0), "n": 8, "r": 0, "pitch": 0,
                   "address": Places.of(NARROW).data})

UNDEFINED = {
    "overlaps a": [("add", {"dst": v(1), "a": v(0), "b": S0, "n": 20})],
    "overlaps b": [("mul", {"dst": v(0), "a": S0, "b": Operand(Space.U, 0), "n": 1})],
    "there is no v": [("silu", {"dst": v(31), "a": S0, "n": 17})],
    "there is no q": [("quant", {"q": 16, "a": v(0), "b": S0, "n": 1})],
    "more than 16 streams": [STREAM] * 17,
    "lacks 1 words": [SAMPLE],
    "without emit": [NEXT, STREAM, SAMPLE, NEXT],
    "no matmul to the sampler": [NEXT, EMIT],
    "second emit": [NEXT, STREAM, SAMPLE, EMIT, EMIT],
    "behind the step's emit": [NEXT, STREAM, STREAM, SAMPLE, EMIT, SAMPLE],
    "no float": [("load", {"dst": Operand(Space.U, 0), "n": 64, "r": 0, "pitch": 0,
                           "address": Places.of(NARROW).weights})],
    "outside": [("load", {"dst": Operand(Space.U, 0), "n": 64, "r": 0, "pitch": 0,
                          "address": NARROW.memory_words - 8})],
    "without `next`": [("stream", {"r": 0, "address": Places.of(NARROW).data, "words": 9}), STORE],
    "of the same words": [STORE, ("stream", {"r": 0, "address": Places.of(NARROW).data + 8,
                                             "words": 9})],
    "does not end": [("jump", {"target": 0})],
}


@pytest.mark.parametrize("why, code", UNDEFINED.items(), ids=UNDEFINED)
def test_what_a_program_must_not_do_is_noticed(why, code):
    send = (message(MessageKind.GENERATE, 0, 1), message(MessageKind.PROMPT, 0, 1 | PROMPT_SAMPLE),
            1)
    words = tuple(isa.encode(mnemonic, **operands) for mnemonic, operands in code)
    with pytest.raises(Undefined, match=why):
        Trace(Program(NARROW, words, send=(send,)), most=100).run()


def test_a_result_may_replace_an_operand():
    code = [("add", {"dst": v(0), "a": v(0), "b": v(2), "n": 32, "stat": int(Stat.SUMSQ)}),
            ("mul", {"dst": v(2), "a": v(0), "b": v(0), "n": 32})]
    words = tuple(isa.encode(mnemonic, **operands) for mnemonic, operands in code)
    assert Trace(Program(NARROW, words)).run().status == ["halted"]
