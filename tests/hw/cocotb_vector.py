"""cocotb bench of VectorUnit against the golden machine, instruction by instruction."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly
import numpy as np

from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space, Stat
from tern_fpga.hw.common.signatures import (
    VectorWrite,
    codes_layout,
    scale_address_layout,
    step_layout,
)
from tern_fpga.hw.vector.vector import VectorUnit
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.scheduler import Step
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


V, U, S, NONE = Space
READERS = "abc"


class Memories:
    """Vector and code memory with latency and gaps; what the unit's ports connect to."""
    def __init__(self, dut, config, seed):
        self.dut = dut
        self.config = config
        self.draw = random.Random(seed)
        self.duty, self.latency = 1.0, 1
        self.closed_until = 0       # cycle from which on results are taken
        self.v = np.zeros((config.vector_rows, config.vector_lanes), np.int64)
        self.q = np.zeros((config.code_rows, config.vector_lanes), np.int64)
        self.saturated = False
        self.done = 0
        self.cycle = 0
        for port in READERS:
            getattr(dut, f"{port}__request__ready").value = 0
            getattr(dut, f"{port}__response__valid").value = 0
            getattr(dut, f"{port}__response__payload").value = 0
        dut.result__request__ready.value = 0
        dut.codes__ready.value = 1

    def handle(self, *path):
        return getattr(self.dut, "__".join(path))

    async def run(self):
        dut, width = self.dut, self.config.float.width
        write = VectorWrite(self.config).members["request"].signature.members["payload"].shape
        codes = codes_layout(self.config)
        request  = {p: streams.ports(dut, f"{p}__request") for p in READERS}
        response = {p: streams.ports(dut, f"{p}__response") for p in READERS}
        result, code = streams.ports(dut, "result__request"), streams.ports(dut, "codes")
        waiting = {p: [] for p in READERS}      # (cycle when it may be offered, row)
        while True:
            for port in READERS:
                _, valid, ready = response[port]
                request[port][2].value = len(waiting[port]) < 4 and self.chance()
                if not int(valid.value) and waiting[port] and self.chance():
                    due, row = waiting[port][0]
                    if due <= self.cycle:
                        response[port][0].value = row
                        valid.value = 1
            result[2].value = self.chance() and self.cycle >= self.closed_until
            await ReadOnly()
            self.cycle += 1
            taken = {}
            for port in READERS:
                payload, valid, ready = request[port]
                if int(valid.value) and int(ready.value):
                    words = self.v[int(payload.value)]
                    row = sum(int(w) << width * k for k, w in enumerate(words))
                    late = self.draw.randrange(self.latency)
                    waiting[port].append((self.cycle + late, row))
                _, valid, ready = response[port]
                taken[port] = int(valid.value) and int(ready.value)
            # A read accepted together with a write may return what was there before.
            if int(result[1].value) and int(result[2].value):
                at = write.from_bits(int(result[0].value))
                self.store(self.v, at["row"], at["data"], at["enable"])
            if int(code[1].value):
                at = codes.from_bits(int(code[0].value))
                self.store(self.q, at["row"], at["codes"], at["enable"])
            self.saturated |= bool(int(dut.saturated.value))
            self.done += int(dut.done.value)
            await FallingEdge(dut.clk)
            for port in READERS:
                if taken[port]:
                    waiting[port].pop(0)
                    response[port][1].value = 0
                    if self.duty == 1 and waiting[port] and waiting[port][0][0] <= self.cycle:
                        response[port][0].value = waiting[port][0][1]
                        response[port][1].value = 1

    def chance(self):
        return self.draw.random() < self.duty

    @staticmethod
    def store(memory, row, values, enable):
        for lane in range(memory.shape[1]):
            if enable >> lane & 1:
                memory[row, lane] = values[lane]


def draw_values(rng, fmt, shape):
    """Values around 1, of any magnitude, whole and half numbers, zeros, the extremes."""
    kind = rng.choice(6, shape, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])
    with np.errstate(over="ignore", under="ignore"):
        return fmt.round(np.choose(kind, [
            rng.normal(0, 2, shape),
            rng.normal(0, 1, shape) * 2.0 ** rng.integers(-fmt.bias, fmt.bias, shape),
            rng.integers(-300, 300, shape) / 2,
            np.zeros(shape),
            rng.normal(0, 30, shape),
            rng.choice([-fmt.max, fmt.max, fmt.tiny, -fmt.tiny], shape),
        ]))


