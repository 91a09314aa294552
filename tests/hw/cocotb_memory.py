"""cocotb tests of MemoryArbiter with the memory model behind it; see test_memory.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.common.signatures import BURST_WORDS, command_layout
from tern_fpga.sim.rtl import streams
from tests.firmware import board
from tests.verilog import parameters


P = parameters()
CONFIG, CLIENTS = Config(**P["config"]), P["clients"]
COMMAND = command_layout(CONFIG)
REGION = 512                # words of memory that a client uses


def command(write, address, words):
    return COMMAND.const({"write": write, "address": address, "words": words}).as_value().value


async def start(dut, **behaviour):
    dut.stop.value = 0
    for name in CLIENTS:
        getattr(dut, f"{name}__command__valid").value = 0
        getattr(dut, f"{name}__write__valid").value = 0
        getattr(dut, f"{name}__read__ready").value = 1
    await board.prepare(dut, **behaviour)


async def reads(dut, name, words):
    """Background: every word that comes to the client."""
    payload, valid, _ = streams.ports(dut, f"{name}__read")
    while True:
        await ReadOnly()
        if int(valid.value):
            words.append(int(payload.value))
        await FallingEdge(dut.clk)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(latency=[2, 9], gap=[0, 100], busy=[0, 100])
async def each_client_has_its_memory(dut, latency, gap, busy):
    await start(dut, seed=latency + gap + busy, latency=latency, gap=gap, busy=busy)
    draw = random.Random(f"{latency} {gap} {busy}")
    tasks, checks = [], []
    for n, name in enumerate(CLIENTS):
        words = [draw.getrandbits(CONFIG.memory_bits) for _ in range(REGION)]
        board.fill(dut, words, n * REGION)
        commands, written, expected, got = [], [], [], []
        for _ in range(25):
            count = draw.choice([1, 2, BURST_WORDS, draw.randrange(1, BURST_WORDS + 1)])
            place = draw.randrange(REGION - count + 1)
            write = draw.random() < 0.5
            commands.append(command(write, n * REGION + place, count))
            if write:
                data = [draw.getrandbits(CONFIG.memory_bits) for _ in range(count)]
                written += data
                words[place:place + count] = data
            else:
                expected += words[place:place + count]
        cocotb.start_soon(reads(dut, name, got))
        tasks.append(cocotb.start_soon(streams.put(dut, f"{name}__command", commands,
                                                   duty=draw.choice([1, 0.3]), seed=name)))
        tasks.append(cocotb.start_soon(streams.put(dut, f"{name}__write", written,
                                                   duty=draw.choice([1, 0.5]), seed=name)))
        checks.append((name, n * REGION, words, expected, got))
    for task in tasks:
        await task
    while not int(dut.idle.value):
        await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    for name, address, words, expected, got in checks:
        assert got == expected, name
        assert board.contents(dut, REGION, address) == words, name


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def the_first_client_goes_first(dut):
    await start(dut)
    order = []

    async def ask(name, count):
        for _ in range(count):
            await streams.put(dut, f"{name}__command", [command(0, 0, 8)])
            order.append(name)

    tasks = [cocotb.start_soon(ask(name, 4)) for name in reversed(CLIENTS)]
    for task in tasks:
        await task
    assert order == [name for name in CLIENTS for _ in range(4)]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def bursts_follow_each_other_without_a_gap(dut):
    await start(dut, latency=9)
    got, cycles = [], 0
    cocotb.start_soon(reads(dut, CLIENTS[-1], got))
    cocotb.start_soon(streams.put(dut, f"{CLIENTS[-1]}__command", [command(0, 0, 8)] * 32))
    while not got:
        await FallingEdge(dut.clk)
    while len(got) < 256:
        cycles += 1
        await FallingEdge(dut.clk)
    assert cycles == 255


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(given=[0, 5], wait=[0, 1, 2, 3, 40])
async def stop_ends_what_was_begun(dut, given, wait):
    """The clients vanish with a write half done and reads under way; then all is as new."""
    await start(dut, seed=wait, latency=12, busy=60)
    ones = (1 << CONFIG.memory_bits) - 1
    board.fill(dut, [ones] * 64)
    writer, reader = CLIENTS[0], CLIENTS[-1]
    await streams.put(dut, f"{reader}__command", [command(0, 32, 20)])
    await streams.put(dut, f"{writer}__command", [command(1, 0, 16)])
    await streams.put(dut, f"{writer}__write", [7] * given)
    for _ in range(wait):
        await FallingEdge(dut.clk)
    dut.stop.value = 1
    got = []
    await FallingEdge(dut.clk)
    listener = cocotb.start_soon(reads(dut, reader, got))
    await ReadOnly()
    assert not int(dut.idle.value)
    while not int(dut.idle.value):
        await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    assert board.contents(dut, 17) == [7] * given + [0] * (16 - given) + [ones]
    assert len(got) <= 1
    dut.stop.value = 0
    await streams.put(dut, f"{reader}__command", [command(0, 0, 17)])
    for _ in range(60):
        await FallingEdge(dut.clk)
    assert got[-17:] == [7] * given + [0] * (16 - given) + [ones]
    listener.cancel()
