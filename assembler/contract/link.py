"""The link between a host and a board: frames, commands and answers. Standard library only.

Host, hardware and simulation read this table; ``docs/link.md`` has what a table cannot say.

A frame is a payload and its CRC-32, COBS-encoded, between zero bytes:

* request: number (1 byte), command (1), address (4), operand (4), up to DATA_BYTES of data;
* answer: number of the request (1), status (1), number that the board expects next (1), up to
  DATA_BYTES of data.

All numbers are little-endian.
"""

from dataclasses import dataclass
import enum
import struct
import zlib


__all__ = ["VERSION", "FRAME_BYTES", "DATA_BYTES", "WINDOW", "REQUEST", "ANSWER", "CRC",
           "DELIMITER", "TAIL", "IDENTITY", "Code", "Status", "Command", "COMMANDS", "command",
           "request", "encode", "decode"]


VERSION     = 1            # of the link; the core's interface has its own version
FRAME_BYTES = 254          # payload and CRC at most: COBS then adds a single byte
WINDOW      = 8            # requests that may be in flight

REQUEST    = struct.Struct("<BBII")         # number, code, address, operand
ANSWER     = struct.Struct("<BBB")          # number, status, number expected next
CRC        = struct.Struct("<I")            # CRC-32 as in zlib
DATA_BYTES = FRAME_BYTES - REQUEST.size - CRC.size
IDENTITY   = struct.Struct("<BBHI24s")      # VERSION, WINDOW, bits of a word, clock in Hz, name

DELIMITER = b"\0"
TAIL      = 2 * DELIMITER  # after the last frame of a burst: one of the two may be lost


class Code(enum.IntEnum):
    """Commands; see COMMANDS."""
    SYNC           = 0x01
    READ_REGISTER  = 0x02
    WRITE_REGISTER = 0x03
    READ_MEMORY    = 0x04
    WRITE_MEMORY   = 0x05
    CHECK_MEMORY   = 0x06
    MESSAGES       = 0x07
    TOKENS         = 0x08


class Status(enum.IntEnum):
    """Result of a request. OK, REFUSED and BUSY use up the request's number."""
    OK       = 0
    REFUSED  = 1           # unknown command, wrong length, or outside the memory
    BUSY     = 2           # no room for the messages: ask again, under the next number
    ORDER    = 3           # not the expected number; the request was not carried out
    DAMAGED  = 4           # a frame with a wrong CRC, or one too many; the number is 0
    CLOSED   = 5           # no SYNC since reset; the request was not carried out


@dataclass(frozen=True)
class Command:
    """One row of the table.

    ``address`` and ``operand`` say what these fields mean, ``data`` what follows them, and
    ``answer`` what the answer carries if its status is OK. ``repeatable``: a second request under
    a new number gets the same answer and changes nothing more. ``parallel``: may be in flight
    together with other requests.
    """
    code: Code
    address: str
    operand: str
    data: str
    answer: str
    summary: str
    repeatable: bool = True
    parallel: bool = False


COMMANDS = (
    Command(Code.SYNC, "any", "-", "-", "the address, and IDENTITY",
            "Accept this number, whatever number was expected, and name the board."),
    Command(Code.READ_REGISTER, "register", "-", "-", "its 4 bytes",
            "Read a register of `tern_fpga.assembler.contract.registers`.", parallel=True),
    Command(Code.WRITE_REGISTER, "register", "value", "-", "-", "Write a register.",
            repeatable=False),
    Command(Code.READ_MEMORY, "memory word", "words", "-", "the words",
            "Read memory, up to DATA_BYTES.", parallel=True),
    Command(Code.WRITE_MEMORY, "memory word", "words", "the words", "-",
            "Write memory, up to DATA_BYTES.", parallel=True),
    Command(Code.CHECK_MEMORY, "memory word", "words", "-", "CRC-32 of the words, 4 bytes",
            "Compute the checksum of a range of memory words.", parallel=True),
    Command(Code.MESSAGES, "-", "words", "the words, 4 bytes each", "-",
            "Send messages to the scheduler, which takes all of them, or none if BUSY.",
            repeatable=False),
    Command(Code.TOKENS, "-", "-", "-", "words, 4 bytes each, oldest first",
            "Read the words that are queued for the host.", repeatable=False),
)

_BY_CODE = {row.code: row for row in COMMANDS}

if len(_BY_CODE) != len(COMMANDS) or set(_BY_CODE) != set(Code):
    raise ValueError("every code has one row in COMMANDS")


def command(code: Code) -> Command:
    """The row of ``code``."""
    return _BY_CODE[code]


def request(number: int, code: Code, address: int = 0, operand: int = 0,
            data: bytes = b"") -> bytes:
    """Payload of a request."""
    return REQUEST.pack(number, code, address, operand) + data


def encode(payload: bytes) -> bytes:
    """The frame of ``payload`` without a zero in it; delimiters go around it.

    Raises ValueError on a payload that is too long.
    """
    framed = payload + CRC.pack(zlib.crc32(payload))
    if len(framed) > FRAME_BYTES:
        raise ValueError(f"a frame has up to {FRAME_BYTES} bytes, not {len(framed)}")
    # COBS: a byte of its length + 1 precedes each run of nonzero bytes; the zeros are left out.
    return b"".join(bytes([len(run) + 1]) + run for run in framed.split(b"\0"))


def decode(frame: bytes) -> bytes | None:
    """The payload of the bytes between two delimiters, or None if they are damaged."""
    framed, at = bytearray(), 0
    while at < len(frame):
        length = frame[at]
        run = frame[at + 1:at + length]
        if length == 0 or len(run) != length - 1 or 0 in run:
            return None
        framed += run + b"\0"
        at += length
    del framed[-1:]
    payload, crc = bytes(framed[:-CRC.size]), bytes(framed[-CRC.size:])
    if not CRC.size < len(framed) <= FRAME_BYTES or crc != CRC.pack(zlib.crc32(payload)):
        return None
    return payload
