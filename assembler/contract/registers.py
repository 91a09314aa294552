"""The core's host interface: control registers, counters, messages. Standard library only."""

from collections.abc import Mapping
from dataclasses import dataclass
import enum


__all__ = ["VERSION", "ID", "Register", "REGISTERS", "register", "COUNTERS", "GROUPS", "counted",
           "Control", "Status", "MessageKind", "message", "PROMPT_FRESH", "PROMPT_SAMPLE",
           "PROMPT_ALL", "NO_STOP_TOKEN", "PAYLOAD_BITS", "SLOT_SHIFT", "KIND_SHIFT",
           "TOKEN_SLOT_SHIFT", "TOKEN_LAST"]


VERSION = 1                # of this table, of the ISA and of the image
ID      = int.from_bytes(b"TERN", "little")    # value of the register `id`


@dataclass(frozen=True)
class Register:
    """One row of the table.

    ``group``: for a counter, the part of the core that it watches. ``summary`` then completes the
    phrase "cycles in which ...". Each cycle counts in exactly one counter of a group, except in
    the group "core", whose counters are independent.
    """
    name: str
    address: int           # 32-bit words
    access: str            # "r" or "w"
    summary: str
    group: str = ""


class Control(enum.IntFlag):
    """Bits of the control register; writing a 1 acts."""
    START = 1              # fetch the program and run it from its first instruction
    STOP = 2               # drop everything in flight and return to the state after reset
    STEP = 4               # in single-step mode, issue one instruction
    SINGLE_STEP = 8        # level, not strobe: issue only on STEP, when all units are idle
    LOGITS = 16            # level: send the logits of every sampled position


class Status(enum.IntFlag):
    """Bits of the status register."""
    RUNNING = 1
    WAITING = 2            # at `next`, with no step to take
    FAULT = 4              # stopped at pc: an unknown instruction, or a count of 0
    SATURATED = 8          # a result exceeded the largest float and was saturated; sticky
    STEPPED = 16           # single-step mode: all units idle, next instruction not issued


REGISTERS = (
    Register("id",              0x00, "r", "0x4e524554, `TERN` in ASCII"),
    Register("version",         0x01, "r", "Version of the core's interface"),
    Register("digest_low",      0x02, "r", "Config digest, bits 31:0"),
    Register("digest_high",     0x03, "r", "Config digest, bits 63:32"),
    Register("control",         0x04, "w", "See Control"),
    Register("status",          0x05, "r", "See Status"),
    Register("program_address", 0x06, "w", "Memory word where the program starts"),
    Register("program_length",  0x07, "w", "Instructions in the program"),
    Register("pc",              0x08, "r", "Instruction to be issued next"),
    # Counters of the cycles since START in which the program ran: see the class.
    Register("cycles",          0x09, "r", "the program ran", "core"),
    Register("weight_words",    0x0a, "r", "a word of weights arrived", "memory"),
    Register("array_beats",     0x0b, "r", "it takes a beat", "array"),
    Register("instructions",    0x0c, "r", "an instruction was fetched", "core"),
    # Checksum of the weight stream; a read of `streams` freezes the other two for the reads after.
    Register("streams",         0x0d, "r", "Weight streams that arrived completely since STOP"),
    Register("stream_words",    0x0e, "r", "Words in them"),
    Register("stream_sum",      0x0f, "r", "Sum of the CRC-32 of each of them"),
    Register("load_words",      0x10, "r", "a word for `load` or `embed` arrived", "memory"),
    Register("store_words",     0x11, "r", "a word of a `store` was written", "memory"),
    Register("program_words",   0x12, "r", "a word of the program arrived", "memory"),
    Register("host_words",      0x13, "r", "a word was read or written for the host", "memory"),
    Register("memory_late",     0x14, "r", "no word: row change, refresh, bus turnaround, latency",
             "memory"),
    Register("memory_starved",  0x15, "r", "no word: a write waits for its words", "memory"),
    Register("memory_full",     0x16, "r", "no word: no room in the prefetch", "memory"),
    Register("memory_unasked",  0x17, "r", "no word: no `stream` to prefetch", "memory"),
    Register("array_starved",   0x18, "r", "it waits for weights", "array"),
    Register("array_blocked",   0x19, "r", "it waits for the drain to take sums", "array"),
    Register("array_codes",     0x1a, "r", "it waits for codes from code memory", "array"),
    Register("array_operand",   0x1b, "r", "its matmul waits for codes to be computed", "array"),
    Register("array_idle",      0x1c, "r", "it has no matmul", "array"),
    Register("vector_rows",     0x1d, "r", "a row of operands enters the lanes", "vector"),
    Register("vector_busy",     0x1e, "r", "it begins or ends an instruction", "vector"),
    Register("vector_operand",  0x1f, "r", "its instruction waits for operands", "vector"),
    Register("vector_idle",     0x20, "r", "it has no instruction", "vector"),
    Register("transfer_busy",   0x21, "r", "it loads or stores", "transfer"),
    Register("transfer_operand", 0x22, "r", "its instruction waits for registers", "transfer"),
    Register("transfer_idle",   0x23, "r", "it has no instruction", "transfer"),
    Register("sequencer_busy",  0x24, "r", "it fetches or executes", "sequencer"),
    Register("sequencer_scoreboard", 0x25, "r", "it waits for the scoreboard", "sequencer"),
    Register("sequencer_queue", 0x26, "r", "it waits for room in a queue", "sequencer"),
    Register("sequencer_units", 0x27, "r", "`next` or `halt` waits for the units", "sequencer"),
    Register("sequencer_step",  0x28, "r", "`next` waits for a step", "sequencer"),
)

