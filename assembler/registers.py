"""What a host sees of the core: control registers and messages. Standard library only."""

from dataclasses import dataclass
import enum


__all__ = ["VERSION", "Register", "REGISTERS", "register", "Control", "Status", "MessageKind",
           "message", "PROMPT_FRESH", "PROMPT_SAMPLE", "PROMPT_ALL", "NO_STOP_TOKEN",
           "PAYLOAD_BITS", "SLOT_SHIFT", "KIND_SHIFT", "TOKEN_SLOT_SHIFT", "TOKEN_LAST"]


VERSION = 1                # of this table, of the ISA and of the image


@dataclass(frozen=True)
class Register:
    name: str
    address: int           # 32-bit words
    access: str            # "r" or "w"
    summary: str


class Control(enum.IntFlag):
    """Bits of the control register; writing a 1 acts."""
    START = 1              # fetch the program and run it from its first instruction
    STOP = 2               # drop everything in flight and go back to reset
    STEP = 4               # in single-step mode, issue one instruction
    SINGLE_STEP = 8        # level, not strobe: issue only on STEP, when all units are idle
    LOGITS = 16            # level: send the logits of every sampled position


class Status(enum.IntFlag):
    RUNNING = 1
    WAITING = 2            # at `next`, with no step to take
    FAULT = 4              # stopped at pc: no such instruction, or a count of 0
    SATURATED = 8          # a result was larger than the float format holds; sticky
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
    Register("cycles",          0x09, "r", "Clock cycles since START, modulo 2**32"),
    Register("weight_words",    0x0a, "r", "Weight words taken from memory since START"),
    Register("array_beats",     0x0b, "r", "Weight beats that the array took since START"),
)

_BY_NAME = {r.name: r for r in REGISTERS}

if len({r.address for r in REGISTERS}) != len(REGISTERS) or len(_BY_NAME) != len(REGISTERS):
    raise ValueError("two registers share an address or a name")


def register(name):
    return _BY_NAME[name]


class MessageKind(enum.IntEnum):
    """Words that the host sends to the scheduler: kind (4), slot (4), payload (24) bits."""
    PROMPT = 1             # payload: count (bits 3:0) and PROMPT_ flags; `count` tokens follow
    GENERATE = 2           # payload: tokens that the slot may sample from here on
    STOP = 3               # the slot samples no more
    STOP_TOKEN = 4         # payload: a stream ends after this token (any slot)


PAYLOAD_BITS = 24
SLOT_SHIFT = 24
KIND_SHIFT = 28
PROMPT_FRESH = 1 << 4      # the first chunk of a prompt: the state before is 0
PROMPT_SAMPLE = 1 << 5     # the last chunk: sample after its last token
PROMPT_ALL = 1 << 6        # with SAMPLE: sample after each of its tokens
NO_STOP_TOKEN = (1 << PAYLOAD_BITS) - 1

TOKEN_SLOT_SHIFT = 28      # words to the host: slot (4), last (1), unused (3), token (24)
TOKEN_LAST = 1 << 27       # the stream of this slot has ended


def message(kind, slot=0, payload=0):
    """The header word of a message; raises ValueError on a slot or payload that is too wide."""
    if not 0 <= slot < 16 or not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"slot {slot} or payload {payload} does not fit a message")
    return int(kind) << KIND_SHIFT | slot << SLOT_SHIFT | payload
