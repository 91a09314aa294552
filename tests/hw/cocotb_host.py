"""cocotb benches of the host's registers; see test_host.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import Control, Status, register
from tern_fpga.hw.control.host import RESET_CYCLES, request_layout
from tern_fpga.hw.memory.stream_sum import StreamSum
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


CONFIG = Config(**parameters()["config"])
INPUTS = ("memory_idle", "running", "waiting", "fault", "stepped", "saturated", "events", "pc",
          "sums")
NAMES = [counter.name for counter in registers.COUNTERS]


async def prepare(dut):
    for name in INPUTS:
        getattr(dut, name).value = 0
    dut.request__valid.value = 0
    dut.response__ready.value = 0
    await streams.start(dut)
    cocotb.start_soon(streams.watch(dut, "response"))


async def request(dut, write, address, value=0):
    word = request_layout.const({"write": write, "address": address, "data": value})
    await streams.put(dut, "request", [word.as_value().value])


async def write(dut, name, value):
    await request(dut, 1, register(name).address, value)


async def read(dut, name):
    await request(dut, 0, register(name).address)
    value, = await streams.get(dut, "response", 1)
    return value


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def core_names_itself(dut):
    await prepare(dut)
    assert (await read(dut, "id")).to_bytes(4, "little") == b"TERN"
    assert await read(dut, "version") == registers.VERSION
    digest = await read(dut, "digest_high") << 32 | await read(dut, "digest_low")
    assert f"{digest:016x}" == CONFIG.digest


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def every_read_gets_one_response(dut):
    await prepare(dut)
    rng = random.Random(1)
    dut.pc.value = 5
    asked = [(rng.random() < 0.3, rng.choice([0x00, 0x08, 0x0c, 0x7f, 0xff])) for _ in range(60)]
    words = [request_layout.const({"write": w, "address": a, "data": 0}).as_value().value
             for w, a in asked]
    cocotb.start_soon(streams.put(dut, "request", words, duty=0.7, seed=2))
    expected = [{0x00: 0x4e524554, 0x08: 5}.get(a, 0) for w, a in asked if not w]
    assert await streams.get(dut, "response", len(expected), duty=0.4, seed=3) == expected


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def start_is_seen_at_once_and_clears_what_is_kept(dut):
    await prepare(dut)
    dut.saturated.value = 1
    dut.events.value = (1 << len(NAMES)) - 1
    await FallingEdge(dut.clk)
    dut.saturated.value = 0
    assert await read(dut, "status") == Status.SATURATED
    assert await read(dut, "cycles") > 1
    dut.fault.value = 1                 # of the run before
    assert await read(dut, "status") == Status.SATURATED | Status.FAULT
    dut.events.value = 0
    await write(dut, "program_address", 77)
    await write(dut, "program_length", 9)
    await write(dut, "control", Control.START | Control.LOGITS)
    assert int(dut.start.value) and int(dut.logits.value) and not int(dut.single_step.value)
    assert (int(dut.program_address.value), int(dut.program_length.value)) == (77, 9)
    assert await read(dut, "status") & (Status.RUNNING | Status.FAULT) == Status.RUNNING
    dut.running.value, dut.fault.value = 1, 0
    for _ in range(10):
        await FallingEdge(dut.clk)
    assert not int(dut.start.value)
    dut.events.value = 1 << NAMES.index("weight_words")
    for _ in range(5):
        await FallingEdge(dut.clk)
    dut.events.value = dut.running.value = 0
    assert await read(dut, "cycles") == 0
    assert await read(dut, "weight_words") == 5
    assert await read(dut, "array_beats") == 0
    assert await read(dut, "status") == 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def counters_are_read_as_they_were_in_one_cycle(dut):
    await prepare(dut)
    rng = random.Random(5)
    await write(dut, "control", Control.START)
    for _ in range(100):                # the banks are clear from here on
        await FallingEdge(dut.clk)
    dut.running.value = 1
    for _ in range(2):                  # `clear` is a cycle late, as are the core's events
        await FallingEdge(dut.clk)
    counts = [0] * len(NAMES)
    history = [tuple(counts)]

    async def happen():
        while True:
            events = rng.getrandbits(len(NAMES)) | rng.getrandbits(len(NAMES))
            dut.events.value = events
            for n in range(len(NAMES)):
                counts[n] += events >> n & 1
            await FallingEdge(dut.clk)
            history.append(tuple(counts))

    cocotb.start_soon(happen())
    for _ in range(4):
        asked = len(history)
        found = {"cycles": await read(dut, "cycles")}
        for name in rng.sample(NAMES, len(NAMES)):      # in any order, while they count on
            if name != "cycles":
                found[name] = await read(dut, name)
        assert tuple(found[name] for name in NAMES) in history[asked - 1:asked + 100]
        for _ in range(rng.randrange(200)):
            await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def checksum_is_read_as_it_was_with_streams(dut):
    await prepare(dut)
    rng = random.Random(6)
    fields = StreamSum.sums_layout
    for _ in range(3):
        sums = {name: rng.getrandbits(32) for name in ("streams", "words", "sum")}
        dut.sums.value = fields.const(sums).as_value().value
        assert await read(dut, "streams") == sums["streams"]
        dut.sums.value = rng.getrandbits(fields.size)
        assert await read(dut, "stream_sum") == sums["sum"]
        assert await read(dut, "stream_words") == sums["words"]


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def step_is_a_strobe_and_seen_at_once(dut):
    await prepare(dut)
    dut.running.value = dut.stepped.value = 1
    await write(dut, "control", Control.SINGLE_STEP)
    assert int(dut.single_step.value) and not int(dut.step.value)
    assert await read(dut, "status") == Status.RUNNING | Status.STEPPED
    await write(dut, "control", Control.SINGLE_STEP | Control.STEP)
    assert int(dut.step.value)
    await request(dut, 0, register("status").address)
    dut.stepped.value = 0               # the sequencer's answer to `step`
    assert not int(dut.step.value)
    status, = await streams.get(dut, "response", 1)
    assert status == Status.RUNNING


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def stop_resets_until_memory_is_idle(dut):
    await prepare(dut)
    for restart in (0, Control.START):
        for wait in (0, 3, 30):
            dut.running.value, dut.memory_idle.value = 1, wait == 0
            await write(dut, "control", Control.STOP | restart)
            assert int(dut.reset.value)
            dut.waiting.value = dut.fault.value = dut.stepped.value = 1
            assert await read(dut, "status") == (Status.RUNNING if restart else 0)
            for name in ("running", "waiting", "fault", "stepped"):
                getattr(dut, name).value = 0
            for _ in range(max(wait, RESET_CYCLES // 2)):   # however soon the memory is idle
                assert int(dut.reset.value) and not int(dut.start.value)
                await FallingEdge(dut.clk)
            dut.memory_idle.value = 1
            for _ in range(RESET_CYCLES):
                await FallingEdge(dut.clk)
            assert not int(dut.reset.value)
            assert int(dut.start.value) == bool(restart)
            assert bool(await read(dut, "status") & Status.RUNNING) == bool(restart)
            dut.running.value = 1       # so that a START that waits is done
            await FallingEdge(dut.clk)
            await FallingEdge(dut.clk)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def program_that_does_not_fit_is_cut(dut):
    await prepare(dut)
    for length in (0, CONFIG.program_words, CONFIG.program_words + 1, 0xffffffff):
        await write(dut, "program_length", length)
        assert int(dut.program_length.value) == min(length, CONFIG.program_words)
