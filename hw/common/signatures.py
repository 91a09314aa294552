"""Signatures and layouts that several blocks share."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import formats, isa, registers


__all__ = ["TOKEN_BITS", "BURST_WORDS", "instruction_layout", "operand_layout", "step_layout",
           "position_shape", "MemoryPort", "command_layout", "VectorRead", "VectorWrite",
           "row_layout", "row_address_layout", "codes_layout", "scale_address_layout",
           "beat_layout", "tokens_layout", "logits_layout", "choice_layout", "draw_layout",
           "connect"]


TOKEN_BITS = 24
BURST_WORDS = 64           # longest burst on the memory port, in words

# The bits of isa.Operand.
operand_layout = data.StructLayout({
    "number": isa.Operand.NUMBER_BITS, "space": 2, "indexed": 1,
})


def instruction_layout(*mnemonics):
    """Fields of these instructions as a layout of the whole instruction word.

    Instructions of one unit share the view, because a field has the same bits in every
    instruction that has it.
    """
    fields = {}
    for mnemonic in mnemonics:
        for f in (isa.OPCODE, *isa.lookup(mnemonic).fields):
            shape = operand_layout if f.kind == "operand" else f.width
            fields[f.name] = data.Field(shape, f.lo)
    return data.FlexibleLayout(isa.WORD_BITS, fields)


def position_shape(config):
    """Shape of a position or slot number: at least one bit, because a port needs one."""
    return unsigned(max(1, ceil_log2(config.positions)))


def step_layout(config):
    """A step: which positions hold tokens, and how they are related.

    ``live``: active mask, the positions that compute. ``sample``: mask of the active positions
    that the sampler takes. ``chain``: this is a prefill step; positions 0 to ``last`` are
    consecutive tokens of one prompt, whose state is that of ``slot``. Otherwise it is a decode
    step, and position p is a token of slot p. ``fresh``: the state before the prompt is zero (in
    a prefill step only). ``tokens``: an id for each position.
    """
    return data.StructLayout({
        "live":   config.positions,
        "sample": config.positions,
        "chain":  1,
        "fresh":  1,
        "slot":   position_shape(config),
        "last":   position_shape(config),
        "tokens": data.ArrayLayout(TOKEN_BITS, config.positions),
    })


def command_layout(config):
    """A burst: ``words`` (1 to BURST_WORDS) memory words from word ``address`` on, read or
    (``write``) written.
    """
    return data.StructLayout({
        "write":   1,
        "address": ceil_log2(config.memory_words),
        "words":   ceil_log2(BURST_WORDS + 1),
    })


class MemoryPort(wiring.Signature):
    """Burst port of the memory, seen from the client.

    Commands are carried out in order. A write takes its words from ``write``, a read returns its
    words on ``read``, both in order, with any latency and any gaps. The client keeps
    ``read.ready`` high: it reads only what it has room for.
    """
    def __init__(self, config):
        super().__init__({
            "command": Out(stream.Signature(command_layout(config))),
            "write":   Out(stream.Signature(config.memory_bits)),
            "read":    In(stream.Signature(config.memory_bits)),
        })


def row_layout(config):
    """A row of vector memory: ``vector_lanes`` float words, lane 0 in the low bits."""
    return data.ArrayLayout(config.float.width, config.vector_lanes)


class VectorRead(wiring.Signature):
    """Read port of the vector memory, seen from the client; responses are in order.

    A read that is accepted after a write was accepted returns the new row.
    """
    def __init__(self, config):
        super().__init__({
            "request":  Out(stream.Signature(ceil_log2(config.vector_rows))),
            "response": In(stream.Signature(row_layout(config))),
        })


class VectorWrite(wiring.Signature):
    """Write port of the vector memory, seen from the client; done when accepted."""
    def __init__(self, config):
        super().__init__({
            "request": Out(stream.Signature(data.StructLayout({
                "row":    ceil_log2(config.vector_rows),
                "data":   row_layout(config),
                "enable": config.vector_lanes,      # mask of the lanes to write
            }))),
        })


def row_address_layout(config, registers):
    """A row address, by its parts, in a memory of ``registers`` registers of all positions."""
    return data.StructLayout({
        "row":      ceil_log2(config.register_rows),
        "position": ceil_log2(config.positions),
        "register": ceil_log2(registers),
    })


def codes_layout(config):
    """A write of a row of code memory: ``vector_lanes`` codes, and a mask of those to write.

    Row addresses are built as in the vector memory.
    """
    return data.StructLayout({
        "row":    ceil_log2(config.code_rows),
        "codes":  data.ArrayLayout(signed(formats.CODE.width), config.vector_lanes),
        "enable": config.vector_lanes,
    })


def scale_address_layout(config):
    """Address of a scalar: register number and position."""
    return data.StructLayout({
        "number":   ceil_log2(isa.SCALARS),
        "position": position_shape(config),
    })


def beat_layout(config):
    """A beat of the weight stream: ``lanes / 5`` bytes, low byte first. Byte k holds columns 5k to
    5k + 4 of the block.
    """
    return data.ArrayLayout(8, config.lanes // formats.TRITS_PER_BYTE)


def tokens_layout(config):
    """The sampled tokens: ``mask`` of the positions, and an id for each of them."""
    return data.StructLayout({
        "mask": config.positions,
        "ids":  data.ArrayLayout(TOKEN_BITS, config.positions),
    })


def logits_layout(config):
    """One logit: ``value``, a float word, of ``row`` of the head, for ``position``."""
    return data.StructLayout({
        "value":    config.float.width,
        "row":      TOKEN_BITS,
        "position": position_shape(config),
    })


def choice_layout(config):
    """A setting of a slot's token choice, or a token of its stream.

    ``kind`` is a :class:`assembler.contract.registers.MessageKind`. PROMPT: the payload is a
    token of the slot's prompt. GENERATE: it is a token that the slot sampled. All others: it is
    the payload of the setting's message.
    """
    return data.StructLayout({
        "valid":   1,
        "kind":    32 - registers.KIND_SHIFT,
        "slot":    position_shape(config),
        "payload": registers.PAYLOAD_BITS,
    })


def draw_layout(config):
    """One sum of ``position``; ``last`` of its row."""
    return data.StructLayout({
        "valid":    1,
        "value":    signed(formats.ACC.width),
        "position": position_shape(config),
        "last":     1,
    })


def connect(m, source, sink):
    """Connect two interfaces. Unlike ``wiring.connect`` this refuses payloads of different layouts
    (TypeError), which may have the same width.
    """
    for (path, _, a), (_, _, b) in zip(source.signature.flatten(source),
                                       sink.signature.flatten(sink), strict=True):
        if Shape.cast(a.shape()) != Shape.cast(b.shape()) or a.shape() != b.shape():
            raise TypeError(f"{'.'.join(map(str, path))}: {a.shape()!r} is not {b.shape()!r}")
    wiring.connect(m, source, sink)
