"""cocotb bench of the drain; see test_drain.py."""

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.array.accumulate import sums_layout
from tern_fpga.hw.common.signatures import (
    VectorWrite,
    logits_layout,
    scale_address_layout,
    step_layout,
)
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


GIVEN  = parameters()
CONFIG = Config(**GIVEN["config"])
WRITE  = VectorWrite(CONFIG).members["request"].signature.members["payload"].shape
STREAMS_IN, STREAMS_OUT = ("i", "sums"), ("write__request", "logits", "rows")


async def scalars(dut, scales):
    """The scalar file: a float word two cycles after its address."""
    address = latest = 0
    while True:
        where = scale_address_layout(CONFIG).from_bits(address)
        dut.scale.value = int(CONFIG.float.encode(scales[where.number, where.position]))
        await ReadOnly()
        address, latest = latest, int(dut.scale_address.value)
        await FallingEdge(dut.clk)


async def count(dut, name, cycles):
    while True:
        await ReadOnly()
        cycles.append(int(getattr(dut, name).value))
        await FallingEdge(dut.clk)


def random_sums(rng, rows):
    """Any magnitude, and the corners of the accumulator."""
    shape = (rows, CONFIG.positions)
    width = formats.ACC.width
    sums = rng.integers(formats.ACC.min, formats.ACC.max + 1, shape) >> rng.integers(
        0, width, shape)
    corners = rng.choice([formats.ACC.min, formats.ACC.max, -1, 0, 1], shape)
    return np.where(rng.random(shape) < 0.1, corners, sums)


@cocotb.test(timeout_time=200, timeout_unit="us")
@cocotb.parametrize(duty=[1.0, 0.6], back=[1.0, 0.3], logits=[0, 1])
async def values_equal_golden(dut, duty, back, logits):
    rng, fmt = np.random.default_rng(GIVEN["seed"]), CONFIG.float
    every = (1 << CONFIG.positions) - 1
    live, sample = int(rng.integers(1, every + 1)), 1 << CONFIG.positions - 1
    scales = fmt.round(rng.standard_normal((isa.SCALARS, CONFIG.positions))
                       * 2.0 ** rng.integers(-fmt.bias, 4, (isa.SCALARS, CONFIG.positions)))
    for name in STREAMS_IN:
        streams.ports(dut, name)[0].value = 0
        streams.ports(dut, name)[1].value = 0
    for name in STREAMS_OUT:
        streams.ports(dut, name)[2].value = 0
    dut.emitted.value = 1
    dut.scale.value = dut.drawing.value = dut.pause.value = 0
    dut.prepared.value = dut.next_scale.value = 0
    dut.logits_enable.value = logits
    dut.step.value = step_layout(CONFIG).const(
        {"live": live, "sample": sample}).as_value().value

    words, sums, writes, values, rows, saturated, number = [], [], [], [], [], False, 0
    for length, to_sampler in [(1, 0), (40, 0), (2, 1), (50, 1), (3, 0)]:
        part = random_sums(rng, length)
        dst  = isa.Operand(isa.Space.NONE if to_sampler else isa.Space.V, int(rng.integers(8)))
        a    = int(rng.integers(isa.SCALARS))
        words.append(isa.encode("matmul", dst=dst, q=0, a=isa.Operand(isa.Space.S, a),
                                rows=length, blocks=1))
        exact = fmt.round(part) * scales[a]
        mask  = sample if to_sampler else live
        chosen = [p for p in range(CONFIG.positions) if mask >> p & 1]
        if not to_sampler or logits:
            saturated |= fmt.saturates(part[:, chosen]) or fmt.saturates(exact[:, chosen])
        for r, x in enumerate(fmt.encode(fmt.round(exact)).tolist()):
            row, lane = divmod(r, CONFIG.vector_lanes)
            high, low = divmod(row, CONFIG.register_rows)
            for p in chosen:
                if not to_sampler:
                    address = ((dst.number + high) * CONFIG.positions + p) * CONFIG.register_rows
                    writes.append((address + low, lane, x[p]))
                elif logits:
                    values.append((p, number + r, x[p]))
        number += length * to_sampler
        sums += part.tolist()
        rows += part.tolist() * to_sampler
    words.append(isa.encode("emit"))

    await streams.start(dut)
    for name in STREAMS_OUT[:2]:
        cocotb.start_soon(streams.watch(dut, name))
    cocotb.start_soon(scalars(dut, scales))
    done, strobes = [], []
    cocotb.start_soon(count(dut, "done", done))
    cocotb.start_soon(count(dut, "saturated", strobes))
    layout = sums_layout(CONFIG)
    cocotb.start_soon(streams.put(dut, "i", words, duty=duty, seed=1))
    cocotb.start_soon(streams.put(dut, "sums", [layout.const(row).as_value().value
                                                for row in sums], duty=duty, seed=2))
    takers = [cocotb.start_soon(streams.get(dut, name, n, duty=d, seed=3)) for name, n, d in (
        ("write__request", len(writes), back), ("logits", len(values), back),
        ("rows", len(rows), 1.0))]
    got = [await taker for taker in takers]
    while sum(done) < len(words):
        await FallingEdge(dut.clk)

    def element(word):
        payload = WRITE.from_bits(word)
        lane = payload.enable.bit_length() - 1
        assert payload.enable == 1 << lane
        return payload.row, lane, payload.data[lane]

    def logit(word):
        payload = logits_layout(CONFIG).from_bits(word)
        return payload.position, payload.row, payload.value

    assert [element(word) for word in got[0]] == writes
    assert [logit(word) for word in got[1]] == values
    assert [list(layout.from_bits(word)) for word in got[2]] == rows
    assert any(strobes) == saturated
    if duty == back == 1.0 and not logits:
        # A value a cycle, a row a cycle to the sampler, and what each instruction adds.
        cycles = [k for k, strobe in enumerate(done) if strobe]
        positions = live.bit_count()
        work = [positions, 40 * positions, 2, 50, 3 * positions]
        extra = [b - a - n for a, b, n in zip(cycles, cycles[1:], work[1:])]
        scaled = CONFIG.positions + 3 + GIVEN["latency"]
        assert extra == [scaled, scaled - GIVEN["latency"] + 1,
                         scaled - GIVEN["latency"] + 1, scaled]
