"""cocotb benches of the serial line; see test_uart.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge, Timer

from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


P = parameters()
BIT_PS = round(1e12 * P["clock_ns"] * 1e-9 * P["cycles"])       # of the line, at its nominal speed


async def wait(ps):
    await Timer(max(1, round(ps)), unit="ps")


async def say(dut, data, *, speed=1.0, gap=lambda: 0):
    """Send bytes on ``rx``, each in any phase to the clock; ``speed``: of the sender's clock."""
    bit, now, due = BIT_PS / speed, 0, 0
    for byte in data:
        for level in (0, *(byte >> n & 1 for n in range(8)), 1):
            dut.rx.value = level
            due += bit
            await wait(due - now)
            now = round(due)
        if rest := round(gap()):
            due += rest
            await wait(rest)
            now += rest


async def start(dut):
    dut.rx.value = 1
    dut.i__valid.value = dut.i__payload.value = 0
    await streams.start(dut)
    heard = []
    cocotb.start_soon(streams.listen(dut, "o", heard))
    await wait(20 * BIT_PS)
    await FallingEdge(dut.clk)
    return heard


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(speed=[0.98, 1.0, 1.02])
async def bytes_arrive_at_any_phase(dut, speed):
    heard = await start(dut)
    rng = random.Random(speed)
    data = [0, 255, 0x55, 0xaa, *(rng.randrange(256) for _ in range(P["bytes"]))]
    # A whole bit of rest now and then, else none: a sender that never waits must be followed.
    await say(dut, data, speed=speed, gap=lambda: rng.choice([0, 0, rng.random() * BIT_PS]))
    await wait(2 * BIT_PS)
    assert heard == data


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_is_sent_is_on_the_line(dut):
    """The line, sampled in the middle of ten bits, by a clock of its own."""
    await start(dut)
    rng = random.Random(1)
    data = [0, 255, *(rng.randrange(256) for _ in range(20))]
    cocotb.start_soon(streams.put(dut, "i", data))
    cocotb.start_soon(streams.watch(dut, "i"))
    heard = []
    for _ in data:
        while int(dut.tx.value):
            await wait(BIT_PS / 50)
        await wait(BIT_PS / 2)
        bits = []
        for n in range(10):
            if n:
                await wait(BIT_PS)
            bits.append(int(dut.tx.value))
        assert bits[0] == 0 and bits[9] == 1
        heard.append(sum(bit << n for n, bit in enumerate(bits[1:9])))
    assert heard == data


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def false_starts_and_framing_errors_give_no_bytes(dut):
    heard = await start(dut)
    dut.rx.value = 0                    # shorter than half a bit
    await wait(BIT_PS * 0.2)
    dut.rx.value = 1
    await wait(3 * BIT_PS)
    await say(dut, [0x5a])
    dut.rx.value = 0                    # a break
    await wait(35 * BIT_PS)
    dut.rx.value = 1
    await wait(1.5 * BIT_PS)
    await say(dut, [0xa5])
    for level in (0, 1, 1, 1, 1, 1, 1, 1, 1, 0):        # no stop bit
        dut.rx.value = level
        await wait(BIT_PS)
    dut.rx.value = 1
    await wait(1.5 * BIT_PS)
    await say(dut, [0x3c])
    await wait(2 * BIT_PS)
    assert heard == [0x5a, 0xa5, 0x3c]
