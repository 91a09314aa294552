"""cocotb benches of the sequencer, its scoreboard and its queues; see test_sequencer.py."""

from collections import deque
from dataclasses import dataclass, field
import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space, Unit
from tern_fpga.hw.common.signatures import command_layout, step_layout
from tern_fpga.hw.memory.weights import WeightStream
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


GIVEN  = parameters()
CONFIG = Config(**GIVEN["config"])
QUEUES = ("memory", "vector", "array", "drain")
LIMIT  = 40_000            # cycles without an end: a deadlock


@dataclass
class Issued:
    """An instruction as a queue should hand it out, and when it started and ended there."""
    queue: str
    word: int
    reads: set
    writes: set
    step: int               # of the step it belongs to
    start: int = None
    end: int = None


@dataclass
class Run:
    """What a program does: an independent reading of the instruction table's words."""
    issued: list = field(default_factory=list)
    descriptors: list = field(default_factory=list)
    counters: list = field(default_factory=list)    # pc of every instruction executed
    fault: bool = False


def registers_of(operand, n):
    if operand.space == Space.S:
        return {("s", operand.number)}
    if operand.space == Space.NONE:
        return set()
    size = CONFIG.register_elements * (CONFIG.positions if operand.space == Space.U else 1)
    return {("v", operand.number + k) for k in range(-(-n // size))}


def touched(instr, f, n):
    """Registers of each operand, by name."""
    registers = {}
    for name in {*instr.reads, *instr.writes}:
        value = f[name]
        if name == "q":
            count = f["blocks"] * CONFIG.lanes if "blocks" in f else n
            registers[name] = {("q", value + k)
                               for k in range(-(-count // CONFIG.register_elements))}
        elif name == "stat_to":
            registers[name] = {("s", value)} if f["stat"] else set()
        else:
            registers[name] = registers_of(value, n)
    return registers


def execute(program, samples):
    """Run a program whose k-th step has the sample mask ``samples[k]``."""
    run, r, pc, step = Run(), [0] * 8, 0, -1
    while True:
        run.counters.append(pc)
        try:
            mnemonic, f = isa.decode(program[pc] if pc < len(program) else 0)
        except ValueError:
            run.fault = True
            return run
        instr, pc = isa.lookup(mnemonic), pc + 1
        if "address" in f:
            f["address"] = (f["address"] + r[f["r"]]) % 2 ** 32
        match mnemonic:
            case "halt":
                return run
            case "next":
                step += 1
            case "set" | "add_r":
                old = r[f["r"]] if mnemonic == "add_r" else 0
                r[f["r"]] = (old + f["imm"]) % 2 ** 32 if f["r"] else 0
            case "jump":
                pc = f["target"]
            case "bnz":
                pc = f["target"] if r[f["r"]] else pc
            case "bns":
                pc = pc if samples[step] else f["target"]
            case "stream":
                if f["words"]:
                    run.descriptors.append((f["address"] % CONFIG.memory_words, f["words"]))
            case _:
                for name, value in f.items():
                    if isinstance(value, Operand) and value.indexed:
                        f[name] = Operand(value.space, (value.number + r[7]) % 1024)
                registers = touched(instr, f, f.get("n", f.get("rows", 1)))
                parts = [(instr.unit.value, {*registers})]
                if instr.unit is Unit.ARRAY:
                    parts = [("array", {"q"})] * (mnemonic == "matmul") + [("drain", {"dst", "a"})]
                for queue, names in parts:
                    run.issued.append(Issued(
                        queue, isa.encode(mnemonic, **f), step=step,
                        reads=set().union(*(registers.get(k, ()) for k in names & {*instr.reads})),
                        writes=set().union(*(registers.get(k, ())
                                             for k in names & {*instr.writes}))))


def random_operand(rng, spaces, n, indexed):
    space = Space("vus_".index(rng.choice(spaces)))
    count = len(registers_of(Operand(space), n)) if space in (Space.V, Space.U) else 1
    size = isa.SCALARS if space == Space.S else CONFIG.registers
    # Half of them crowd in a few registers.
    room = size - count + 1 - indexed * 4
    number = rng.randrange(min(room, 6) if rng.random() < 0.5 else room)
    return Operand(space, number if space != Space.NONE else 0, indexed)


def random_instruction(rng, units):
    """A word for one of ``units``. Operands that are indexed leave room for r7 up to 4."""
    unit = rng.choice(units)
    instr = rng.choice([i for i in isa.INSTRUCTIONS if i.unit is unit])
    n = rng.choice([1, 15, 16, 17, 40])
    operands = {}
    for f in instr.fields:
        indexed = rng.random() < 0.3
        operands[f.name] = {
            "operand": lambda: random_operand(rng, dict(instr.spaces)[f.name], n, indexed),
            "code":    lambda: rng.randrange(CONFIG.code_registers - 3),
            "scalar":  lambda: rng.randrange(isa.SCALARS),
            "stat":    lambda: rng.randrange(3),
            "address": lambda: rng.randrange(1, 7),
            "int":     lambda: rng.randrange(1 << min(f.width, 30)),
            "float":   lambda: rng.randrange(1 << 18),
        }[f.kind]()
        if f.name in ("n", "rows"):
            operands[f.name] = n
        if f.name == "blocks":
            operands[f.name] = -(-n // CONFIG.lanes)
    return isa.encode(instr.mnemonic, **operands)


def random_program(rng, units, size, end):
    """Loops over random instructions; ends with ``end``, a word or None to run off the end."""
    program = [isa.encode("set", r=k, imm=rng.randrange(1 << 32)) for k in range(6)]
    program += [isa.encode("set", r=7, imm=1), isa.encode("next")]

    def some(count):
        for _ in range(count):
            kind = rng.random()
            if kind < 0.05:
                program.append(isa.encode("set", r=7, imm=rng.randrange(5)))
            elif kind < 0.1:
                program.append(isa.encode("add_r", r=rng.randrange(6), imm=rng.randrange(1 << 32)))
            elif kind < 0.15:
                program.append(isa.encode("stream", r=rng.randrange(6), words=rng.randrange(3),
                                          address=rng.randrange(1 << 32)))
            elif kind < 0.17:
                program.append(isa.encode(rng.choice(["jump", "bns"]), target=len(program) + 2))
            elif kind < 0.18:
                program.append(isa.encode("next"))
            program.append(random_instruction(rng, units))

    some(size)
    for _ in range(3):
        program.append(isa.encode("set", r=6, imm=-rng.randint(2, 4) % 2 ** 32))
        top = len(program)
        some(size)
        program.append(isa.encode("add_r", r=6, imm=1))
        program.append(isa.encode("bnz", r=6, target=top))
    return program + [end] * (end is not None)


class Bench:
    """The sequencer's surroundings, one object stepped every cycle: memory, three units, the
    scheduler and the weight stream."""
    def __init__(self, dut, rng, *, delays, duty):
        self.dut, self.rng, self.delays, self.duty = dut, rng, delays, duty
        self.cycle = 0
        self.memory, self.commands, self.words = {}, 0, deque()
        self.started = {queue: [] for queue in QUEUES}      # (word, step, cycle)
        self.ended   = {queue: [] for queue in QUEUES}      # cycle
        self.due     = {queue: deque() for queue in QUEUES}
        self.due_limit = dict.fromkeys(QUEUES, 3)           # instructions that a unit overlaps
        self.descriptors, self.steps = [], deque()

    def port(self, name):
        return streams.ports(self.dut, name)

    def place(self, program, address):
        parts = isa.WORD_BITS // CONFIG.memory_bits
        for k, word in enumerate(program):
            for part in range(parts):
                self.memory[address + k * parts + part] = (
                    word >> part * CONFIG.memory_bits & (1 << CONFIG.memory_bits) - 1)

    def may_end(self, queue):
        """Sums wait for room until results drain, results wait for their sums."""
        if queue == "array":
            return len(self.ended["array"]) - self.drained() < 2
        return True

    def drained(self):
        matmul = isa.lookup("matmul").opcode
        return sum(word >> isa.OPCODE.lo == matmul
                   for word, _, _ in self.started["drain"][:len(self.ended["drain"])])

    async def tick(self):
        """One cycle: drive, look, and account for what the rising edge will do."""
        dut, rng = self.dut, self.rng
        willing = lambda: rng.random() < self.duty
        for queue in QUEUES:
            self.port(queue)[2].value = willing() and len(self.due[queue]) < self.due_limit[queue]
        self.port("weights")[2].value = willing()
        payload, valid, _ = self.port("steps")
        if not int(valid.value) and self.steps and willing():
            payload.value, valid.value = self.steps[0], 1
        self.port("port__command")[2].value = willing()
        payload, valid, _ = self.port("port__read")
        valid.value = bool(self.words) and willing()
        payload.value = self.words[0] if self.words else 0
        ends = 0
        for number, queue in enumerate(QUEUES):
            if self.due[queue] and self.due[queue][0] <= self.cycle and self.may_end(queue):
                ends |= 1 << number
                self.due[queue].popleft()
                self.ended[queue].append(self.cycle)
        dut.done.value = ends

        await ReadOnly()
        for queue in QUEUES:
            payload, valid, ready = self.port(queue)
            if int(valid.value) and int(ready.value):
                self.started[queue].append((int(payload.value), int(dut.step.value), self.cycle))
                low, high = self.delays[queue]
                self.due[queue].append(self.cycle + rng.randint(low, high))
        payload, valid, ready = self.port("weights")
        if int(valid.value) and int(ready.value):
            taken = WeightStream.descriptor(CONFIG).from_bits(int(payload.value))
            self.descriptors.append((taken.address, taken.words))
        if int(self.port("port__read")[1].value):
            self.words.popleft()
        payload, valid, ready = self.port("port__command")
        if int(valid.value) and int(ready.value):
            command = command_layout(CONFIG).from_bits(int(payload.value))
            assert not command.write and 1 <= command.words <= 64
            self.words.extend(self.memory[command.address + k] for k in range(command.words))
        took = int(self.port("steps")[1].value) and int(self.port("steps")[2].value)
        await FallingEdge(dut.clk)
        if took:
            self.steps.popleft()
            self.port("steps")[1].value = 0
        self.cycle += 1

    async def run(self, program, samples, *, address=0):
        """START to stop; with single steps if the core is in that mode."""
        self.place(program, address)
        # Different tokens make the steps tell apart.
        layout = step_layout(CONFIG)
        steps = [layout.const({"live": 1, "sample": sample, "last": k & 1,
                               "tokens": [k] * CONFIG.positions}).as_value().value
                 for k, sample in enumerate(samples)]
        self.steps = deque(steps)
        self.port("steps")[1].value = 0
        self.dut.program_address.value = address
        self.dut.program_length.value = len(program)
        self.dut.start.value = 1
        await self.tick()
        self.dut.start.value = 0
        counters, since = [], self.cycle
        while int(self.dut.running.value):
            if int(self.dut.stepped.value):
                counters.append(int(self.dut.pc.value))
                assert all(len(self.started[q]) == len(self.ended[q]) for q in QUEUES)
                for _ in range(self.rng.choice([0, 3])):
                    await self.tick()
                    assert int(self.dut.stepped.value)
                self.dut.resume.value = 1
            await self.tick()
            self.dut.resume.value = 0
            assert self.cycle < since + LIMIT, f"deadlock at {int(self.dut.pc.value)}"
        return steps, counters

    def check(self, expected, steps):
        """All in order, in the right step, and no start before the end of an older conflict."""
        for queue in QUEUES:
            due = [i for i in expected.issued if i.queue == queue]
            assert [(i.word, steps[i.step]) for i in due] == [
                (word, step) for word, step, _ in self.started[queue]], queue
            assert len(self.ended[queue]) == len(due)
            for instr, (_, _, start), end in zip(due, self.started[queue], self.ended[queue]):
                instr.start, instr.end = start, end
        writer, users, early = {}, {}, 0
        horizon = {queue: 0 for queue in QUEUES}
        for instr in expected.issued:
            for register in instr.reads | instr.writes:
                for other in QUEUES:
                    older = [writer.get((register, other))]
                    if register in instr.writes:
                        older += users.get((register, other), [])[-1:]
                    for conflict in older:
                        if other != instr.queue and conflict is not None:
                            assert instr.start > conflict.end, (instr, conflict)
            early += any(end > instr.start for queue, end in horizon.items()
                         if queue != instr.queue)
            horizon[instr.queue] = instr.end
            for register in instr.reads | instr.writes:
                users.setdefault((register, instr.queue), []).append(instr)
            for register in instr.writes:
                writer[register, instr.queue] = instr
        assert self.descriptors == expected.descriptors
        return early


async def prepare(dut):
    for name in ("weights", *QUEUES, "port__command"):
        streams.ports(dut, name)[2].value = 0
    for name in ("steps", "port__read"):
        for port in streams.ports(dut, name)[:2]:
            port.value = 0
    for name in ("start", "resume", "single_step", "done", "program_address", "program_length"):
        getattr(dut, name).value = 0
    await streams.start(dut)
    assert not int(dut.running.value)
    for name in ("weights", *QUEUES, "port__command"):
        cocotb.start_soon(streams.watch(dut, name))


# Words of which one count is 0 and all else is right.
COUNTLESS = [isa.encode(i.mnemonic, **{g.name: g.least for g in i.fields}) - (1 << f.lo)
             for i in isa.INSTRUCTIONS for f in i.fields if f.least]

# Cycles that each unit takes, and which units the program uses most.
EVERY = (Unit.MEMORY, Unit.VECTOR, Unit.ARRAY)
TRAFFIC = {
    "even":          ({"memory": (1, 30), "vector": (1, 30), "array": (1, 30), "drain": (1, 60)},
                      EVERY, 25),
    "fast":          ({queue: (1, 1) for queue in QUEUES}, EVERY, 25),
    "slow vector":   ({"memory": (1, 2), "vector": (1, 600), "array": (1, 2), "drain": (1, 9)},
                      (Unit.MEMORY,) * 20 + (Unit.VECTOR, Unit.ARRAY), 60),
    "slow drain":    ({"memory": (1, 5), "vector": (1, 5), "array": (1, 20), "drain": (50, 400)},
                      EVERY, 25),
}


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def units_start_after_what_they_depend_on(dut):
    await prepare(dut)
    overlapped = 0
    for seed in GIVEN["seeds"]:
        for name, (delays, units, size) in TRAFFIC.items():
            rng = random.Random(f"{seed} {name}")
            end = rng.choice([isa.encode("halt"), 0x3f << isa.OPCODE.lo, None, *COUNTLESS])
            program = random_program(rng, units, size, end)
            samples = [rng.randrange(1 << CONFIG.positions) for _ in range(40)]
            expected = execute(program, samples)
            bench = Bench(dut, rng, delays=delays, duty=rng.choice([1.0, 0.6]))
            dut.single_step.value = single = name == "fast" and seed % 2
            steps, counters = await bench.run(program, samples,
                                              address=rng.randrange(CONFIG.memory_words // 2))
            overlapped += bench.check(expected, steps)
            assert int(dut.fault.value) == expected.fault
            assert int(dut.pc.value) == expected.counters[-1]
            if single:
                assert counters == expected.counters
    assert overlapped > 20 * len(GIVEN["seeds"])


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def counts_of_nothing_are_faults(dut):
    """Also in single steps, and after an instruction that the units still work on."""
    await prepare(dut)
    busy = isa.encode("const", dst=Operand(Space.S, 1), value=0)
    for number, word in enumerate(COUNTLESS):
        program = [isa.encode("next"), busy, word, busy]
        bench = Bench(dut, random.Random(number), duty=1.0,
                      delays={queue: (90, 90) for queue in QUEUES})
        dut.single_step.value = number % 2
        expected = execute(program, [1])
        steps, _ = await bench.run(program, [1])
        bench.check(expected, steps)
        assert int(dut.fault.value) and int(dut.pc.value) == 2


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def old_ticket_is_not_mistaken_for_a_later_one(dut):
    """An instruction waits in its queue while 250 memory instructions complete: its ticket of
    one of them must not come round again, or it would wait for what comes after it."""
    await prepare(dut)
    s = lambda number: Operand(Space.S, number)
    v = lambda number: Operand(Space.V, number)
    load = isa.encode("load", dst=v(1), n=1, r=0, address=0, pitch=0)
    # Registers never used look like users of ticket 0: let that be another instruction's.
    program = [isa.encode("next"), isa.encode("const", dst=s(9), value=0), isa.encode("next"),
               isa.encode("load", dst=v(0), n=1, r=0, address=0, pitch=0),
               isa.encode("const", dst=s(0), value=1),
               *[isa.encode("add", dst=s(1), a=v(0), b=s(0), n=1)] * 2, *[load] * 250,
               isa.encode("halt")]
    bench = Bench(dut, random.Random(1), duty=1.0,
                  delays={**{queue: (1, 1) for queue in QUEUES}, "vector": (4000, 4000)})
    bench.due_limit["vector"] = 1       # so the second `add` waits behind the first
    expected = execute(program, [1, 1])
    steps, _ = await bench.run(program, [1, 1])
    bench.check(expected, steps)
    assert bench.ended["memory"][-1] > bench.ended["vector"][1]     # the dispatcher held back


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def dispatch_takes_k_plus_9_cycles(dut):
    await prepare(dut)
    count = 40
    v = lambda number: Operand(Space.V, number)
    for each in (1, 4):
        n = each * CONFIG.register_elements
        program = [isa.encode("next")] + [
            isa.encode("fma", dst=v(0), a=v(each), b=v(2 * each), c=v(0), n=n)] * count
        program.append(isa.encode("halt"))
        bench = Bench(dut, random.Random(1), duty=1.0, delays={queue: (1, 1) for queue in QUEUES})
        await bench.run(program, [1])
        starts = [start for _, _, start in bench.started["vector"]]
        assert len(starts) == count
        assert (starts[-1] - starts[0]) / (count - 1) <= 4 * each + 9
