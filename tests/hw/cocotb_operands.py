"""cocotb bench of the registers that a word touches; see test_operands.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.hw.control.operands import Operands
from tern_fpga.hw.control.tickets import SLOTS, UNIT_INSTRUCTIONS, accesses_of, queues_of
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


CONFIG = Config(**parameters()["config"])
SIZES  = {"v": CONFIG.registers, "q": CONFIG.code_registers, "s": isa.SCALARS}


def starts():
    """Where each file lies in the table: the largest first."""
    order = sorted(SIZES, key=lambda file: (SIZES[file], file), reverse=True)
    return {file: sum(SIZES[other] for other in order[:n]) for n, file in enumerate(order)}


def drawn(rng, instr):
    """A word of the instruction, and (file, first, count) by the name of each register operand."""
    operands, touched = {}, {}
    for field in instr.fields:
        most = 1 << field.width
        if field.kind == "operand":
            space = Space("vus_".index(rng.choice(dict(instr.spaces)[field.name])))
            file = "s" if space is Space.S else "v"
            number = 0 if space is Space.NONE else rng.randrange(SIZES[file])
            operands[field.name] = Operand(space, number)
        elif field.kind == "code":
            operands[field.name] = rng.randrange(SIZES["q"])
        elif field.name in ("n", "rows", "blocks"):
            operands[field.name] = rng.choice([1, 2, 15, 16, 17, most // 2 + 1, most - 1,
                                               rng.randrange(1, most)])
        elif field.kind == "stat":
            operands[field.name] = int(rng.choice(list(isa.Stat)))
        else:
            operands[field.name] = rng.randrange(most)
    elements = operands.get("n", operands.get("rows", 1))
    for field, _, _ in accesses_of(instr):
        value, size = operands[field.name], CONFIG.register_elements
        if field.kind == "operand":
            if value.space is Space.S:
                touched[field.name] = "s", value.number, 1
            elif value.space is not Space.NONE:
                size *= CONFIG.positions if value.space is Space.U else 1
                touched[field.name] = "v", value.number, -(-elements // size)
        elif field.kind == "code":
            columns = operands["blocks"] * CONFIG.lanes if "blocks" in operands else elements
            touched[field.name] = "q", value, -(-columns // size)
        elif operands["stat"] != isa.Stat.NONE:
            touched[field.name] = "s", value, 1
    return operands, touched


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def slots_are_the_registers(dut):
    rng, where = random.Random(1), starts()
    layout = Operands.slot(CONFIG)
    bits = layout.size
    await streams.start(dut)
    for n in range(3000):
        instr = UNIT_INSTRUCTIONS[n % len(UNIT_INSTRUCTIONS)]
        operands, touched = drawn(rng, instr)
        dut.word.value = isa.encode(instr.mnemonic, **operands)
        for _ in range(2):
            await FallingEdge(dut.clk)
        assert int(dut.queues.value) == sum(1 << queue for queue in queues_of(instr))
        slots, accesses = int(dut.slots.value), {f.name: (w, q) for f, w, q in accesses_of(instr)}
        for number, field in enumerate(SLOTS):
            slot = layout.from_bits(slots >> number * bits & (1 << bits) - 1)
            assert slot["used"] == (field.name in touched), (instr.mnemonic, field.name)
            if field.name in touched:
                file, first, count = touched[field.name]
                writes, queue = accesses[field.name]
                entries = Operands.depth(CONFIG)
                assert (slot["write"], slot["queue"]) == (writes, 1 << queue)
                assert slot["first"] == where[file] + first, (instr.mnemonic, field.name)
                assert slot["more"] == (count - 1) % entries, (instr.mnemonic, operands)
