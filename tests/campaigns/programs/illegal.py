"""Words that are no instruction, or nearly one: refused, trapped or ignored as documented."""

from collections import Counter
import random

from tern_fpga.assembler.asm.text import assemble, disassemble
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.assembler.contract.registers import PROMPT_FRESH, MessageKind, message
from tern_fpga.hw.control.tickets import UNIT_INSTRUCTIONS
from tern_fpga.sim.rtl.machine import RtlMachine
from tests.campaigns.programs.compare import compare
from tests.campaigns.programs.machines import Pace
from tests.campaigns.programs.program import Places, Program
from tests.campaigns.programs.trace import Trace


__all__ = ["KINDS", "run", "check_text"]


_CYCLES = 200_000           # of a few instructions on small vectors


def _random_fields(rng, instr):
    """A word of the instruction with random bits, its counts at least 1."""
    word = rng.getrandbits(isa.OPCODE.lo) | instr.opcode << isa.OPCODE.lo
    for field in instr.fields:
        if field.least and not word >> field.lo & (1 << field.width) - 1:
            word |= field.least << field.lo
    return word


def _unassigned(rng, config):
    opcode = rng.choice([code for code in range(1 << isa.OPCODE.width)
                         if code not in {i.opcode for i in isa.INSTRUCTIONS}])
    return opcode << isa.OPCODE.lo | rng.getrandbits(isa.OPCODE.lo)


def _count_of_nothing(rng, config):
    instr = rng.choice([i for i in UNIT_INSTRUCTIONS if any(f.least for f in i.fields)])
    word = _random_fields(rng, instr)
    field = rng.choice([f for f in instr.fields if f.least])
    return word & ~((1 << field.width) - 1 << field.lo)


def _unused_bits(rng, config):
    """An instruction that is in order, and random bits in no field of it."""
    word = _legal(rng, config)
    instr = isa.lookup(isa.decode(word)[0])
    used = isa.OPCODE.lo
    free = (1 << used) - 1
    for field in instr.fields:
        free &= ~((1 << field.width) - 1 << field.lo)
    return word | rng.getrandbits(used) & free


def _far_target(rng, config):
    mnemonic, extra = rng.choice([("jump", {}), ("bnz", {"r": 1}), ("bns", {})])
    # What the program counter keeps of it is past the program's end.
    target = rng.getrandbits(32) | rng.choice([config.program_words, config.program_words >> 1])
    return isa.encode(mnemonic, target=target, **extra)


def _legal(rng, config):
    """An instruction on the first registers, and on the floats of memory."""
    instr = rng.choice([*(i for i in UNIT_INSTRUCTIONS if i.unit is not isa.Unit.ARRAY),
                        *map(isa.lookup, ("set", "add_r", "halt"))])
    operands = {}
    for field in instr.fields:
        if field.kind == "operand":
            letters = dict(instr.spaces)[field.name].replace("u", "v")
            letter = "v" if "v" in letters else letters[0]
            operands[field.name] = Operand(Space["VUS"["vus".index(letter)]], rng.randrange(2))
        else:
            operands[field.name] = {"n": rng.randint(1, 16), "q": 0,
                                    "address": Places.of(config).data}.get(field.name, 0)
    return isa.encode(instr.mnemonic, **operands)


def _wrong_operand(rng, config):
    """A register that the machine lacks, or a space that the instruction does not take."""
    while True:
        word = _legal(rng, config)
        if rng.random() < 0.1:
            word = isa.encode("matmul", dst=Operand(Space.V, 0), q=0, a=Operand(Space.S, 0),
                              rows=1, blocks=1)
        mnemonic, operands = isa.decode(word)
        fields = [f for f in isa.lookup(mnemonic).fields if f.kind in ("operand", "code", "stat")]
        field = rng.choice(fields) if fields else None
        if field is None:
            continue
        word &= ~((1 << field.width) - 1 << field.lo)
        if field.kind == "stat":
            return word | 3 << field.lo
        if field.kind == "code":
            if config.code_registers < 1 << field.width:
                return word | rng.randrange(config.code_registers, 1 << field.width) << field.lo
            continue
        taken = dict(isa.lookup(mnemonic).spaces)[field.name]
        space = rng.choice(list(Space))
        number = rng.randrange(1 << Operand.NUMBER_BITS)
        limit = {Space.S: isa.SCALARS, Space.NONE: 1 << 20}.get(space, config.registers)
        if "vus_"[space] not in taken or number >= limit:
            return word | Operand(space, number).to_bits() << field.lo


