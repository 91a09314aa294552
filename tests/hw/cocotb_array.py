"""cocotb benches of the array unit; see test_array.py."""

from dataclasses import dataclass

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.files import packing
from tern_fpga.hw.common.signatures import (
    VectorWrite,
    codes_layout,
    logits_layout,
    scale_address_layout,
    step_layout,
    tokens_layout,
)
from tern_fpga.sim.golden import ternary
from tern_fpga.sim.golden.sampler import Sampler
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


GIVEN  = parameters()
CONFIG = Config(**GIVEN["config"])
WRITE  = VectorWrite(CONFIG).members["request"].signature.members["payload"].shape


@dataclass
class Matmul:
    """One ``matmul``: ``weights`` (rows, columns), ``codes`` (positions, columns)."""
    weights: np.ndarray
    codes: np.ndarray
    q: int
    dst: int | None
    a: int

    @property
    def blocks(self):
        return packing.blocks(self.weights.shape[1], CONFIG)

    @property
    def word(self):
        dst = isa.Operand(isa.Space.NONE) if self.dst is None else isa.Operand(isa.Space.V,
                                                                              self.dst)
        return isa.encode("matmul", dst=dst, q=self.q, a=isa.Operand(isa.Space.S, self.a),
                          rows=len(self.weights), blocks=self.blocks)


def pack(layout, **fields):
    return layout.const(fields).as_value().value


def positions(mask):
    return [p for p in range(CONFIG.positions) if mask >> p & 1]


def row_address(register, position, row):
    """As docs/architecture.md says."""
    high, low = divmod(row, CONFIG.register_rows)
    return ((register + high) * CONFIG.positions + position) * CONFIG.register_rows + low


