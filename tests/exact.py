"""What an instruction should do, in exact fractions that share no code with the golden machine."""

from fractions import Fraction

import numpy as np
import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.assembler.contract.registers import PROMPT_FRESH, PROMPT_SAMPLE, MessageKind, message
from tern_fpga.sim.golden.machine import Machine


CONFIGS = {
    "narrow": Config(memory_bytes=1 << 16, lanes=10, positions=4, vector_lanes=1,
                     significand=9, exponent=5, registers=32, register_elements=16,
                     code_registers=8, accumulator_rows=16),
    "wide":   Config(memory_bits=32, memory_bytes=1 << 16, lanes=40, positions=2,
                     vector_lanes=4, significand=24, exponent=8, registers=32,
                     register_elements=16, code_registers=16, accumulator_rows=16),
    "usual":  Config(memory_bytes=1 << 16, lanes=20, positions=8, vector_lanes=4,
                     registers=32, register_elements=32, code_registers=8, accumulator_rows=32),
}
over_configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)

NONE = Operand(Space.NONE)


def v(number, indexed=False):
    return Operand(Space.V, number, indexed)


def u(number):
    return Operand(Space.U, number)


def s(number):
    return Operand(Space.S, number)


def rounded(fmt, x):
    """``x`` (Fraction) in the format, by the definition: nearest even, flush, saturate."""
    if x == 0:
        return Fraction(0)
    exponent = 0
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - fmt.significand + 1)
    y = round(x / unit) * unit                      # Fraction rounds half to even
    if abs(y) < Fraction(fmt.tiny):
        return Fraction(0)
    return max(min(y, Fraction(fmt.max)), -Fraction(fmt.max))


def prompt_machine(config, program, count=None, slot=0, flags=PROMPT_FRESH):
    """A machine in a prompt step of ``count`` tokens."""
    count = count or config.positions
    machine = Machine.bare(config, [isa.encode("next"), *program])
    machine.send([message(MessageKind.PROMPT, slot, count | flags), *range(count)])
    assert machine.step() == "running"
    return machine


def stream_machine(config, program, slots):
    """A machine in a stream step of ``slots``."""
    emit = [isa.encode("next"), isa.encode("emit")]
    machine = Machine.bare(config, emit * len(slots) + emit[:1] + list(program))
    for slot in slots:
        machine.send([message(MessageKind.GENERATE, slot, 9),
                      message(MessageKind.PROMPT, slot, 1 | PROMPT_SAMPLE), slot])
    for _ in range(2 * len(slots) + 1):
        assert machine.step() == "running"
    assert machine.step_now.live == sum(1 << slot for slot in slots)
    return machine


def fill(machine, seed):
    """Random register contents, over the whole range of exponents and around 1."""
    rng = np.random.default_rng(seed)
    fmt = machine.config.float
    for target, near in ((machine.v, 0.8), (machine.s, 0.8)):
        words = rng.integers(0, 1 << fmt.width, target.shape)
        usual = fmt.round(rng.normal(size=target.shape) * 4)
        target[:] = np.where(rng.random(target.shape) < near, usual, fmt.decode(words))
    machine.q[:] = rng.integers(-128, 128, machine.q.shape)


def elements(machine, operand, n, p):
    """Operand as Fractions for position p, by the words of the architecture page."""
    config, out = machine.config, []
    for e in range(n):
        if operand.space == Space.S:
            value = machine.s[operand.number, p]
        elif operand.space == Space.V:
            register, e = divmod(e, config.register_elements)
            value = machine.v[operand.number + register, p, e]
        else:
            row, lane = divmod(e, config.vector_lanes)
            row += operand.number * config.positions * config.register_rows
            register, row = divmod(row, config.positions * config.register_rows)
            position, row = divmod(row, config.register_rows)
            value = machine.v[register, position, row * config.vector_lanes + lane]
        out.append(Fraction(float(value)))
    return out


def changes_only(machine, before, register, positions, n):
    """Whether the elements outside of the written vector are as before."""
    mask = np.ones(machine.v.shape, bool)
    for p in positions:
        for e in range(n):
            k, i = divmod(e, machine.config.register_elements)
            mask[register + k, p, i] = False
    return (machine.v == before)[mask].all()
