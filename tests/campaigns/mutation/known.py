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
    "scheduler.Scheduler `prompt = Signal(_prompt_layout)         # header of the open PROMPT` "
    "$dff.0 width: register":
        "Its top bit is nobody's field; `--prove` shows it.",
    "scoreboard.Scoreboard `into  = Signal(len(Queue))` process.0 reset: dropped":
        "The state that a reset leaves sets it, and only a later one looks at it.",
    'scoreboard.Scoreboard `"full": Out(1),` process.0 swap: arms of 0':
        "Neither state sets `full`, so it is 0 in both.",
    "segments.Segments `rest  = Signal(place_bits)                  # words of the second "
    "segment, or 0` process.0 reset: dropped":
        "CUT sets it, and only GIVE, which follows, looks at it.",
    "transfer.VectorJobs `amaranth/hdl/_dsl.py` $eq.5 off by one: B +1":
        "No two of its states differ by that; `--prove` shows it.",
    "transfer.VectorStorer `gathered = Signal()` process.0 reset: dropped":
        "It counts only together with an offer of Bursts, which has none in the cycle after a "
        "reset, and then it is right.",
    "fetch.VectorFetch `(row | C(0, low))[:max(low, len(row))])` $or.1 constant: B":
        "`--prove` shows it.",
    'memory.VectorMemory `gave   = Signal(name=f"{name}_gave")` process.2 reset: dropped':
        "It follows what is issued, which is nothing after the first cycle of a reset; the core's "
        "and the board's resets last 16.",
}
