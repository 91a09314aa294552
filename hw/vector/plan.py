"""Decoder of vector instructions: what each part of the vector unit must do."""

from amaranth import *
from amaranth.lib import data
from amaranth.utils import ceil_log2, exact_log2

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.signatures import instruction_layout, operand_layout
from tern_fpga.hw.vector.lane import lane_operation
from tern_fpga.hw.vector.walk import row_shape


__all__ = ["VECTOR_MNEMONICS", "vector_instruction_layout", "plan_layout", "from_memory",
           "decode"]


VECTOR_MNEMONICS = tuple(i.mnemonic for i in isa.INSTRUCTIONS if i.unit is isa.Unit.VECTOR)

vector_instruction_layout = instruction_layout(*VECTOR_MNEMONICS)


def plan_layout(config):
    """A decoded vector instruction.

    The lanes compute ``a * b + c``. An operand whose space is NONE is a constant: ``value`` for
    ``a``, 1 (``unit``) or 0 for ``b``, 0 for ``c``.
    """
    return data.StructLayout({
        "a": operand_layout, "b": operand_layout, "c": operand_layout,
        "value":     config.float.width,
        "unit":      1,
        "operation": lane_operation,
        "divide":    1,                     # div or sqrt, by the divider instead of the lanes
        "root":      1,
        "chain":     1,                     # scan of a prefill step: b is the result before
        "fresh":     1,                     # ... and 0 at the first position
        "to_slot":   1,                     # carry of a prefill step: the slot takes the result
        "dst":       operand_layout,
        "q":         isa.Q.width,
        "stat":      isa.STAT.width,
        "stat_to":   ceil_log2(isa.SCALARS),
        "positions": config.positions,      # mask
        "last_row":  row_shape(config),
        "tail":      config.vector_lanes,   # mask of the elements in the last row
    })


def from_memory(operand):
    """Whether an operand is in the vector memory."""
    return (operand.space == isa.Space.V) | (operand.space == isa.Space.U)


def decode(m, plan, instruction, step, config):
    """Drive ``plan`` from an instruction word, in ``m.d.comb``."""
    lane_bits = exact_log2(config.vector_lanes)
    last = data.View(data.StructLayout({
        "lane": lane_bits, "row": row_shape(config)}), (instruction.n - 1)[:isa.N.width])
    p = plan
    m.d.comb += [
        p.a.space.eq(isa.Space.NONE),
        p.b.space.eq(isa.Space.NONE),
        p.c.space.eq(isa.Space.NONE),
        p.value.eq(instruction.value),
        p.dst.eq(instruction.dst),
        p.q.eq(instruction.q),
        p.stat_to.eq(instruction.stat_to),
        p.positions.eq(step.live),
    ]

    def operands(**sources):
        return [plan[name].eq(source) for name, source in sources.items()]

    def elements():
        return [p.last_row.eq(last.row), *(p.tail[lane].eq(lane <= last.lane)
                                           for lane in range(config.vector_lanes))]

    one_element = [p.last_row.eq(0), p.tail.eq(1)]
    a, b, c = instruction.a, instruction.b, instruction.c
    # `add` is a * 1 + b, and `carry` and `const` are a * 1 + 0: the lanes need no other operation.
    rows = {
        "mul":     [operands(a=a, b=b), elements(), p.stat.eq(instruction.stat)],
        "add":     [operands(a=a, c=b), p.unit.eq(1), elements(), p.stat.eq(instruction.stat)],
        "fma":     [operands(a=a, b=b, c=c), elements(), p.stat.eq(instruction.stat)],
        "sigmoid": [operands(a=a), p.operation.table.eq(1), elements(),
                    p.stat.eq(instruction.stat)],
        "silu":    [operands(a=a), p.operation.table.eq(1), p.operation.gate.eq(1), elements(),
                    p.stat.eq(instruction.stat)],
        "scan":    [operands(a=a, b=b, c=c), p.chain.eq(step.chain),
                    p.fresh.eq(step.chain & step.fresh), elements(), p.stat.eq(instruction.stat)],
        "carry":   [operands(a=a), p.unit.eq(1), elements(), p.to_slot.eq(step.chain)],
        "quant":   [operands(a=a, b=b), p.operation.code.eq(1), elements(),
                    p.dst.space.eq(isa.Space.NONE)],
        "div":     [operands(a=a, b=b), p.divide.eq(1), one_element],
        "sqrt":    [operands(a=a), p.divide.eq(1), p.root.eq(1), one_element],
        "const":   [p.unit.eq(1), p.positions.eq(~0), one_element],
    }
    with m.Switch(instruction.opcode):
        for mnemonic in VECTOR_MNEMONICS:
            with m.Case(isa.lookup(mnemonic).opcode):
                m.d.comb += rows[mnemonic]
    # The state after a prefill step is that of its last position.
    with m.If(p.to_slot):
        m.d.comb += p.positions.eq(1 << step.last)