class Bench:
    """The unit's surroundings: scalar file, and a record of what happens when."""
    def __init__(self, dut, rng):
        self.dut     = dut
        self.scales  = np.zeros((isa.SCALARS, CONFIG.positions))
        self.cycle   = 0
        self.taken   = {"weights": [], "write__request": [], "tokens": [], "logits": []}
        self.offered = []
        self.done    = []               # writes and logits taken before each `done`
        self.codes_done = 0
        self.saturated  = False
        self.memory  = rng.integers(-128, 128, (CONFIG.code_rows, CONFIG.vector_lanes))
        self.rng     = rng

    async def start(self):
        dut = self.dut
        for name in ("i", "i_drain", "weights", "codes"):
            payload, valid, _ = streams.ports(dut, name)
            payload.value = valid.value = 0
        for name in ("write__request", "tokens", "logits"):
            streams.ports(dut, name)[2].value = 0
        dut.step.value = dut.scale.value = dut.logits_enable.value = dut.choice.value = 0
        await streams.start(dut)
        for name in ("write__request", "tokens", "logits"):
            cocotb.start_soon(streams.watch(dut, name))
        cocotb.start_soon(self.observe())

    async def observe(self):
        dut, address, latest = self.dut, 0, 0
        layout = scale_address_layout(CONFIG)
        handles = {name: streams.ports(dut, name)[1:] for name in self.taken}
        while True:
            where = layout.from_bits(address)
            word  = CONFIG.float.encode(self.scales[where.number, where.position])
            dut.scale.value = int(word)
            await ReadOnly()
            address, latest = latest, int(dut.scale_address.value)
            if int(dut.done.value):
                self.done.append(len(self.taken["write__request"]) + len(self.taken["logits"]))
            self.codes_done += int(dut.codes_done.value)
            self.saturated |= bool(int(dut.saturated.value))
            for name, (valid, ready) in handles.items():
                if int(valid.value) and int(ready.value):
                    self.taken[name].append(self.cycle)
            if int(dut.write__request__valid.value):
                self.offered.append(self.cycle)
            self.cycle += 1
            await FallingEdge(dut.clk)

    async def issue(self, jobs, mask_of, duty, seed):
        """Write each matmul's codes when its registers are free, then send it."""
        layout, first = codes_layout(CONFIG), self.codes_done
        full = (1 << CONFIG.vector_lanes) - 1
        for k, job in enumerate(jobs):
            if k and job.codes is jobs[0].codes:        # written already
                await streams.put(self.dut, "i", [job.word], duty=duty, seed=seed + k)
                continue
            while self.codes_done - first < k - 1:      # every second one has the same registers
                await FallingEdge(self.dut.clk)
            writes = []
            for p in positions(mask_of(job)):
                padded = np.zeros(CONFIG.rows(job.codes.shape[1]) * CONFIG.vector_lanes, int)
                padded[:job.codes.shape[1]] = job.codes[p]
                for row, codes in enumerate(padded.reshape(-1, CONFIG.vector_lanes)):
                    # In two parts, each with rubbish where the other one is enabled.
                    part = int(self.rng.integers(0, full + 1))
                    for enable in (part, full ^ part):
                        noisy = [int(c) if enable >> n & 1 else int(self.rng.integers(-128, 128))
                                 for n, c in enumerate(codes)]
                        writes.append(pack(layout, row=row_address(job.q, p, row), codes=noisy,
                                           enable=enable))
            await streams.put(self.dut, "codes", writes)
            await streams.put(self.dut, "i", [job.word], duty=duty, seed=seed + k)

    async def run(self, jobs, *, live, sample, emit, logits=False, duty=1.0, back=1.0, seed=0):
        """One step: all jobs, then `emit`. Returns writes, logits and tokens, and the expected."""
        dut, fmt = self.dut, CONFIG.float

        def mask_of(job):
            return sample if job.dst is None else live

        sampler = Sampler(CONFIG.positions)
        writes, values, marks, beats, drain = [], [], [], [], []
        saturated = False
        for job in jobs:
            chosen = positions(mask_of(job))
            sums = ternary.matmul(job.weights, job.codes)
            x = fmt.round(sums) * self.scales[job.a][:, None]
            words = fmt.encode(fmt.round(x))
            if job.dst is not None or logits:
                saturated |= fmt.saturates(sums[chosen]) or fmt.saturates(x[chosen])
            number = sampler.rows
            if job.dst is None and chosen:
                sampler.take(sums[chosen], chosen)
            for r in range(len(job.weights)):
                row, lane = divmod(r, CONFIG.vector_lanes)
                for p in chosen:
                    if job.dst is not None:
                        writes.append((row_address(job.dst, p, row), lane, int(words[p, r])))
                    elif logits:
                        values.append((p, number + r, int(words[p, r])))
            marks.append(len(writes) + len(values))
            data = packing.tile(job.weights, CONFIG).reshape(-1, CONFIG.lanes // 5)
            beats += [int.from_bytes(bytes(beat), "little") for beat in data]
            drain.append(job.word)
        if emit:
            drain.append(isa.encode("emit"))
            marks.append(marks[-1])
        tokens = [(sample, [int(i) for i in sampler.ids])] if emit else []

        dut.step.value = pack(step_layout(CONFIG), live=live, sample=sample)
        dut.logits_enable.value = logits
        before, base = len(self.done), len(self.taken["write__request"]) + len(self.taken["logits"])
        self.saturated = False
        feeders = [
            cocotb.start_soon(self.issue(jobs, mask_of, duty, seed)),
            cocotb.start_soon(streams.put(dut, "i_drain", drain, duty=duty, seed=seed + 1)),
            cocotb.start_soon(streams.put(dut, "weights", beats, duty=duty, seed=seed + 2)),
        ]
        takers = [
            cocotb.start_soon(streams.get(dut, name, count, duty=back, seed=seed + 3))
            for name, count in (("write__request", len(writes)), ("logits", len(values)),
                                ("tokens", len(tokens)))
        ]
        for feeder in feeders:
            await feeder
        got = [await taker for taker in takers]
        while len(self.done) - before < len(drain):
            await FallingEdge(dut.clk)

        assert [decode_write(word) for word in got[0]] == writes
        assert [decode_logit(word) for word in got[1]] == values
        assert [decode_tokens(word) for word in got[2]] == tokens
        assert [n - base for n in self.done[before:]] == marks
        assert self.saturated == saturated


def decode_write(word):
    payload = WRITE.from_bits(word)
    assert payload.enable.bit_count() == 1
    lane = payload.enable.bit_length() - 1
    return payload.row, lane, payload.data[lane]


def decode_logit(word):
    payload = logits_layout(CONFIG).from_bits(word)
    return payload.position, payload.row, payload.value


def decode_tokens(word):
    payload = tokens_layout(CONFIG).from_bits(word)
    return payload.mask, list(payload.ids)


def random_job(rng, k, *, rows=None, columns=None, to_sampler=False, extreme=False):
    depth, lanes = CONFIG.accumulator_rows, CONFIG.lanes
    rows = rows or int(rng.choice([1, 2, 3, 5, depth - 1, depth, depth + 1, 2 * depth + 3]))
    columns = columns or int(rng.integers(1, 4 * lanes + 1))
    weights = rng.integers(-1, 2, (rows, columns)).astype(np.int8)
    codes = rng.integers(-128, 128, (CONFIG.positions, columns)).astype(np.int8)
    if extreme:
        weights[:], codes[:] = rng.choice([-1, 1]), rng.choice([-128, 127])
    half = CONFIG.code_registers // 2
    taken = -(-packing.blocks(columns, CONFIG) * lanes // CONFIG.register_elements)
    q = k % 2 * half + int(rng.integers(0, half - taken + 1))
    registers = -(-rows // CONFIG.register_elements)
    dst = None if to_sampler else int(rng.integers(0, CONFIG.registers - registers + 1))
    return Matmul(weights, codes, q, dst, int(rng.integers(0, isa.SCALARS)))


def random_scales(rng):
    exponent = rng.integers(-12, 6, (isa.SCALARS, CONFIG.positions)).astype(float)
    return CONFIG.float.round(rng.standard_normal(exponent.shape) * 2 ** exponent)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def random_steps_equal_golden(dut):
    every = (1 << CONFIG.positions) - 1
    for seed in GIVEN["seeds"]:
        rng = np.random.default_rng(seed)
        bench = Bench(dut, rng)
        await bench.start()
        for step, (duty, back) in enumerate([(1.0, 1.0), (0.5, 1.0), (1.0, 0.3), (0.6, 0.6)]):
            bench.scales = random_scales(rng)
            sample = int(rng.choice([0, 1 << CONFIG.positions - 1, rng.integers(0, every + 1)]))
            jobs = [random_job(rng, k, to_sampler=rng.random() < 0.4, extreme=rng.random() < 0.2)
                    for k in range(5)]
            await bench.run(jobs, live=int(rng.integers(1, every + 1)) | sample, sample=sample,
                            emit=bool(sample), logits=step % 2 == 1, duty=duty, back=back,
                            seed=100 * seed + step)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_beat_is_taken_at_once(dut):
    """Back to back, across blocks, tiles and instructions; and the documented latency."""
    rng = np.random.default_rng(7)
    bench = Bench(dut, rng)
    await bench.start()
    shortest = GIVEN["period"]
    assert shortest <= CONFIG.accumulator_rows
    jobs = [random_job(rng, 0, rows=rows, columns=4 * CONFIG.lanes - 2)
            for rows in [shortest, CONFIG.accumulator_rows + shortest, 1, shortest]]
    for job in jobs[1:]:
        job.q, job.codes = jobs[0].q, jobs[0].codes
    await bench.run(jobs, live=1 << CONFIG.positions - 1, sample=0, emit=False)
    beats = bench.taken["weights"]
    waited = [k for k, n in enumerate(np.diff(beats), 1) if n != 1]
    # Only where a tile is a single row: its four blocks, and the one after them.
    single = 4 * (CONFIG.accumulator_rows + 2 * shortest)
    assert waited == [single + k for k in (1, 2, 3, 4)]
    assert [beats[k] - beats[k - 1] for k in waited] == [*3 * [shortest - 1], shortest]
    assert bench.offered[-1] - beats[-1] == GIVEN["latency"]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def equal_sums_choose_the_lowest_row(dut):
    rng = np.random.default_rng(8)
    bench = Bench(dut, rng)
    await bench.start()
    every = (1 << CONFIG.positions) - 1
    for _ in range(2):
        jobs = [random_job(rng, k, rows=rows, columns=3, to_sampler=True)
                for k, rows in enumerate([20, 1, 7])]
        for job in jobs:
            job.codes[:] = -1
        await bench.run(jobs, live=every, sample=every, emit=True, logits=True, back=0.5)