# How each kind is drawn, and what becomes of it: `fault`, `halted` or, where that is not defined,
# None: any end, but an end.
KINDS = {
    "unassigned opcode":  (_unassigned, "fault"),
    "count of 0":         (_count_of_nothing, "fault"),
    "bits of no field":   (_unused_bits, "halted"),
    "target past memory": (_far_target, "halted"),
    "wrong register":     (_wrong_operand, None),
}


def check_text(word, config):
    """Whether the assembler and the disassembler treat the word as documented; None or a fault."""
    text = disassemble([word], config)
    back = assemble(text, config).words
    if back != [word]:
        return f"{word:#034x} comes back from text as {back[0]:#034x}"
    try:
        mnemonic, operands = isa.decode(word)
    except ValueError:
        return None if ".word" in text else f"{word:#034x} is shown as {text!r}"
    try:
        same = isa.encode(mnemonic, **operands) == word
    except ValueError:
        same = False
    if not same and ".word" not in text:
        return f"{word:#034x} is refused, and shown as {text!r}"
    return None


def _program(rng, config, word):
    """A prompt step with instructions of all units on their way, then the word."""
    places = Places.of(config)
    count = rng.randint(1, config.positions)
    send = (message(MessageKind.PROMPT, rng.randrange(config.positions), count | PROMPT_FRESH),
            *[1] * count)
    one = int(config.float.encode(1.5))
    words = [
        isa.encode("next"), isa.encode("set", r=1, imm=1),
        isa.encode("stream", r=0, address=places.weights, words=2 * config.beat_words),
        isa.encode("load", dst=Operand(Space.U, 0), n=16, r=0, address=places.data, pitch=0),
        isa.encode("const", dst=Operand(Space.S, 0), value=one),
        isa.encode("matmul", dst=Operand(Space.V, 2), q=0, a=Operand(Space.S, 0), rows=1,
                   blocks=1),
        *(each for each in (_legal(rng, config) for _ in range(rng.randint(0, 4)))
          if isa.decode(each)[0] != "halt"), word,
    ]
    return Program(config, tuple(words), rng.getrandbits(32), (send,), Pace.draw(rng))


def _ends(program):
    """Runs to some end on the RTL, or a text that says that it did not."""
    pace = program.pace
    rtl = RtlMachine(program.image(), seed=pace.seed, latency=pace.latency, gap=pace.gap,
                     busy=pace.busy)
    try:
        rtl.send(program.send[0])
        rtl.run(idle=_CYCLES, cycles=_CYCLES)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finally:
        rtl.close()
    return None


def run(config, seed, count):
    """Draw ``count`` words; returns how many there were of each kind, and the faults as texts."""
    kinds, faults = Counter(), []
    for number in range(count):
        rng = random.Random(f"{config.digest} {seed} {number}")
        kind, (pick, ending) = list(KINDS.items())[number % len(KINDS)]
        word = pick(rng, config)
        program = _program(rng, config, word)
        kinds[kind] += 1
        found = check_text(word, config)
        if not found and ending is None:
            found = _ends(program)
        elif not found:
            trace = Trace(program).run()
            found = (f"the golden machine's end is {trace.status}" if trace.status != [ending]
                     else compare(program, trace).difference)
        if found:
            faults.append(f"word {number}, {kind}, {word:#034x}: {found}")
    return kinds, faults
