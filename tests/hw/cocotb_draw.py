"""cocotb bench of the choice by chance; see test_draw.py."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import formats
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import MessageKind
from tern_fpga.assembler.contract.sampling import MAX_TOP_K, PENALTY_BITS
from tern_fpga.hw.common.signatures import choice_layout, draw_layout, step_layout
from tern_fpga.sim.golden.sampler import Sampler, Setting
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


GIVEN  = parameters()
CONFIG = Config(**GIVEN["config"])
LATE   = 4                 # sums that still come after `pause`


def pack(layout, **fields):
    return layout.const(fields).as_value().value


class Bench:
    """What surrounds the block: settings and tokens in, sums in, rows out."""
    def __init__(self, dut):
        self.dut      = dut
        self.settings = [Setting(seen=np.zeros(GIVEN["seen_tokens"], bool))
                         for _ in range(CONFIG.positions)]
        self.ids      = [0] * CONFIG.positions
        self.strobes  = 0
        self.pauses   = 0

    async def start(self):
        dut = self.dut
        for name in ("choice", "step", "prepare", "scale", "i", "emit", "emitted"):
            getattr(dut, name).value = 0
        await streams.start(dut)
        cocotb.start_soon(self.listen())

    async def listen(self):
        dut = self.dut
        while True:
            await ReadOnly()
            for p in range(CONFIG.positions):
                if int(dut.better.value) >> p & 1:
                    self.ids[p] = int(dut.row.value)
                    self.strobes += 1
            await FallingEdge(dut.clk)

    async def tell(self, kind, slot, payload):
        """A setting or a token, as the scheduler tells it."""
        dut, setting = self.dut, self.settings[slot]
        dut.choice.value = pack(choice_layout(CONFIG), valid=1, kind=int(kind), slot=slot,
                                payload=payload)
        await FallingEdge(dut.clk)
        dut.choice.value = 0
        for _ in range(3):
            await FallingEdge(dut.clk)
        assert bool(int(dut.forgetting.value)) == (kind == MessageKind.REPETITION and payload > 0)
        if int(dut.forgetting.value):
            await FallingEdge(dut.forgetting)
            await FallingEdge(dut.clk)
        match kind:
            case MessageKind.TEMPERATURE:
                setting.inverse = payload
            case MessageKind.TOP_K:
                setting.top_k = payload
            case MessageKind.SEED:
                setting.seed, setting.count = payload, 0
            case MessageKind.REPETITION:
                setting.penalty = payload >> PENALTY_BITS
                setting.reward = payload & (1 << PENALTY_BITS) - 1
                setting.seen[:] &= not payload
            case MessageKind.PROMPT:
                setting.see(payload)
            case MessageKind.GENERATE:
                setting.see(payload)
                setting.count = (setting.count + 1) % (1 << 24)

    async def draw(self, rng, sums, scales, *, sample, chain=False, slot=0, duty=1.0):
        """One step: a matmul for each of ``sums`` (positions, rows), and ``emit``."""
        dut, golden = self.dut, Sampler(CONFIG.positions)
        chosen = [p for p in range(CONFIG.positions) if sample >> p & 1]
        settings = [self.settings[slot if chain else p] for p in chosen]
        dut.step.value = pack(step_layout(CONFIG), sample=sample, chain=chain, slot=slot)
        for _ in range(3):
            await FallingEdge(dut.clk)
        assert bool(int(dut.active.value)) == any(not setting.greedy for setting in settings)
        if not int(dut.active.value):
            return False
        for part, scale in zip(sums, scales):
            golden.take(part[chosen], chosen, scale[chosen], settings)
            await self.prepare(scale)
            await self.feed(rng, part[chosen].T, chosen, duty)
            while rng.random() < 0.5:
                await FallingEdge(dut.clk)
        dut.emit.value = 1
        await FallingEdge(dut.clk)
        while int(dut.busy.value):
            await FallingEdge(dut.clk)
        for _ in range(2):              # until the sampler has it
            await FallingEdge(dut.clk)
        assert [self.ids[p] for p in chosen] == [int(golden.ids[p]) for p in chosen], (
            settings, golden.rows)
        dut.emitted.value = 1
        await FallingEdge(dut.clk)
        dut.emit.value = dut.emitted.value = 0
        return True

    async def prepare(self, scale):
        dut, words, at = self.dut, [int(w) for w in CONFIG.float.encode(scale)], 0
        dut.prepare.value = 1
        done = False
        while not done:
            dut.scale.value = words[at % len(words)]
            await ReadOnly()
            at  += int(dut.next_scale.value)
            done = int(dut.prepared.value)
            await FallingEdge(dut.clk)
        assert at == CONFIG.positions
        dut.prepare.value = 0

    async def feed(self, rng, rows, chosen, duty):
        dut, paused = self.dut, 0
        layout = draw_layout(CONFIG)
        for row in rows:
            for p, value in zip(chosen, row):
                while True:
                    paused = paused + 1 if int(dut.pause.value) else 0
                    self.pauses += paused > 0
                    if paused <= LATE and rng.random() < duty:
                        break
                    await FallingEdge(dut.clk)
                dut.i.value = pack(layout, valid=1, value=int(value), position=p,
                                   last=p == chosen[-1])
                await FallingEdge(dut.clk)
                dut.i.value = 0


def random_setting(rng):
    """Kinds and payloads; greedy ones and extremes among them."""
    inverse = int(rng.choice([0, 1, 4096, 8192, (1 << 18) - 1, rng.integers(0, 1 << 14)]))
    penalty = int(rng.choice([0, 0, 1024 << PENALTY_BITS | 4095, 1331 << PENALTY_BITS | 3151,
                              4095 << PENALTY_BITS | 1]))
    return [(MessageKind.TEMPERATURE, inverse), (MessageKind.REPETITION, penalty),
            (MessageKind.TOP_K, int(rng.choice([0, 0, 1, 2, 5, MAX_TOP_K]))),
            (MessageKind.SEED, int(rng.integers(0, 1 << 24)))]


def random_sums(rng, rows, kind):
    """(positions, rows): ever better ones, as of a model, few different ones, all but a few the
    same, extremes."""
    shape, acc = (CONFIG.positions, rows), formats.ACC
    match kind:
        case 0:
            return np.sort(rng.integers(-3000, 3000, shape), 1)
        case 1:
            return np.rint(rng.standard_normal(shape) * 500).astype(int)
        case 2:
            return rng.integers(-2, 3, shape)
        case 3:
            return (rng.random(shape) < 3 / rows).astype(int)
        case _:
            sums = rng.integers(acc.min, acc.max + 1, shape)
            sums[rng.random(shape) < 0.1] = rng.choice([acc.min, acc.max])
            return sums


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def tokens_equal_golden(dut):
    drawn, bench, fmt = 0, Bench(dut), CONFIG.float
    await bench.start()
    for seed in GIVEN["seeds"]:
        rng = np.random.default_rng(seed)
        slots = rng.permutation(CONFIG.positions)       # each has its turn, if there are enough
        for turn in range(GIVEN["turns"]):
            slot = int(slots[turn % CONFIG.positions])
            for kind, payload in random_setting(rng):
                await bench.tell(kind, slot, payload)
            if turn % 2 == 0:       # top-k that chooses; and, first, rows that get in and wait
                for kind, payload in ((MessageKind.TEMPERATURE, 4096),
                                      (MessageKind.REPETITION, 4095 << PENALTY_BITS | 1),
                                      (MessageKind.TOP_K, [32, 4, 1][turn // 2 % 3])):
                    await bench.tell(kind, slot, payload)
            for token in [*rng.integers(0, 60, 25), GIVEN["seen_tokens"]]:
                await bench.tell(MessageKind.PROMPT, slot, int(token))
            for n in range(5):
                await bench.tell(MessageKind.GENERATE, slot, int(rng.integers(0, 60)))
                parts = ([int(rows) for rows in rng.choice([1, 3, 60, 150], 1 + turn % 2)]
                         if turn % 2 else [150])
                scales = [fmt.round(rng.choice([0.002, 0.05, 1e-6, 30.0, -0.004, 0.0],
                                               CONFIG.positions) * rng.uniform(0.5, 1))
                          for _ in parts]
                drawn += await bench.draw(
                    rng, [random_sums(rng, rows, turn + turn // 2 if turn in (0, 2) else n)
                          for rows in parts], scales,
                    sample=int(rng.integers(1, 1 << CONFIG.positions)) | 1 << slot,
                    chain=bool(turn % 3 == 2), slot=slot, duty=[1.0, 0.3][n % 2])
    assert drawn > 2 * len(GIVEN["seeds"]) * GIVEN["turns"] and bench.strobes
    assert bench.pauses


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def every_token_is_remembered_and_forgotten(dut):
    bench, rng, slot = Bench(dut), np.random.default_rng(1), CONFIG.positions - 1
    await bench.start()
    sums  = [np.full((CONFIG.positions, GIVEN["seen_tokens"] + 1), 1000)]
    scale = [np.full(CONFIG.positions, CONFIG.float.round(0.01))]
    for _ in range(2):          # among equals the first is chosen that was not seen
        await bench.tell(MessageKind.REPETITION, slot, 4095 << PENALTY_BITS | 1)
        for tokens in ([], [0], range(1, GIVEN["seen_tokens"])):
            for token in tokens:
                await bench.tell(MessageKind.PROMPT, slot, token)
            assert await bench.draw(rng, sums, scale, sample=1 << slot)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def the_right_candidates_are_kept(dut):
    """Chance decides among them, and the smallest is learnt between sums that follow closely."""
    rng, scale = np.random.default_rng(2), np.full(CONFIG.positions, CONFIG.float.round(0.002))
    bench = Bench(dut)
    await bench.start()
    for turn, limit in enumerate((1, 2, 3, 4, 8)):
        slot = (CONFIG.positions - 1, 0)[turn % 2]
        await bench.tell(MessageKind.TEMPERATURE, slot, 4096)
        await bench.tell(MessageKind.TOP_K, slot, limit)
        for seed in range(20):
            await bench.tell(MessageKind.SEED, slot, seed)
            assert await bench.draw(rng, [random_sums(rng, 200, 1)], [scale], sample=1 << slot,
                                    duty=0.7)


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_reset_in_the_middle_of_top_k_leaves_nothing(dut):
    rng = np.random.default_rng(3)
    for late in range(24):
        bench = Bench(dut)
        await bench.start()
        for kind, payload in ((MessageKind.TEMPERATURE, 4096), (MessageKind.TOP_K, 5),
                              (MessageKind.SEED, late)):
            await bench.tell(kind, 0, payload)
        sums  = [rng.integers(-500, 500, (CONFIG.positions, 30))]
        scale = [np.full(CONFIG.positions, CONFIG.float.round(0.01))]
        assert await bench.draw(rng, sums, scale, sample=1)
        await bench.prepare(scale[0])           # and once more, up to some cycle
        await bench.feed(rng, sums[0][:1].T, [0], 1.0)
        dut.emit.value = 1
        for _ in range(late):
            await FallingEdge(dut.clk)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def latency_is_as_documented(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.tell(MessageKind.TEMPERATURE, 0, 4096)
    dut.step.value = pack(step_layout(CONFIG), sample=1)
    for _ in range(3):
        await FallingEdge(dut.clk)
    await bench.prepare(np.full(CONFIG.positions, CONFIG.float.round(0.01)))
    dut.i.value = pack(draw_layout(CONFIG), valid=1, value=5, position=0, last=1)
    await FallingEdge(dut.clk)
    dut.i.value = 0
    cycles = 1
    while not int(dut.better.value):
        assert cycles < 2 or int(dut.busy.value)
        await FallingEdge(dut.clk)
        cycles += 1
    assert cycles == GIVEN["latency"]
