"""From a program that fails to the few lines of it that do."""

from dataclasses import replace

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.registers import MessageKind
from tests.campaigns.programs.machines import Pace
from tests.campaigns.programs.trace import Trace, Undefined


__all__ = ["shrink"]


def shrink(program, fails, *, most=2000):
    """A short program for which ``fails(program, trace)`` still is true.

    Leaves out instructions and messages, then makes what remains simpler, until no single step
    is possible any more or ``most`` programs were tried. What is undefined does not count, so the
    program that is left is a legal one.
    """
    left = [most]
    length = Trace(program).run().executed

    def still(candidate):
        if candidate == program or not left[0]:
            return False
        left[0] -= 1
        try:
            trace = Trace(candidate, most=2 * length + 100).run()
        except Undefined:
            return False
        return fails(candidate, trace)

    before = None
    while before != program and left[0]:
        before = program
        for step in (_fewer_messages, _fewer_instructions, _calmer, _simpler):
            program = step(program, still)
    return program


def _fewer_instructions(program, still):
    size = max(1, len(program.words) // 2)
    while True:
        first = len(program.words) - size
        while first > -size:
            candidate = program.without(max(0, first), size + min(0, first))
            if still(candidate):
                program = candidate
            first -= size
        if size == 1:
            return program
        size = max(1, size // 2)


def _messages(words):
    """Message words as whole messages."""
    out = []
    words = list(words)
    while words:
        count = 1 + (words[0] & 0xf) * (words[0] >> 28 == MessageKind.PROMPT)
        out.append(tuple(words[:count]))
        del words[:count]
    return out


def _fewer_messages(program, still):
    for k in reversed(range(len(program.send))):
        candidate = replace(program, send=program.send[:k] + program.send[k + 1:])
        if still(candidate):
            program = candidate
    for k in reversed(range(len(program.send))):
        messages = _messages(program.send[k])
        n = len(messages)
        while (n := n - 1) >= 0:
            fewer = messages[:n] + messages[n + 1:]
            candidate = _sent(program, k, fewer)
            if still(candidate):
                program, messages = candidate, fewer
                continue
            for simpler in _simpler_messages(messages[n]):
                candidate = _sent(program, k, messages[:n] + [simpler] + messages[n + 1:])
                if still(candidate):
                    program, messages = candidate, _messages(candidate.send[k])
                    break
    return program


def _sent(program, k, messages):
    words = tuple(word for each in messages for word in each)
    return replace(program, send=program.send[:k] + (words,) + program.send[k + 1:])


def _simpler_messages(words):
    """Fewer tokens to generate; a shorter prompt."""
    header = words[0]
    if header >> 28 == MessageKind.GENERATE:
        for count in range(min(3, header & 0xffffff)):
            yield (header & 0xff000000 | count,)
    if len(words) > 2:
        yield (header - len(words) + 2, words[1])


def _calmer(program, still):
    for pace in (Pace(), replace(program.pace, gap=0, busy=0), replace(program.pace, gap=0),
                 replace(program.pace, busy=0), replace(program.pace, latency=2)):
        candidate = replace(program, pace=pace)
        if still(candidate):
            program = candidate
    return program


# Values that say less, by the name of a field.
_PLAIN = {"n": (1, 2, 4, 8), "rows": (1, 2, 4), "blocks": (1,), "stat": (0,), "pitch": (0,),
          "imm": (0, 1, 2)}


def _simpler(program, still):
    for number in range(len(program.words)):
        try:
            mnemonic, operands = isa.decode(program.words[number])
        except ValueError:
            continue
        for name, values in _PLAIN.items():
            for value in values:
                if value >= operands.get(name, 0):
                    continue
                changed = {**operands, name: value}
                if name == "stat":
                    changed["stat_to"] = 0
                words = list(program.words)
                words[number] = isa.encode(mnemonic, **changed)
                candidate = replace(program, words=tuple(words))
                if still(candidate):
                    program, operands = candidate, changed
                    break
        for name, value in operands.items():
            if isinstance(value, isa.Operand) and value.indexed:
                changed = {**operands, name: replace(value, indexed=False)}
                words = list(program.words)
                words[number] = isa.encode(mnemonic, **changed)
                candidate = replace(program, words=tuple(words))
                if still(candidate):
                    program, operands = candidate, changed
    return program
