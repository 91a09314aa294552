"""Put, get and watch for cocotb benches of streams; the only copy in the repository.

A stream ``o`` of the hardware is the ports ``o__payload``, ``o__valid`` and ``o__ready`` of
its Verilog. Payloads are integers here; an Amaranth layout turns them into fields
(``layout.const({...}).as_value().value`` and ``layout.from_bits(...)``).

Stimulus changes at falling edges and is sampled right after, when it has settled: what a
rising edge will see. Reading at the rising edge itself differs between simulators.
"""

import json
import os
import random

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly


__all__ = ["start", "ports", "put", "get", "listen", "watch"]


# Inputs of the hardware that `run_bench` of tests/verilog.py runs, and their widths.
_INPUTS = json.loads(os.environ.get("BENCH_INPUTS", "{}"))
_NOISE  = 40            # cycles


async def start(dut):
    """Start the clock and hold reset for two cycles; returns at a falling edge.

    Before that anything comes in for some cycles: the reset must end whatever is going on.
    """
    Clock(dut.clk, 10, unit="ns").start()
    await _reset(dut)
    inputs = [(getattr(dut, name), width) for name, width in _INPUTS.items()]
    before = [handle.value for handle, _ in inputs]
    draw   = random.Random(1)
    for _ in range(_NOISE if inputs else 0):
        for handle, width in inputs:
            handle.value = draw.getrandbits(width)
        await FallingEdge(dut.clk)
    for (handle, _), value in zip(inputs, before):
        handle.value = value
    if inputs:
        await _reset(dut)


async def _reset(dut):
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


def ports(dut, name):
    """Handles of the payload, valid and ready of the stream called ``name``."""
    return tuple(getattr(dut, f"{name}__{part}") for part in ("payload", "valid", "ready"))


async def put(dut, name, payloads, *, duty=1.0, seed=0):
    """Offer every payload in turn; idle before each with probability ``1 - duty`` a cycle."""
    payload, valid, ready = ports(dut, name)
    draw = random.Random(seed)
    for value in payloads:
        while draw.random() >= duty:
            await FallingEdge(dut.clk)
        payload.value = int(value)
        valid.value = 1
        while True:
            await ReadOnly()
            taken = int(ready.value)
            await FallingEdge(dut.clk)
            if taken:
                break
        valid.value = 0


async def get(dut, name, count, *, duty=1.0, seed=0):
    """Take ``count`` payloads and return them; ready with probability ``duty`` a cycle."""
    payload, valid, ready = ports(dut, name)
    draw = random.Random(seed)
    values = []
    while len(values) < count:
        ready.value = draw.random() < duty
        await ReadOnly()
        if int(ready.value) and int(valid.value):
            values.append(int(payload.value))
        await FallingEdge(dut.clk)
    ready.value = 0
    return values


async def listen(dut, name, values):
    """Background: always ready, appends every payload to the list ``values``."""
    payload, valid, ready = ports(dut, name)
    ready.value = 1
    while True:
        await ReadOnly()
        if int(valid.value):
            values.append(int(payload.value))
        await FallingEdge(dut.clk)


async def watch(dut, name):
    """Background check: a producer changes or drops no offer before it is taken.

    Rule 2 of https://amaranth-lang.org/docs/amaranth/latest/stdlib/stream.html
    """
    payload, valid, ready = ports(dut, name)
    offer = None
    while True:
        await FallingEdge(dut.clk)
        await ReadOnly()
        if int(dut.rst.value):
            offer = None
            continue
        offered = int(valid.value)
        value = int(payload.value) if offered else None
        if offer is not None:
            assert offered and value == offer, f"{name}: offer {offer:#x} became {value}"
        offer = value if offered and not int(ready.value) else None
