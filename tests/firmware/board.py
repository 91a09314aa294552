"""A block with the memory model of ``sim/rtl/memory.v`` behind its burst port."""

from dataclasses import asdict

from amaranth import *
from amaranth.back import verilog
from amaranth.lib import wiring

from tern_fpga.hw.common.signatures import command_layout
from tern_fpga.sim.rtl import streams
from tests.verilog import ROOT, run_verilog


__all__ = ["run_on_board", "prepare", "fill", "contents"]


def run_on_board(component, config, bench, simulator, *, port, depth, **parameters):
    """As ``run_bench``; the member ``port`` of ``component`` is connected to a memory.

    The bench sees the other members, and the memory's inputs as ``seed``, ``latency``, ``gap``
    and ``busy``, and ``config`` and ``depth`` in its parameters.
    """
    outside, inside = [], []
    for path, member, value in component.signature.flatten(component):
        name = "__".join(map(str, path))
        width = Shape.cast(value.shape()).width
        if path[0] == port:
            inside.append((name.removeprefix(f"{port}__"), width))
        elif width:
            outside.append(("output" if member.flow == wiring.Out else "input", width, name))
    lines = ["module top(input clk, input rst, input [31:0] seed, latency, gap, busy"]
    lines += [f"  , {flow} [{width - 1}:0] {name}" for flow, width, name in outside]
    lines += [");"]
    lines += [f"  wire [{width - 1}:0] memory_{name};" for name, width in inside]
    own = ["clk", "rst", *(name for _, _, name in outside)]
    lines += ["  dut dut (" + ", ".join(
        [f".{name}({name})" for name in own]
        + [f".{port}__{name}(memory_{name})" for name, _ in inside]) + ");"]
    lines += [f"  tern_memory #(.BITS({config.memory_bits}), .DEPTH({depth}), "
              f".COMMAND_BITS({command_layout(config).size})) memory ("]
    lines += ["    " + ", ".join(
        [f".{name}({name})" for name in ("clk", "rst", "seed", "latency", "gap", "busy")]
        + [f".{name}(memory_{name})" for name, _ in inside]) + ");", "endmodule"]
    sources = {"dut.v": verilog.convert(component, name="dut", emit_src=False),
               "memory.v": (ROOT / "sim" / "rtl" / "memory.v").read_text(encoding="utf-8"),
               "top.v": "\n".join(lines) + "\n"}
    run_verilog(sources, "top", bench, simulator, config=asdict(config), depth=depth,
                **parameters)


async def prepare(dut, *, seed=1, latency=6, gap=0, busy=0):
    """Set the memory's behaviour, start clock and reset; other inputs must be set before."""
    dut.seed.value    = seed
    dut.latency.value = latency
    dut.gap.value     = gap
    dut.busy.value    = busy
    await streams.start(dut)


def fill(dut, words, address=0):
    """Put ``words`` into the memory."""
    for k, word in enumerate(words):
        dut.memory.words[address + k].value = int(word)


def contents(dut, count, address=0):
    """``count`` words of the memory."""
    return [int(dut.memory.words[address + k].value) for k in range(count)]
