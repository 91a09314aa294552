"""Signatures and layouts that more than one block speaks."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from assembler import formats, isa, registers


__all__ = ["TOKEN_BITS", "BURST_WORDS", "instruction_layout", "operand_layout", "step_layout",
           "position_shape", "MemoryPort", "command_layout", "VectorRead", "VectorWrite",
           "row_layout", "row_address_layout", "codes_layout", "scale_address_layout",
           "beat_layout", "tokens_layout", "logits_layout", "choice_layout", "draw_layout",
           "connect"]


TOKEN_BITS = 24
BURST_WORDS = 64           # longest burst that a block may ask of the memory port, in words

operand_layout = data.StructLayout({    # isa.Operand
    "number": isa.Operand.NUMBER_BITS, "space": 2, "indexed": 1,
})


def instruction_layout(*mnemonics):
    """Layout of the fields of these instructions, over the whole word.

    Instructions of one unit share a view: a field name has one place in the table.
    """
    fields = {}
    for mnemonic in mnemonics:
        for f in (isa.OPCODE, *isa.lookup(mnemonic).fields):
            shape = operand_layout if f.kind == "operand" else f.width
            fields[f.name] = data.Field(shape, f.lo)
    return data.FlexibleLayout(isa.WORD_BITS, fields)


def position_shape(config):
    """Shape of a position or slot number; at least one bit, so that it can be a port."""
    return unsigned(max(1, ceil_log2(config.positions)))


def step_layout(config):
    """What a step is: which positions hold tokens, and how they relate.

    ``live``: mask of the positions that compute. ``sample``: mask of those of them that the
    sampler takes. ``chain``: the positions are consecutive tokens of one prompt, 0 to ``last``,
    whose state is that of ``slot``; otherwise position p is a token of slot p. ``fresh``: the
    state before is zero (chain only). ``tokens``: an id per position.
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
    """A burst: ``words`` (1 to BURST_WORDS) memory words from ``address`` on."""
    return data.StructLayout({
        "write":   1,
        "address": ceil_log2(config.memory_words),
        "words":   ceil_log2(BURST_WORDS + 1),
    })


class MemoryPort(wiring.Signature):
    """Burst port, seen from the block that asks.

    Commands are carried out in order. A write takes its words from ``write``, a read returns
    its words on ``read``; both in order, with any delay and any gaps. The asking block keeps
    ``read.ready`` high: it asks only for what it has room for.
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
    """Reads of the vector memory, seen from the reader; responses come in order.

    A read accepted after a write was accepted returns what was written.
    """
    def __init__(self, config):
        super().__init__({
            "request":  Out(stream.Signature(ceil_log2(config.vector_rows))),
            "response": In(stream.Signature(row_layout(config))),
        })


class VectorWrite(wiring.Signature):
    """Writes to the vector memory, seen from the writer; done when accepted."""
    def __init__(self, config):
        super().__init__({
            "request": Out(stream.Signature(data.StructLayout({
                "row":    ceil_log2(config.vector_rows),
                "data":   row_layout(config),
                "enable": config.vector_lanes,      # mask of the lanes to write
            }))),
        })


def row_address_layout(config, registers):
    """A row address of a memory of ``registers`` registers per position, in its parts."""
    return data.StructLayout({
        "row":      ceil_log2(config.register_rows),
        "position": ceil_log2(config.positions),
        "register": ceil_log2(registers),
    })


def codes_layout(config):
    """A write of a row of code memory: ``vector_lanes`` codes, and a mask of those to write.

    Row addresses are formed as in the vector memory.
    """
    return data.StructLayout({
        "row":    ceil_log2(config.code_rows),
        "codes":  data.ArrayLayout(signed(formats.CODE.width), config.vector_lanes),
        "enable": config.vector_lanes,
    })


def scale_address_layout(config):
    """Where the array's drain reads a scale: scalar register and position."""
    return data.StructLayout({
        "number":   ceil_log2(isa.SCALARS),
        "position": position_shape(config),
    })


def beat_layout(config):
    """A beat of the weight stream: ``lanes / 5`` bytes, low byte first."""
    return data.ArrayLayout(8, config.lanes // formats.TRITS_PER_BYTE)


def tokens_layout(config):
    """What the sampler chose: ``mask`` of the positions, and an id for each of them."""
    return data.StructLayout({
        "mask": config.positions,
        "ids":  data.ArrayLayout(TOKEN_BITS, config.positions),
    })


def logits_layout(config):
    """One logit: ``row`` of the head and ``position`` it belongs to, ``value`` a float word."""
    return data.StructLayout({
        "value":    config.float.width,
        "row":      TOKEN_BITS,
        "position": position_shape(config),
    })


def choice_layout(config):
    """What concerns the choice of a slot's tokens: a setting, or a token of its stream.

    ``kind`` is a :class:`assembler.registers.MessageKind`. PROMPT: the payload is a token of the
    slot's prompt; GENERATE: one that it sampled; otherwise it is a setting's message.
    """
    return data.StructLayout({
        "valid":   1,
        "kind":    32 - registers.KIND_SHIFT,
        "slot":    position_shape(config),
        "payload": registers.PAYLOAD_BITS,
    })


def draw_layout(config):
    """A sum of ``position``, one after the other; ``last`` of its row."""
    return data.StructLayout({
        "valid":    1,
        "value":    signed(formats.ACC.width),
        "position": position_shape(config),
        "last":     1,
    })


def connect(m, source, sink):
    """Connect two interfaces; unlike ``wiring.connect``, refuse payloads that differ in layout."""
    for (path, _, a), (_, _, b) in zip(source.signature.flatten(source),
                                       sink.signature.flatten(sink), strict=True):
        if Shape.cast(a.shape()) != Shape.cast(b.shape()) or a.shape() != b.shape():
            raise TypeError(f"{'.'.join(map(str, path))}: {a.shape()!r} is not {b.shape()!r}")
    wiring.connect(m, source, sink)