class Program:
    """Random legal instructions whose destination overlaps no source that differs from it."""
    def __init__(self, config, rng):
        self.config = config
        self.rng = rng

    def registers(self, operand, n):
        size = self.config.register_elements
        if operand.space == U:
            size *= self.config.positions
        return set(range(operand.number, operand.number - (-n // size)))

    def operand(self, spaces, n):
        space = Space(self.rng.choice([{"v": V, "u": U, "s": S, "_": NONE}[x] for x in spaces]))
        most = {S: isa.SCALARS, NONE: 1}.get(
            space, self.config.registers - -(-n // self.config.register_elements) + 1)
        return Operand(space, int(self.rng.integers(most)))

    def draw(self, mnemonic):
        rng, config = self.rng, self.config
        instruction = isa.lookup(mnemonic)
        while True:
            n = int(rng.choice([1, rng.integers(1, 5 * config.register_elements // 2),
                                config.vector_lanes * rng.integers(1, 6)]))
            spaces = dict(instruction.spaces)
            if "dst" in spaces and n > 1:
                spaces["dst"] = spaces["dst"].replace("s", "") or "s"
            given = {}
            for field in instruction.fields:
                if field.kind == "operand":
                    given[field.name] = self.operand(spaces[field.name], n)
                elif field.name == "n":
                    given["n"] = n
                elif field.name == "q":
                    most = config.code_registers - -(-n // config.register_elements) + 1
                    given["q"] = int(rng.integers(most))
                elif field.name == "stat":
                    given["stat"] = int(rng.choice(list(Stat)))
                elif field.name == "stat_to":
                    given["stat_to"] = int(rng.integers(isa.SCALARS))
                elif field.name == "value":
                    given["value"] = int(config.float.encode(draw_values(rng, config.float, ())))
            dst = given.get("dst")
            clear = dst is None or dst.space != V or all(
                source == dst or source.space not in (V, U)
                or not self.registers(source, n) & self.registers(dst, n)
                for name, source in given.items()
                if name in READERS and isinstance(source, Operand))
            if clear:
                return isa.encode(mnemonic, **given)


def draw_step(rng, config):
    positions = config.positions
    if rng.random() < 0.5:
        last = int(rng.integers(positions))
        return Step((2 << last) - 1, 1 << last, True, bool(rng.integers(2)),
                    int(rng.integers(positions)), last, (0,) * positions)
    live = int(rng.integers(1 << positions))
    return Step(live, live, False, False, 0, 0, (0,) * positions)


class Bench:
    def __init__(self, dut, seed):
        given = parameters()
        self.config = Config(**given["config"])
        self.rng = np.random.default_rng(seed)
        self.dut = dut
        self.memories = Memories(dut, self.config, seed)
        self.machine = Machine.bare(self.config, [0])
        self.cycles = 0

    async def start(self):
        dut = self.dut
        dut.i__payload.value = dut.i__valid.value = dut.step.value = dut.scale_address.value = 0
        await streams.start(dut)
        cocotb.start_soon(self.memories.run())
        for name in ("a__request", "b__request", "c__request", "result__request"):
            cocotb.start_soon(streams.watch(dut, name))
        for number in range(isa.SCALARS):       # no reset clears them
            await self.execute(isa.encode("const", dst=Operand(S, number), value=0))

    def fill(self):
        fmt = self.config.float
        self.machine.v[:] = draw_values(self.rng, fmt, self.machine.v.shape)
        self.memories.v[:] = fmt.encode(self.machine.v).reshape(self.memories.v.shape)

    def set_step(self, step):
        self.machine.step_now = step
        self.dut.step.value = step_layout(self.config).const({
            name: list(value) if name == "tokens" else int(value)
            for name, value in vars(step).items()}).as_value().value

    async def execute(self, word):
        """Run one instruction on both and compare all they can have changed but scalars."""
        machine, memories = self.machine, self.memories
        machine.program, machine.pc, machine.alu.saturated = [word], 0, False
        machine.step()
        memories.saturated, done, begin = False, memories.done, memories.cycle
        await streams.put(self.dut, "i", [word])
        while memories.done == done:
            await FallingEdge(self.dut.clk)
            assert memories.cycle < begin + 20000, isa.decode(word)
        self.cycles = memories.cycle - begin
        context = isa.decode(word), machine.step_now
        expected = self.config.float.encode(machine.v).reshape(memories.v.shape)
        wrong = np.argwhere(expected != memories.v)
        assert not wrong.size, (context, [(r, hex(expected[*r]), hex(memories.v[*r]))
                                          for r in wrong.tolist()[:4]])
        assert np.array_equal(machine.q.reshape(memories.q.shape), memories.q), context
        assert machine.alu.saturated == memories.saturated, context
        assert memories.done == done + 1, context

    async def scalars(self):
        """Read all scalars through the drain's port and compare."""
        layout, got = scale_address_layout(self.config), []
        for number in range(isa.SCALARS):
            for position in range(self.config.positions):
                self.dut.scale_address.value = layout.const(
                    {"number": number, "position": position}).as_value().value
                await FallingEdge(self.dut.clk)
                await FallingEdge(self.dut.clk)
                got.append(int(self.dut.scale.value))
        got = np.array(got).reshape(self.machine.s.shape)
        expected = self.config.float.encode(self.machine.s)
        assert np.array_equal(got, expected), (
            [(hex(expected[*r]), hex(got[*r]), r) for r in np.argwhere(got != expected).tolist()])


MNEMONICS = [i.mnemonic for i in isa.INSTRUCTIONS if i.unit is isa.Unit.VECTOR]


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(duty=[1.0, 0.6])
async def every_instruction_equals_golden(dut, duty):
    bench = Bench(dut, parameters()["seed"])
    bench.memories.duty, bench.memories.latency = duty, 1 if duty == 1 else 7
    await bench.start()
    program = Program(bench.config, bench.rng)
    for _ in range(parameters()["steps"]):
        bench.fill()
        bench.set_step(draw_step(bench.rng, bench.config))
        for mnemonic in bench.rng.permutation(MNEMONICS * 2):
            await bench.execute(program.draw(mnemonic))
        await bench.scalars()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def elements_beyond_the_vector_do_not_count(dut):
    bench = Bench(dut, 1)
    await bench.start()
    config = bench.config
    bench.set_step(Step(1, 1, False, False, 0, 0, (0,) * config.positions))
    for stat in Stat:
        n = config.vector_lanes + 1
        bench.machine.v[:] = config.float.max       # squares of it saturate
        bench.machine.v[2, 0, :n] = 1.5
        bench.memories.v[:] = config.float.encode(bench.machine.v).reshape(bench.memories.v.shape)
        a = Operand(V, 2)
        await bench.execute(isa.encode("mul", dst=Operand(V, 0), a=a, b=a, n=n, stat=stat,
                                       stat_to=1))
        assert not bench.memories.saturated
    await bench.scalars()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_row_takes_a_cycle(dut):
    bench = Bench(dut, 1)
    await bench.start()
    bench.fill()
    bench.set_step(Step(1, 1, False, False, 0, 0, (0,) * bench.config.positions))
    config = bench.config
    n = 3 * config.register_elements
    for mnemonic, stat in (("fma", Stat.NONE), ("fma", Stat.ABSMAX), ("silu", Stat.SUMSQ)):
        sources = {"a": Operand(V, 3), "b": Operand(V, 6), "c": Operand(V, 9)}
        given = {k: v for k, v in sources.items() if mnemonic == "fma" or k == "a"}
        await bench.execute(isa.encode(mnemonic, dst=Operand(V, 0), n=n, stat=stat, stat_to=1,
                                       **given))
        overhead = bench.cycles - config.rows(n)
        dut._log.info(f"{mnemonic} {stat.name}: {overhead} cycles + {config.rows(n)} rows")
        assert overhead <= (90 if stat == Stat.SUMSQ else 45), (mnemonic, overhead)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def results_wait_while_none_is_taken(dut):
    bench = Bench(dut, 1)
    await bench.start()
    bench.fill()
    config = bench.config
    bench.set_step(Step(1, 1, False, False, 0, 0, (0,) * config.positions))
    given = dict(a=Operand(V, 14), n=14 * config.register_elements, stat=Stat.NONE)
    assert config.rows(given["n"]) > VectorUnit.ROOM + 10
    for mnemonic in ("add", "silu"):        # the shortest way through a lane and the longest
        others = {"b": Operand(S, 0)} if mnemonic == "add" else {}
        bench.memories.closed_until = bench.memories.cycle + 300
        await bench.execute(isa.encode(mnemonic, dst=Operand(V, 0), **given, **others))
        assert bench.cycles > 300
