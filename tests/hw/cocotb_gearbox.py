"""cocotb tests of Gearbox's Verilog; see test_gearbox.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tern_fpga.sim.golden.gearbox import regroup
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


RATIOS = [tuple(ratio) for ratio in parameters()["ratios"]]


async def start(dut):
    for a, b in RATIOS:
        getattr(dut, f"from_{a}_to_{b}__i__valid").value = 0
        getattr(dut, f"from_{a}_to_{b}__o__ready").value = 0
        getattr(dut, f"from_{a}_to_{b}__drop").value = 0
    await streams.start(dut)


async def take(dut, name, drops, *, duty, seed):
    """Take an output for each of ``drops``, which says whether to drop the rest after it."""
    payload, valid, ready = streams.ports(dut, f"{name}__o")
    drop = getattr(dut, f"{name}__drop")
    draw = random.Random(seed)
    outputs = []
    while len(outputs) < len(drops):
        ready.value = draw.random() < duty
        drop.value = drops[len(outputs)]
        await ReadOnly()
        if int(ready.value) and int(valid.value):
            outputs.append(int(payload.value))
        await FallingEdge(dut.clk)
    ready.value = 0
    return outputs


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(in_duty=[1.0, 0.5], out_duty=[1.0, 0.4])
async def strings_with_last_are_padded(dut, in_duty, out_duty):
    await start(dut)
    tasks = []
    for a, b in RATIOS:
        draw = random.Random(f"{a} {b} {in_duty}")
        name = f"from_{a}_to_{b}"
        inputs, expected = [], []
        for length in [*range(1, 10), *(draw.randrange(1, 30) for _ in range(12))]:
            words = [draw.getrandbits(a) for _ in range(length)]
            inputs += [word | (k == length - 1) << a for k, word in enumerate(words)]
            out = regroup(words, a, b)
            expected += [word | (k == len(out) - 1) << b for k, word in enumerate(out)]
        for end in "io":
            cocotb.start_soon(streams.watch(dut, f"{name}__{end}"))
        cocotb.start_soon(streams.put(dut, f"{name}__i", inputs, duty=in_duty, seed=name))
        tasks.append((cocotb.start_soon(take(dut, name, [0] * len(expected), duty=out_duty,
                                             seed=name)), name, expected))
    for task, name, expected in tasks:
        assert await task == expected, name


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(in_duty=[1.0, 0.5], out_duty=[1.0, 0.4])
async def the_rest_is_dropped(dut, in_duty, out_duty):
    await start(dut)
    tasks = []
    for a, b in RATIOS:
        draw = random.Random(f"{a} {b} {in_duty}")
        name = f"from_{a}_to_{b}"
        inputs, expected, drops = [], [], []
        for count in [*range(1, 10), *(draw.randrange(1, 40) for _ in range(12))]:
            words = [draw.getrandbits(a) for _ in range(-(-count * b // a))]
            inputs += words
            expected += regroup(words, a, b, count)
            drops += [0] * (count - 1) + [1]
        cocotb.start_soon(streams.put(dut, f"{name}__i", inputs, duty=in_duty, seed=name))
        tasks.append((cocotb.start_soon(take(dut, name, drops, duty=out_duty, seed=name)), name,
                      expected))
    for task, name, expected in tasks:
        assert await task == expected, name


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def the_narrower_side_moves_in_every_cycle(dut):
    await start(dut)
    for a, b in RATIOS:
        name = f"from_{a}_to_{b}"
        inputs = [0] * (400 // max(1, -(-a // b)))
        outputs = len(inputs) * a // b
        cocotb.start_soon(streams.put(dut, f"{name}__i", inputs))
        task = cocotb.start_soon(take(dut, name, [0] * outputs, duty=1.0, seed=0))
        for _ in range(max(len(inputs), outputs) + 3):
            await FallingEdge(dut.clk)
        assert task.done(), name
