"""Bench of the whole core with the memory model: upload, start, talk, as a host does it."""

import cocotb
from cocotb.triggers import FallingEdge

from tern_fpga.assembler.contract.registers import Control, Status, register
from tern_fpga.assembler.files import image as images
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


BURST = 64


async def write(dut, name, data):
    """Only a read is answered."""
    await streams.put(dut, "request", [int(data) << 9 | register(name).address << 1 | 1])


async def read(dut, name):
    cocotb.start_soon(streams.put(dut, "request", [register(name).address << 1]))
    return (await streams.get(dut, "response", 1))[0]


def command(config, write, address, words):
    return write | address << 1 | words << 1 + (config.memory_words - 1).bit_length()


async def upload(dut, config, words):
    """Write ``words`` to the memory from address 0 through the host's port."""
    bursts = [(start, min(BURST, len(words) - start)) for start in range(0, len(words), BURST)]
    commands = [command(config, 1, *burst) for burst in bursts]
    putting = cocotb.start_soon(streams.put(dut, "host__command", commands))
    await streams.put(dut, "host__write", words)
    await putting


async def download(dut, config, address, words):
    cocotb.start_soon(streams.put(dut, "host__command", [command(config, 0, address, words)]))
    return await streams.get(dut, "host__read", words)


@cocotb.test()
async def test_tokens_are_the_golden_machines(dut):
    case = parameters()
    image = images.load(case["image"])
    config, size = image.config, image.config.word_bytes
    for name in ("request", "messages", "host__command", "host__write"):
        payload, valid, _ = streams.ports(dut, name)
        payload.value, valid.value = 0, 0
    for name in ("response", "tokens", "logits", "host__read"):
        streams.ports(dut, name)[2].value = 0
    for name in ("seed", "latency", "gap", "busy"):
        getattr(dut, f"memory_{name}").value = case[name]
    await streams.start(dut)
    for name in ("command", "write", "tokens", "response", "host__read"):
        cocotb.start_soon(streams.watch(dut, name))

    data = bytes(image.memory())
    words = [int.from_bytes(data[i:i + size], "little") for i in range(0, len(data), size)]
    await upload(dut, config, words)
    assert await download(dut, config, len(words) - BURST, BURST) == words[-BURST:]

    assert await read(dut, "digest_low") == int(config.digest[8:], 16)
    await write(dut, "program_address", image.program_address)
    await write(dut, "program_length", image.program_length)
    await write(dut, "control", Control.START)
    # Without gaps: which step comes next depends on what waits at `next`.
    cocotb.start_soon(streams.put(dut, "messages", case["messages"]))
    tokens = await streams.get(dut, "tokens", len(case["tokens"]), duty=case["duty"],
                               seed=case["seed"] + 1)
    assert tokens == case["tokens"]
    for _ in range(100):
        await FallingEdge(dut.clk)
    status = await read(dut, "status")
    assert status & Status.WAITING and not status & Status.FAULT
