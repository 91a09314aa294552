"""cocotb tests of MemoryCrossing, with a memory of its own clock written here; see
test_crossing.py."""

from collections import deque
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.common.signatures import BURST_WORDS, command_layout
from tern_fpga.hw.memory.crossing import memory_side
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


P = parameters()
CONFIG = Config(**P["config"])
NARROW = memory_side(CONFIG, P["memory_bits"])
RATIO  = CONFIG.memory_bits // NARROW.memory_bits
DEPTH  = 1024              # wide words


async def start(dut, period):
    """Both clocks, the memory's of ``period`` ps and at no fixed phase to the other's."""
    Clock(dut.memory_clk, period, unit="ps").start()
    dut.memory_rst.value = 1
    for stream, signal in (("core__command", "valid"), ("core__write", "valid"),
                           ("memory__command", "ready"), ("memory__write", "ready"),
                           ("memory__read", "valid")):
        getattr(dut, f"{stream}__{signal}").value = 0
    await streams.start(dut)
    dut.rst.value = 1
    for clock in [dut.clk, dut.memory_clk] * 10:        # as long as on a board
        await FallingEdge(clock)
    dut.rst.value = 0
    dut.memory_rst.value = 0
    await FallingEdge(dut.clk)          # where the streams of the core begin


async def serve(dut, words, draw, duty):
    """Background: the memory. ``words``: its narrow words; ready and valid with ``duty``."""
    commands, done = deque(), 0
    c_payload, c_valid, c_ready = streams.ports(dut, "memory__command")
    w_payload, w_valid, w_ready = streams.ports(dut, "memory__write")
    r_payload, r_valid, _ = streams.ports(dut, "memory__read")
    layout = command_layout(NARROW)
    while True:
        await FallingEdge(dut.memory_clk)
        first = commands[0] if commands else None
        moves = first is not None and draw.random() < duty
        reads = moves and not first.write
        r_valid.value = int(reads)
        if reads:
            r_payload.value = words[first.address + done]
        w_ready.value = int(moves and bool(first.write))
        c_ready.value = int(draw.random() < duty)
        await ReadOnly()
        if moves and first.write and int(w_valid.value):
            words[first.address + done] = int(w_payload.value)
        if moves and (reads or int(w_valid.value)):
            done += 1
            if done == first.words:
                commands.popleft()
                done = 0
        if int(c_ready.value) and int(c_valid.value):
            commands.append(layout.from_bits(int(c_payload.value)))


def narrow(words):
    mask = (1 << NARROW.memory_bits) - 1
    return [word >> k * NARROW.memory_bits & mask for word in words for k in range(RATIO)]


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(period=P["periods"], duty=[1.0, 0.5])
async def memory_is_as_if_it_were_near(dut, period, duty):
    await start(dut, period)
    draw = random.Random(f"{period} {duty}")
    words = [draw.getrandbits(CONFIG.memory_bits) for _ in range(DEPTH)]
    memory = narrow(words)
    server = cocotb.start_soon(serve(dut, memory, draw, duty))
    commands, written, expected, got = [], [], [], []
    for _ in range(60):
        count = draw.choice([1, 2, BURST_WORDS, draw.randrange(1, BURST_WORDS + 1)])
        address = draw.randrange(DEPTH - count + 1)
        write = draw.random() < 0.4
        commands.append(command_layout(CONFIG).const(
            {"write": write, "address": address, "words": count}).as_value().value)
        if write:
            data = [draw.getrandbits(CONFIG.memory_bits) for _ in range(count)]
            written += data
            words[address:address + count] = data
        else:
            expected += words[address:address + count]
    listener = cocotb.start_soon(streams.listen(dut, "core__read", got))
    tasks = [cocotb.start_soon(streams.put(dut, "core__command", commands, duty=duty)),
             cocotb.start_soon(streams.put(dut, "core__write", written, duty=duty))]
    for task in tasks:
        await task
    for _ in range(4 * BURST_WORDS * RATIO * 10):
        await FallingEdge(dut.clk)
        if len(got) >= len(expected) and memory == narrow(words):
            break
    assert got == expected
    assert memory == narrow(words)
    server.cancel()
    listener.cancel()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def reads_are_as_fast_as_the_memory(dut):
    period = P["periods"][0]
    await start(dut, period)
    words = [random.Random(1).getrandbits(CONFIG.memory_bits) for _ in range(DEPTH)]
    server = cocotb.start_soon(serve(dut, narrow(words), random.Random(2), 1.0))
    commands = [command_layout(CONFIG).const({"write": 0, "address": address,
                                              "words": BURST_WORDS}).as_value().value
                for address in range(0, DEPTH, BURST_WORDS)]
    got, cycles = [], 0
    listener = cocotb.start_soon(streams.listen(dut, "core__read", got))
    asking = cocotb.start_soon(streams.put(dut, "core__command", commands))
    while not got:
        await FallingEdge(dut.clk)
    while len(got) < DEPTH:
        await FallingEdge(dut.clk)
        cycles += 1
    await asking
    assert got == words
    # The memory's words take this long; streams.start gives the core 10 ns a cycle.
    assert cycles * 10_000 <= DEPTH * RATIO * period * 1.01 + 100_000
    server.cancel()
    listener.cancel()
