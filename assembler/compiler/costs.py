"""Cycles that one instruction occupies its unit.

The formulas are those of the blocks in ``hw``. Their constants were measured in the RTL, one
instruction after the other; ``tests/assembler/test_estimate.py`` compares whole tokens.
"""

from math import ceil, log2

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operands, Space, Stat


__all__ = ["vector_cycles", "column_cycles", "matmul_latency", "load_latency"]


def _adder(config: Config) -> int:
    """Cycles of a float addition: two shifters, each with two levels per cycle, and rounding."""
    return 6 + 2 * ceil(log2(config.significand + 4) / 2)


def vector_cycles(mnemonic: str, operands: Operands, config: Config, live: int, chain: bool) -> int:
    """Cycles from the start of an instruction of the vector unit to the start of the next.

    ``live``: number of active positions. ``chain``: whether they are consecutive tokens of one
    prompt (prefill).
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
            each = 26       # 14 to 40, depending on the largest value and the sum's leading zeros
    return once + live * (config.rows(operands["n"]) + each)


def column_cycles(config: Config, live: int) -> int:
    """Cycles to bring the codes of a column block from the code memory to the array."""
    return max(1, live) * config.lanes // config.vector_lanes + 9


def matmul_latency(config: Config) -> int:
    """Cycles from the last beat of a row to its result in the registers."""
    tree = ceil(log2(config.lanes)) + (config.positions - 1) // 2
    return 40 + tree


def load_latency(config: Config) -> int:
    """Cycles from the start of a load to its last row in the registers, without one per word."""
    return 40
