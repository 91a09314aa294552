"""cocotb tests of WeightStream with the memory model behind it; see test_weights.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.memory.stream_sum import StreamSum
from tern_fpga.hw.memory.weights import WeightStream
from tern_fpga.sim.golden import weights
from tern_fpga.sim.rtl import streams
from tests.firmware import board
from tests.verilog import parameters


P = parameters()
CONFIG, DEPTH = Config(**P["config"]), P["depth"]
DESCRIPTOR = WeightStream.descriptor(CONFIG)
BEAT = CONFIG.beat_words


async def start(dut, **behaviour):
    dut.i__valid.value = 0
    dut.o__ready.value = 0
    await board.prepare(dut, **behaviour)


def descriptors(draw, total):
    """Random pieces of memory with ``total`` words or a few more: (address, words)."""
    pieces, left = [], total
    while left > 0:
        words = draw.choice([BEAT, 2 * BEAT, BEAT * draw.randrange(1, 100 // BEAT)])
        pieces.append((draw.randrange(DEPTH - words + 1), words))
        left -= words
    return pieces


def payloads(pieces):
    return [DESCRIPTOR.const({"address": address, "words": words}).as_value().value
            for address, words in pieces]


def beats(memory, pieces):
    words = [word for address, count in pieces for word in memory[address:address + count]]
    return [sum(word << k * CONFIG.memory_bits for k, word in enumerate(words[n:n + BEAT]))
            for n in range(0, len(words), BEAT)]


def sums(dut):
    found = StreamSum.sums_layout.from_bits(int(dut.sums.value))
    return {"streams": found.streams, "stream_words": found.words, "stream_sum": found.sum}


def golden_sums(memory, pieces):
    size = CONFIG.word_bytes
    data = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in memory), np.uint8)
    golden = weights.WeightStream(CONFIG, lambda address, words: data[address * size:][
        :words * size])
    for piece in pieces:
        golden.append(*piece)
    golden.take(sum(words for _, words in pieces) // BEAT, 1)
    return golden.sums


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(gap=[0, 120], in_duty=[1.0, 0.05], out_duty=[1.0, 0.3])
async def beats_are_the_words_of_the_descriptors(dut, gap, in_duty, out_duty):
    draw = random.Random(f"{gap} {in_duty} {out_duty}")
    memory = [draw.getrandbits(CONFIG.memory_bits) for _ in range(DEPTH)]
    await start(dut, seed=gap, latency=draw.choice([2, 20]), gap=gap, busy=gap)
    board.fill(dut, memory)
    pieces = descriptors(draw, 1200)
    expected = beats(memory, pieces)
    cocotb.start_soon(streams.watch(dut, "i"))
    cocotb.start_soon(streams.watch(dut, "o"))
    cocotb.start_soon(streams.put(dut, "i", payloads(pieces), duty=in_duty, seed=1))
    assert await streams.get(dut, "o", len(expected), duty=out_duty, seed=2) == expected
    for _ in range(2):
        await FallingEdge(dut.clk)
    assert int(dut.words.value) == len(expected) * BEAT
    assert sums(dut) == golden_sums(memory, pieces)
    for _ in range(50):
        assert not int(dut.o__valid.value)
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_word_a_cycle_across_descriptors(dut):
    """A memory that gives a word a cycle never waits: descriptors of a few words do not show."""
    await start(dut, latency=12)
    words = 12 * BEAT
    cocotb.start_soon(streams.put(dut, "i", payloads([(0, words)] * 60)))
    dut.o__ready.value = 1
    count = []
    while not int(dut.words.value):
        await FallingEdge(dut.clk)
    for _ in range(400):
        count.append(int(dut.words.value))
        await FallingEdge(dut.clk)
    assert count[-1] - count[0] == len(count) - 1


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def prefetched_beats_come_one_a_cycle(dut):
    """Fetches ahead until ``prefetch_words`` wait, no further; then gives a beat a cycle."""
    await start(dut)
    longest = 64
    pieces = [(0, CONFIG.prefetch_words), (0, 16 * longest)]
    cocotb.start_soon(streams.put(dut, "i", payloads(pieces)))
    for _ in range(3 * CONFIG.prefetch_words + 200):
        await FallingEdge(dut.clk)
    fetched = int(dut.words.value)
    # Beats in the output registers have left the queue.
    assert CONFIG.prefetch_words - longest < fetched <= CONFIG.prefetch_words + 4 * BEAT + longest
    dut.o__ready.value = 1
    for _ in range(fetched // BEAT):
        await ReadOnly()
        assert int(dut.o__valid.value)
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_beat_appears_six_cycles_after_its_last_word(dut):
    await start(dut)
    cocotb.start_soon(streams.put(dut, "i", payloads([(0, BEAT)])))
    while int(dut.words.value) < BEAT:      # it counts two cycles after the word
        await FallingEdge(dut.clk)
    for cycle in range(2, 7):
        assert int(dut.o__valid.value) == (cycle == 6)
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def checksum_changes_at_once_three_cycles_after_a_descriptors_last_word(dut):
    """Descriptors of no word, a beat and a few bursts, whose words come in succession."""
    draw = random.Random(7)
    memory = [draw.getrandbits(CONFIG.memory_bits) for _ in range(DEPTH)]
    await start(dut, latency=40)
    board.fill(dut, memory)
    sizes  = [64 * BEAT, *12 * [BEAT], 0, *5 * [2 * BEAT], 99 * BEAT, 0, 0, 64 * BEAT, BEAT]
    pieces = [(draw.randrange(DEPTH - words + 1), words) for words in sizes]
    cocotb.start_soon(streams.put(dut, "i", payloads(pieces)))
    cocotb.start_soon(streams.get(dut, "o", sum(sizes) // BEAT))
    whole = [piece for piece in pieces if piece[1]]
    states = {sum(words for _, words in whole[:n]): golden_sums(memory, whole[:n])
              for n in range(len(whole) + 1)}
    came, known = [0, 0, 0], states[0]
    while known["streams"] < len(whole):
        came.append(came[-1] + int(dut.memory_read__valid.value))
        known = states.get(came.pop(0), known)
        assert sums(dut) == known
        await FallingEdge(dut.clk)
