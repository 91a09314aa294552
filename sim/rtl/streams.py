"""Put, get and watch for cocotb benches of streams; the only copy in the repository.

A stream ``o`` of the hardware is the ports ``o__payload``, ``o__valid`` and ``o__ready`` of
its Verilog. Payloads are integers here; an Amaranth layout converts them from and to fields
(``layout.const({...}).as_value().value`` and ``layout.from_bits(...)``).

Stimulus changes at falling edges. Signals are sampled after that, when they have settled, so that
the samples are the values at the next rising edge. Sampling at the rising edge itself differs
between simulators.

``dut``: cocotb's handle of the design, which has no static type.
"""

from collections.abc import Iterable
import json
import os
import random
from typing import Any, SupportsInt

from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly


__all__ = ["start", "ports", "put", "get", "listen", "watch"]


# Names and widths of the design's inputs, from `run_bench` of tests/verilog.py.
_INPUTS = json.loads(os.environ.get("BENCH_INPUTS", "{}"))
_NOISE  = 40            # cycles of random inputs before the reset


async def start(dut: Any) -> None:
    """Start the clock and hold reset for two cycles; returns at a falling edge.

    Random inputs precede the reset for 40 cycles, because the reset must work in any state.
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


async def _reset(dut: Any) -> None:
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


def ports(dut: Any, name: str) -> tuple[Any, Any, Any]:
    """Handles of payload, valid and ready of the stream called ``name``."""
    return (getattr(dut, f"{name}__payload"), getattr(dut, f"{name}__valid"),
            getattr(dut, f"{name}__ready"))


async def put(dut: Any, name: str, payloads: Iterable[SupportsInt], *, duty: float = 1.0,
              seed: int = 0) -> None:
    """Offer each payload in turn; between two, a cycle is idle with probability ``1 - duty``."""
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


async def get(dut: Any, name: str, count: int, *, duty: float = 1.0, seed: int = 0) -> list[int]:
    """Take ``count`` payloads and return them; in each cycle ready with probability ``duty``."""
    payload, valid, ready = ports(dut, name)
    draw = random.Random(seed)
    values: list[int] = []
    while len(values) < count:
        ready.value = draw.random() < duty
        await ReadOnly()
        if int(ready.value) and int(valid.value):
            values.append(int(payload.value))
        await FallingEdge(dut.clk)
    ready.value = 0
    return values


async def listen(dut: Any, name: str, values: list[int]) -> None:
    """Background task: is always ready and appends every payload to the list ``values``."""
    payload, valid, ready = ports(dut, name)
    ready.value = 1
    while True:
        await ReadOnly()
        if int(valid.value):
            values.append(int(payload.value))
        await FallingEdge(dut.clk)


async def watch(dut: Any, name: str) -> None:
    """Background check: the producer must hold each offer until it is taken.

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
