"""What one instruction takes of its unit, in cycles of the core.

Formulas of the blocks in ``hw``, with their constants measured in the RTL with one instruction
after the other; ``tests/assembler/test_estimate.py`` compares whole tokens.
"""

from math import ceil, log2

from tern_fpga.assembler.contract.isa import Space, Stat


__all__ = ["vector_cycles", "column_cycles", "matmul_latency", "load_latency"]


def _adder(config):
    """Cycles of a float addition: two shifters of two levels a cycle, and rounding."""
    return 6 + 2 * ceil(log2(config.significand + 4) / 2)


def vector_cycles(mnemonic, operands, config, live, chain):
    """Cycles of the vector unit, from taking an instruction to taking the next.

    ``live``: positions that compute. ``chain``: they are consecutive tokens of one prompt.
    """
    match mnemonic:
        case "const":
            return 23 + 3 * config.positions
        case "div" | "sqrt":
            return 12 + (10 + config.significand) * live
        case "scan" if chain:
            return 3 + live * (config.rows(operands["n"]) + 21 + _adder(config))
        case "carry" if chain:
            live = 1
    once, each = 22 + _adder(config), 2
    once += {"sigmoid": 4, "silu": 9, "quant": 2 - _adder(config)}.get(mnemonic, 0)
    if mnemonic != "quant" and operands["dst"].space is Space.S:
        once -= 3
    if any(operands[name].space is Space.S for name in "abc" if name in operands):
        once, each = once - 5, 6
    match operands.get("stat"):
        case Stat.ABSMAX:
            each = max(each, 2 + config.vector_lanes.bit_length())
        case Stat.SUMSQ:
            each = 26       # 14 to 40, by the largest value and the sum's leading zeros
    return once + live * (config.rows(operands["n"]) + each)


def column_cycles(config, live):
    """Cycles that the codes of a column block take to come before the array."""
    return max(1, live) * config.lanes // config.vector_lanes + 9


def matmul_latency(config):
    """Cycles from the last beat of a row to its result in the registers."""
    tree = ceil(log2(config.lanes)) + (config.positions - 1) // 2
    return 40 + tree


def load_latency(config):
    """Cycles from the start of a load to its last row in the registers, less one a word."""
    return 40