_BY_NAME = {r.name: r for r in REGISTERS}

if len({r.address for r in REGISTERS}) != len(REGISTERS) or len(_BY_NAME) != len(REGISTERS):
    raise ValueError("two registers share an address or a name")


def register(name: str) -> Register:
    """The row called ``name``."""
    return _BY_NAME[name]


# In the order in which the hardware keeps them.
COUNTERS = tuple(r for r in REGISTERS if r.group)

# Group -> names of its counters, for the groups in which each cycle counts exactly once.
GROUPS = {group: tuple(r.name for r in COUNTERS if r.group == group)
          for group in dict.fromkeys(r.group for r in COUNTERS) if group != "core"}


def counted(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Differences of the counters between two readings; each may have wrapped once.

    ``before``, ``after``: values by name.
    """
    return {name: (after[name] - before[name]) % (1 << 32) for name in after}


class MessageKind(enum.IntEnum):
    """Words that the host sends to the scheduler: kind (4), slot (4), payload (24) bits."""
    PROMPT = 1             # payload: count (bits 3:0) and PROMPT_ flags; `count` tokens follow
    GENERATE = 2           # payload: tokens that the slot may sample from here on
    STOP = 3               # the slot samples no further token
    STOP_TOKEN = 4         # payload: a stream ends after this token (any slot)
    TEMPERATURE = 5        # payload: 1 / temperature in 4096ths, or 0: the slot is greedy
    SEED = 6               # payload: seed of the slot's draws, which are counted from 0 again
    TOP_K = 7              # payload: draw only among this number of the largest logits; 0: all
    REPETITION = 8         # payload: penalty in 1024ths, 1 / it in 4096ths (12 bits each); 0: none


PAYLOAD_BITS = 24
SLOT_SHIFT = 24
KIND_SHIFT = 28
PROMPT_FRESH = 1 << 4      # the first chunk of a prompt: the state before is 0
PROMPT_SAMPLE = 1 << 5     # the last chunk: sample after its last token
PROMPT_ALL = 1 << 6        # with SAMPLE: sample after each of its tokens
NO_STOP_TOKEN = (1 << PAYLOAD_BITS) - 1

TOKEN_SLOT_SHIFT = 28      # words to the host: slot (4), last (1), unused (3), token (24)
TOKEN_LAST = 1 << 27       # the stream of this slot has ended


def message(kind: MessageKind, slot: int = 0, payload: int = 0) -> int:
    """The header word of a message; raises ValueError on a slot or payload that is too wide."""
    if not 0 <= slot < 16 or not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"slot {slot} or payload {payload} does not fit a message")
    return int(kind) << KIND_SHIFT | slot << SLOT_SHIFT | payload
