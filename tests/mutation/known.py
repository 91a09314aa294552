"""Mutants that change nothing that can be seen, and why."""

__all__ = ["EQUIVALENT"]


EQUIVALENT: dict[str, str] = {
    'host.HostRegisters `"step":            Out(1),` process.0 swap: arms of 0':
        "Both arms leave `step` as it is; `--prove` shows it.",
    "vector.VectorUnit `start = Signal()` process.0 swap: arms of 0":
        "Neither state sets `start`, so it is 0 in both.",
    "uart.UartReceiver `bits  = Signal(8)` process.0 reset: dropped":
        "A byte is given when all eight bits were shifted in since the start bit.",
    "codes.ColumnLoader `shift, previous = Signal(config.positions, name=f\"shift_{n}\"), shift` "
    "process.1 reset: dropped":
        "What it shifts within four cycles of a reset is shifted out again before it counts.",
    "exact_sum.ExactSum `resting     = Signal()      # one cycle late` process.0 reset: dropped":
        "It follows the state, which is reset; what it clears a cycle earlier is clear.",
    "operands.Operands `last     = Signal(elements.shape())     # number of the last element` "
    "$dff.0 width: register":
        "The table of registers has fewer entries than this bit counts.",
    "transfer.VectorRows `left   = Signal.like(vector.rows)   # rows after this one` "
    "$dff.0 width: register":
        "No vector has 2**15 rows: all registers of the machine have fewer.",
}
