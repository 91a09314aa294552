"""Control, memory and array instructions of the golden machine, and its positions."""

from fractions import Fraction

import numpy as np
import pytest

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.assembler.contract.registers import PROMPT_ALL, PROMPT_SAMPLE
from tern_fpga.assembler.files import packing
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import parse_token
from tests.exact import (
    CONFIGS,
    NONE,
    changes_only,
    elements,
    fill,
    over_configs,
    prompt_machine,
    rounded,
    s,
    stream_machine,
    u,
    v,
)


@over_configs
def test_a_count_of_nothing_is_a_fault(config):
    """The fault is at the instruction itself, and what came before it counts."""
    for instr in isa.INSTRUCTIONS:
        for f in (f for f in instr.fields if f.least):
            word = isa.encode(instr.mnemonic, **{g.name: g.least for g in instr.fields})
            machine = Machine.bare(config, [isa.encode("set", r=1, imm=5), word - (1 << f.lo)])
            assert machine.run() == "fault"
            assert machine.pc == 1 and machine.r[1] == 5


@over_configs
def test_matmul_to_a_vector(config):
    rng = np.random.default_rng(3)
    rows, columns = 2 * config.accumulator_rows + 3, config.lanes + 7
    blocks = packing.blocks(columns, config)
    weights = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
    data = packing.tile(weights, config)
    words = len(data) // config.word_bytes
    # The stream comes in two pieces whose seam is inside a tile.
    program = [isa.encode("set", r=2, imm=100),
               isa.encode("stream", r=2, address=0, words=words // 2),
               isa.encode("stream", r=2, address=words // 2, words=words - words // 2),
               isa.encode("matmul", dst=v(0), q=1, a=s(3), rows=rows, blocks=blocks)]
    slots = [0, config.positions - 1]
    machine = stream_machine(config, program, slots)
    fill(machine, seed=4)
    machine.q[1, 0] = formats.CODE.min
    machine.memory[100 * config.word_bytes:][:len(data)] = data
    before = machine.v.copy()
    assert machine.run() == "halted"
    fmt = config.float
    for p in slots:
        q = [int(machine.q[1 + e // config.register_elements, p, e % config.register_elements])
             for e in range(columns)]
        sums = [sum(int(w) * x for w, x in zip(row, q)) for row in weights]
        expected = [rounded(fmt, rounded(fmt, Fraction(x)) * Fraction(machine.s[3, p]))
                    for x in sums]
        assert elements(machine, v(0), rows, p) == expected
    assert changes_only(machine, before, 0, slots, rows)
    assert machine.weight_words == words and machine.array_beats == rows * blocks
    assert not machine.weights.queue


@over_configs
def test_sampler_takes_the_first_of_the_largest_sums(config):
    """Two matmuls of one row block each; a tie between them goes to the lower row."""
    weights = np.zeros((7, config.lanes), np.int8)
    weights[[2, 3, 5], :2] = [[1, 0], [0, 1], [1, 1]]
    data = packing.tile(weights, config)
    words = len(data) // config.word_bytes
    matmul = isa.encode("matmul", dst=NONE, q=0, a=s(0), rows=7, blocks=1)
    program = [isa.encode("stream", r=0, address=0, words=words)] * 2 + [matmul] * 2 + \
              [isa.encode("emit")]
    machine = prompt_machine(config, program, config.positions,
                             flags=PROMPT_SAMPLE | PROMPT_ALL)
    machine.keep_logits = True
    machine.memory[:len(data)] = data
    machine.s[0] = config.float.round(0.1)
    machine.q[0, :, :2] = [[9, -9]]                 # row 2 wins, again as row 9: a tie
    machine.q[0, 1, :2] = [-5, -3]                  # zeros win: row 0
    assert machine.run() == "halted"
    ids = [token for _, _, token in map(parse_token, machine.tokens)]
    assert ids == [2, 0] + [2] * (config.positions - 2)
    logits, = machine.logits
    assert logits.shape == (config.positions, 14)
    nine = float(rounded(config.float, 9 * Fraction(machine.s[0, 0])))
    assert logits[0].tolist() == [0, 0, nine, -nine, 0, 0, 0] * 2


def stored(config, x):
    """The words of a stored vector as one dense bit string, without the packer's code."""
    bits = 0
    for e, word in enumerate(config.float.encode(x)):
        bits |= int(word) << e * config.float.width
    return np.frombuffer(bits.to_bytes(config.vector_words(len(x)) * config.word_bytes,
                                       "little"), np.uint8)


@over_configs
def test_uniform_load_and_store(config):
    n = 3 * config.register_elements + 1
    rows = config.rows(n) * config.vector_lanes
    program = [isa.encode("set", r=3, imm=0xfffffff0), isa.encode("add_r", r=3, imm=0x30),
               isa.encode("load", dst=u(1), n=n, r=3, address=1, pitch=0),
               isa.encode("store", a=u(1), n=n, r=0, address=500, pitch=0)]
    machine = Machine.bare(config, program)
    fill(machine, seed=7)
    x = config.float.round(np.random.default_rng(8).normal(size=rows))
    data = stored(config, x)
    machine.memory[0x21 * config.word_bytes:][:len(data)] = data
    assert machine.run() == "halted"
    assert [float(e) for e in elements(machine, u(1), rows, 0)] == x.tolist()
    assert (machine.memory[500 * config.word_bytes:][:len(data)] == data).all()


@over_configs
@pytest.mark.parametrize("chain", [True, False], ids=["prompt", "streams"])
def test_load_and_store_move_the_slots_of_the_step(config, chain):
    n, pitch, slot = config.register_elements + 3, 100, config.positions - 1
    rows = config.rows(n) * config.vector_lanes
    program = [isa.encode("load", dst=v(4), n=n, r=0, address=10, pitch=pitch),
               isa.encode("store", a=v(4), n=n, r=0, address=1000, pitch=pitch)]
    if chain:
        machine = prompt_machine(config, program, 1, slot)
    else:
        machine = stream_machine(config, program, [0, slot])
    fill(machine, seed=9)
    x = config.float.round(np.random.default_rng(10).normal(size=(config.positions, rows)))
    for p in range(config.positions):
        data = stored(config, x[p])
        machine.memory[(10 + p * pitch) * config.word_bytes:][:len(data)] = data
    before = machine.v.copy()
    assert machine.run() == "halted"
    moved = [slot] if chain else sorted({0, slot})
    for p in range(config.positions):
        data = machine.memory[(1000 + p * pitch) * config.word_bytes:][:len(stored(config, x[p]))]
        if p in moved:
            assert [float(e) for e in elements(machine, v(4), rows, p)] == x[p].tolist()
            assert (data == stored(config, x[p])).all()
        else:
            assert not data.any()
    assert changes_only(machine, before, 4, moved, rows)


@over_configs
def test_embed_reads_each_positions_token(config):
    n, pitch = 5, config.vector_words(5) + 1
    machine = prompt_machine(config, [isa.encode("embed", dst=v(2), n=n, r=0, address=3,
                                                 pitch=pitch)])
    rows = config.rows(n) * config.vector_lanes
    x = config.float.round(np.random.default_rng(11).normal(size=(config.positions, rows)))
    for p in range(config.positions):               # position p's token is p
        data = stored(config, x[p])
        machine.memory[(3 + p * pitch) * config.word_bytes:][:len(data)] = data
    machine.step()
    for p in range(config.positions):
        assert machine.v[2, p, :rows].tolist() == x[p].tolist()


CONFIG = CONFIGS["narrow"]


def test_control_flow():
    program = [isa.encode("set", r=1, imm=3),               # 0
               isa.encode("set", r=0, imm=9),               # 1: r0 stays 0
               isa.encode("add_r", r=0, imm=9),             # 2
               isa.encode("add_r", r=2, imm=5),             # 3: the loop
               isa.encode("add_r", r=1, imm=0xffffffff),    # 4
               isa.encode("bnz", r=1, target=3),            # 5
               isa.encode("bnz", r=0, target=0),            # 6
               isa.encode("jump", target=9),                # 7
               isa.encode("set", r=2, imm=0),               # 8
               isa.encode("halt")]                          # 9
    machine = Machine.bare(CONFIG, program)
    assert machine.run() == "halted"
    assert machine.r == [0, 0, 15, 0, 0, 0, 0, 0] and machine.pc == 9
    assert machine.step() == "halted"


def test_bns_skips_sampling_of_inner_chunks():
    program = [isa.encode("bns", target=3), isa.encode("set", r=1, imm=1)]
    for flags, seen in ((0, 0), (PROMPT_SAMPLE, 1)):
        machine = prompt_machine(CONFIG, program, 1, flags=flags)
        assert machine.run() == "halted"
        assert machine.r[1] == seen


def test_next_waits_and_goes_on():
    machine = Machine.bare(CONFIG, [isa.encode("next"), isa.encode("jump", target=0)])
    assert machine.run() == "waiting" and machine.pc == 0
    machine.send([1 << 28 | 1])
    assert machine.run() == "waiting"
    machine.send([4])
    assert machine.step() == "running" and machine.pc == 1
    assert machine.step_now.tokens == (4, 0, 0, 0)


def test_unassigned_opcode_is_a_fault():
    machine = Machine.bare(CONFIG, [isa.encode("set", r=1, imm=1), 0x3f << 122])
    assert machine.run() == "fault" and machine.pc == 1
    assert machine.step() == "fault"


def test_end_of_the_program_halts():
    machine = Machine.bare(CONFIG, [isa.encode("set", r=1, imm=1)])
    assert machine.run() == "halted" and machine.pc == 1


def test_indexed_operands_add_r7():
    program = [isa.encode("set", r=7, imm=5),
               isa.encode("add", dst=v(2, True), a=v(0, True), b=v(1), n=4),
               isa.encode("set", r=7, imm=1024 - 3),        # numbers have 10 bits
               isa.encode("add", dst=v(4), a=v(9, True), b=s(3), n=1)]
    machine = prompt_machine(CONFIG, program)
    fill(machine, seed=0)
    machine.s[3] = 0
    expected = CONFIG.float.round(machine.v[5, :, :4] + machine.v[1, :, :4])
    last = machine.v[6, :, 0].copy()
    assert machine.run() == "halted"
    assert (machine.v[7, :, :4] == expected).all()
    assert (machine.v[4, :, 0] == last).all()


def test_saturation_is_sticky_and_only_for_live_positions():
    program = [isa.encode("mul", dst=v(1), a=v(0), b=v(0), n=3),
               isa.encode("const", dst=s(0), value=0)]
    for element, position, seen in ((2, 0, True), (3, 0, False), (0, 1, False)):
        machine = prompt_machine(CONFIG, program, 1)
        machine.v[0, position, element] = CONFIG.float.max
        assert not machine.saturated
        machine.run()
        assert machine.saturated == seen


def test_stored_weights_are_seen_by_the_next_matmul():
    """The machine keeps unpacked weights; a store to them must not leave the old ones."""
    one = packing.tile(np.ones((4, CONFIG.lanes), np.int8), CONFIG)
    words = len(one) // CONFIG.word_bytes
    matmul = [isa.encode("stream", r=0, address=0, words=words),
              isa.encode("matmul", dst=v(1), q=0, a=s(0), rows=4, blocks=1)]
    machine = prompt_machine(CONFIG, [*matmul, isa.encode("store", a=u(3), n=4, r=0, address=0,
                                                          pitch=0), *matmul])
    machine.memory[:len(one)] = one
    machine.q[:] = 1
    machine.s[0] = 1
    assert [machine.step() for _ in range(2)] and (machine.v[1, :, :4] == CONFIG.lanes).all()
    machine.run()
    first = packing.unpack(machine.memory[:2]).sum()        # what the store left there
    assert (machine.v[1, :, 0] == first).all() and first != CONFIG.lanes


@pytest.mark.parametrize("instruction,match", [
    (isa.encode("add", dst=v(31), a=v(0), b=v(0), n=17), "add: v31 has no 17 elements"),
    (isa.encode("add", dst=v(0), a=u(31), b=v(0), n=65), "add: u31 has no 65 elements"),
    (isa.encode("mul", dst=s(40), a=v(0), b=v(0), n=1), "mul: there is no s40"),
    (isa.encode("quant", q=7, a=v(0), b=s(0), n=17), "quant: q7 has no 17 elements"),
    (isa.encode("load", dst=u(0), n=1, r=0, address=1 << 15, pitch=0),
     "load: memory word 0x8000 is outside of 0x8000 words"),
    (isa.encode("matmul", dst=v(0), q=0, a=s(0), rows=1, blocks=1),
     "matmul: the weight stream lacks 1 words"),
], ids=["v", "u", "s", "q", "memory", "stream"])
def test_programs_that_leave_the_machine_are_refused(instruction, match):
    machine = prompt_machine(CONFIG, [instruction])
    with pytest.raises(ValueError, match=f"instruction 1, .*{match}"):
        machine.step()
