"""cocotb tests of TransferUnit between a vector memory and a memory; see test_transfer.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.assembler.files import packing
from tern_fpga.hw.common.signatures import VectorWrite, command_layout, step_layout
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import Step
from tern_fpga.sim.rtl import streams
from tests.firmware import board
from tests.verilog import parameters


P = parameters()
CONFIG = Config(**P["config"])
FLOAT = CONFIG.float
WRITE = VectorWrite(CONFIG).members["request"].signature.members["payload"].shape
STREAMS = "i", "probe__request", "probe__response", "fill__request"


async def start(dut, **behaviour):
    for name in STREAMS:
        signal = "ready" if name.endswith("response") else "valid"
        getattr(dut, f"{name}__{signal}").value = 0
    dut.step.value = 0
    await board.prepare(dut, **behaviour)


class Area:
    """A stretch of memory with a few stored vectors of n elements."""
    def __init__(self, rng, n, start):
        self.n = n
        self.start = start
        self.pitch = CONFIG.vector_words(n) + int(rng.integers(0, 3))
        self.vectors = CONFIG.positions
        self.stop = start + self.pitch * self.vectors
        values = FLOAT.round(rng.normal(size=(self.vectors, n)) * 4)
        self.image = np.zeros((self.vectors, self.pitch * CONFIG.word_bytes), np.uint8)
        packed = packing.pack_vector(values, CONFIG)
        self.image[:, :packed.shape[-1]] = packed


def areas(rng):
    """Areas of all kinds of lengths, as many as fit the memory."""
    lanes, elements = CONFIG.vector_lanes, CONFIG.register_elements
    lengths = [1, elements, lanes + 1, 3 * elements - 1, elements // 2 + 1, 2 * elements]
    lengths += [int(rng.integers(1, 3 * elements)) for _ in range(3)]
    found, start = [], int(rng.integers(0, 5))
    for n in lengths:
        area = Area(rng, n, start)
        if area.stop > CONFIG.memory_words:
            break
        found.append(area)
        start = area.stop + int(rng.integers(0, 3))
    return found


def random_step(rng):
    positions = CONFIG.positions
    if rng.random() < 0.5:
        last = int(rng.integers(0, positions))
        live, chain = (2 << last) - 1, True
    else:
        live, chain, last = int(rng.integers(1, 1 << positions)), False, 0
    tokens = tuple(int(t) for t in rng.integers(0, positions, positions))
    return Step(live, 0, chain, False, int(rng.integers(0, positions)), last, tokens)


def random_instruction(rng, places):
    """A load, store or embed of an area, as a word."""
    area = places[rng.integers(0, len(places))]
    mnemonic = str(rng.choice(["load", "load", "store", "embed"]))
    space = Space.V if mnemonic == "embed" else Space(int(rng.integers(0, 2)))
    size = CONFIG.register_elements * (CONFIG.positions if space == Space.U else 1)
    number = int(rng.integers(0, CONFIG.registers - -(-area.n // size) + 1))
    operand = {"a" if mnemonic == "store" else "dst": Operand(space, number)}
    return isa.encode(mnemonic, **operand, n=area.n, r=0, address=area.start, pitch=area.pitch)


def rows_of(values):
    """(registers, positions, elements) float64 as row words."""
    words = FLOAT.encode(values).reshape(CONFIG.vector_rows, CONFIG.vector_lanes)
    return [sum(int(w) << k * FLOAT.width for k, w in enumerate(row)) for row in words]


def memory_words(data):
    return [int.from_bytes(data[k:k + CONFIG.word_bytes].tobytes(), "little")
            for k in range(0, len(data), CONFIG.word_bytes)]


async def hammer(dut, duty):
    """Keep writing nothing, and so keep the banks from the unit, for a part of the time."""
    nothing = [WRITE.const({"row": k % CONFIG.vector_rows, "data": [0] * CONFIG.vector_lanes,
                            "enable": 0}).as_value().value for k in range(64)]
    seed = 0
    while True:
        seed += 1
        await streams.put(dut, "fill__request", nothing, duty=duty, seed=seed)


async def put_rows(dut, rows):
    await streams.put(dut, "fill__request", [
        WRITE.const({"row": k, "enable": (1 << CONFIG.vector_lanes) - 1,
                     "data": [row >> lane * FLOAT.width & (1 << FLOAT.width) - 1
                              for lane in range(CONFIG.vector_lanes)]}).as_value().value
        for k, row in enumerate(rows)])


async def get_rows(dut):
    cocotb.start_soon(streams.put(dut, "probe__request", range(CONFIG.vector_rows)))
    return await streams.get(dut, "probe__response", CONFIG.vector_rows)


async def run(dut, program, done_at=None):
    """Give the instructions back to back, wait for all ``done``; returns the cycles it took."""
    task = cocotb.start_soon(streams.put(dut, "i", program))
    done = rows = words = cycles = 0
    while done < len(program):
        await ReadOnly()
        if int(dut.done.value):
            if done_at is not None:
                assert (rows, words) >= done_at[done], (done, rows, words)
            done += 1
        rows += int(dut.row_taken.value)
        words += int(dut.word_taken.value)
        cycles += 1
        assert cycles < 20000
        await FallingEdge(dut.clk)
    await task
    for _ in range(40):
        await ReadOnly()
        assert not (int(dut.done.value) or int(dut.row_taken.value) or int(dut.word_taken.value))
        await FallingEdge(dut.clk)
    return cycles


def set_step(dut, machine, step):
    machine.step_now = step
    fields = {name: getattr(step, name) for name in ("live", "sample", "chain", "fresh", "slot",
                                                     "last", "tokens")}
    dut.step.value = step_layout(CONFIG).const(fields).as_value().value


def moved(machine, word):
    """Rows and words that the instruction moves: ``(loaded, stored)``."""
    mnemonic, fields = isa.decode(word)
    operand = fields["a" if mnemonic == "store" else "dst"]
    step = machine.step_now
    vectors = (1 if operand.space == Space.U or step.chain and mnemonic != "embed"
               else step.live.bit_count())
    if mnemonic == "store":
        return 0, vectors * CONFIG.vector_words(fields["n"])
    return vectors * CONFIG.rows(fields["n"]), 0


async def words_follow_their_command(dut):
    """Background: nobody waits at the memory for a word of a store that was announced."""
    owed = 0
    while True:
        await ReadOnly()
        command = command_layout(CONFIG).from_bits(int(dut.memory_command__payload.value))
        if int(dut.memory_command__valid.value) and int(dut.memory_command__ready.value):
            owed += command["words"] if command["write"] else 0
        if int(dut.memory_write__ready.value) and owed:
            assert int(dut.memory_write__valid.value), f"{owed} words are late"
            owed -= 1
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=10, timeout_unit="ms")
@cocotb.parametrize(seed=range(P["seeds"]))
async def registers_and_memory_equal_golden(dut, seed):
    rng = np.random.default_rng(seed)
    rough = seed % 2
    await start(dut, seed=seed, latency=int(rng.integers(2, 30)), gap=100 * rough,
                busy=100 * rough)
    cocotb.start_soon(streams.watch(dut, "i"))
    cocotb.start_soon(words_follow_their_command(dut))
    places = areas(rng)
    data = np.zeros(CONFIG.memory_bytes, np.uint8)
    for area in places:
        data[area.start * CONFIG.word_bytes:][:area.image.size] = area.image.reshape(-1)
    machine = Machine.bare(CONFIG, [], data)
    machine.v[:] = FLOAT.round(rng.normal(size=machine.v.shape))
    board.fill(dut, memory_words(data))
    await put_rows(dut, rows_of(machine.v))
    traffic = cocotb.start_soon(hammer(dut, 0.7 if rough else 0.05))
    # A prompt in the highest slot first: chance alone leaves slots out.
    prompt = Step(1, 0, True, False, CONFIG.positions - 1, 0, (0,) * CONFIG.positions)
    for step in (prompt, *(random_step(rng) for _ in range(3))):
        set_step(dut, machine, step)
        program = [random_instruction(rng, places) for _ in range(8)]
        machine.program, machine.pc = program, 0
        done_at, total = [], (0, 0)
        for word in program:
            assert machine.step() == "running"
            total = tuple(a + b for a, b in zip(total, moved(machine, word)))
            done_at.append(total)
        await run(dut, program, done_at)
    traffic.cancel()
    dut.fill__request__valid.value = 0
    for _ in range(3):
        await FallingEdge(dut.clk)
    assert board.contents(dut, CONFIG.memory_words) == memory_words(machine.memory)
    assert await get_rows(dut) == rows_of(machine.v)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nothing_to_move_is_done(dut):
    await start(dut)
    machine = Machine.bare(CONFIG, [])
    empty = isa.encode("load", dst=Operand(Space.V, 0), n=4, r=0, address=0, pitch=0)
    other = isa.encode("load", dst=Operand(Space.U, 1), n=CONFIG.register_elements, r=0,
                       address=0, pitch=0)
    set_step(dut, machine, Step(0, 0, False, False, 0, 0, (0,) * CONFIG.positions))
    await run(dut, [empty, other, empty, empty], [(0, 0)] + 3 * [(CONFIG.register_rows, 0)])
    await run(dut, [isa.encode("embed", dst=Operand(Space.V, 0), n=4, r=0, address=0, pitch=1)])


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def transfers_run_at_the_speed_of_the_narrower_side(dut):
    rng = np.random.default_rng(6)
    await start(dut, latency=8)
    cocotb.start_soon(words_follow_their_command(dut))
    set_step(dut, Machine.bare(CONFIG, []), random_step(rng))
    elements = 8 * CONFIG.register_elements
    cost = max(CONFIG.vector_words(elements), CONFIG.rows(elements))
    for mnemonic, operand in (("load", "dst"), ("store", "a")):
        program = [isa.encode(mnemonic, **{operand: Operand(Space.U, 1)}, n=elements, r=0,
                              address=k, pitch=0) for k in range(4)]
        cycles = await run(dut, program)
        # Gaps only: about 40 cycles before the first and after the last word.
        assert cycles < 4 * (cost + 12) + 60, (mnemonic, cycles, cost)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def far_addresses_and_tokens(dut):
    """Products of token and pitch come out whole, up to the last words of the memory."""
    draw = random.Random(9)
    await start(dut)
    machine = Machine.bare(CONFIG, [])
    words = CONFIG.vector_words(1)
    pitch = max(3, words | 1)           # no vector overlaps another
    tokens = [draw.randrange(CONFIG.memory_words // pitch - words)
              for _ in range(CONFIG.positions)]
    tokens[0] = (CONFIG.memory_words - words) // pitch
    data = np.zeros(CONFIG.memory_bytes, np.uint8)
    for token in tokens:
        value = FLOAT.round(np.array([draw.gauss(0, 1)]))
        place = pitch * token * CONFIG.word_bytes
        data[place:place + words * CONFIG.word_bytes] = packing.pack_vector(value, CONFIG)
    machine.memory[:] = data
    machine.v[:] = 0
    board.fill(dut, memory_words(data))
    await put_rows(dut, [0] * CONFIG.vector_rows)
    set_step(dut, machine, Step((1 << CONFIG.positions) - 1, 0, False, False, 0, 0,
                                tuple(tokens)))
    program = [isa.encode("embed", dst=Operand(Space.V, CONFIG.registers - 1), n=1, r=0,
                          address=0, pitch=pitch)]
    machine.program, machine.pc = program, 0
    assert machine.step() == "running"
    await run(dut, program)
    assert machine.v[-1].any()
    assert await get_rows(dut) == rows_of(machine.v)
