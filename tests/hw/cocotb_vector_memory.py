"""cocotb tests of VectorMemory's Verilog; see test_vector_memory.py."""

import random

import cocotb
from cocotb.triggers import FallingEdge, ReadOnly

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.common.signatures import VectorWrite
from tern_fpga.hw.vector.memory import RESPONSES
from tern_fpga.sim.rtl import streams
from tests.verilog import parameters


P = parameters()
CONFIG = Config(**P["config"])
READERS, WRITERS = P["readers"], P["writers"]
WRITE = VectorWrite(CONFIG).members["request"].signature.members["payload"].shape
WIDTH = CONFIG.float.width


async def start(dut):
    for name in READERS:
        getattr(dut, f"{name}__request__valid").value = 0
        getattr(dut, f"{name}__response__ready").value = 0
    for name in WRITERS:
        getattr(dut, f"{name}__request__valid").value = 0
    await streams.start(dut)


def lanes(row):
    return [row >> WIDTH * lane & (1 << WIDTH) - 1 for lane in range(CONFIG.vector_lanes)]


class Monitor:
    """The golden memory, and every response compared with it.

    A lane may return what it held when the request was accepted, or what was written since.
    """
    def __init__(self, dut):
        self.dut = dut
        self.rows = {}                              # row: its lanes
        self.asked = {name: [] for name in READERS} # per request: row, its lanes' possible words
        self.answered = {name: [] for name in READERS}      # cycles
        self.accepted = {name: [] for name in WRITERS}      # cycles
        self.cycle = 0

    def taken(self, name):
        payload, valid, ready = streams.ports(self.dut, name)
        return int(payload.value) if int(valid.value) and int(ready.value) else None

    async def run(self):
        for name in (*READERS, *WRITERS):
            cocotb.start_soon(streams.watch(self.dut, f"{name}__request"))
        for name in READERS:
            cocotb.start_soon(streams.watch(self.dut, f"{name}__response"))
        while True:
            await ReadOnly()
            for name in READERS:
                row = self.taken(f"{name}__response")
                if row is not None:
                    number, words = self.asked[name].pop(0)
                    for lane, word in enumerate(lanes(row)):
                        assert word in words[lane], (name, number, lane, word, words)
                    self.answered[name].append(self.cycle)
            for name in READERS:
                number = self.taken(f"{name}__request")
                if number is not None:
                    held = self.rows.get(number, [0] * CONFIG.vector_lanes)
                    self.asked[name].append((number, [{word} for word in held]))
            for name in WRITERS:
                payload = self.taken(f"{name}__request")
                if payload is None:
                    continue
                write = WRITE.from_bits(payload)
                self.accepted[name].append(self.cycle)
                held = self.rows.setdefault(write.row, [0] * CONFIG.vector_lanes)
                for lane in range(CONFIG.vector_lanes):
                    if write.enable >> lane & 1:
                        held[lane] = write.data[lane]
                        for waiting in self.asked.values():
                            for number, words in waiting:
                                if number == write.row:
                                    words[lane].add(write.data[lane])
            self.cycle += 1
            await FallingEdge(self.dut.clk)


def write(row, draw, enable=None):
    data = [draw.getrandbits(WIDTH) for _ in range(CONFIG.vector_lanes)]
    enable = draw.getrandbits(CONFIG.vector_lanes) if enable is None else enable
    return WRITE.const({"row": row, "data": data, "enable": enable}).as_value().value


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(hot=[6, 64], in_duty=[1.0, 0.5], out_duty=[1.0, 0.4])
async def reads_return_what_was_written(dut, hot, in_duty, out_duty):
    draw = random.Random(f"{hot} {in_duty} {out_duty}")
    await start(dut)
    monitor = Monitor(dut)
    cocotb.start_soon(monitor.run())
    pool = [draw.randrange(CONFIG.vector_rows) for _ in range(hot)]
    pool += [0, CONFIG.vector_rows - 1]
    everything = (1 << CONFIG.vector_lanes) - 1
    # The rows hold what earlier tests left: write all that will be read.
    await streams.put(dut, f"{WRITERS[0]}__request",
                      [write(row, draw, everything) for row in sorted({*pool})])
    count = 150
    tasks = [cocotb.start_soon(streams.put(
        dut, f"{name}__request", [write(draw.choice(pool), draw) for _ in range(count)],
        duty=in_duty, seed=name)) for name in WRITERS]
    tasks += [cocotb.start_soon(streams.put(
        dut, f"{name}__request", [draw.choice(pool) for _ in range(count)],
        duty=in_duty, seed=name)) for name in READERS]
    tasks += [cocotb.start_soon(streams.get(
        dut, f"{name}__response", count, duty=out_duty, seed=name)) for name in READERS]
    for task in tasks:
        await task
    assert all(len(cycles) == count for cycles in monitor.answered.values())
    assert not any(monitor.asked.values())


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sequential_clients_do_not_disturb_each_other(dut):
    """Every client takes a row a cycle, after at most one collision with each other."""
    draw = random.Random(7)
    await start(dut)
    monitor = Monitor(dut)
    cocotb.start_soon(monitor.run())
    count = min(256, CONFIG.vector_rows)
    rows = {name: [(k + draw.randrange(1, 4) * 4) % CONFIG.vector_rows for k in range(count)]
            for name in (*READERS, *WRITERS)}
    for name in READERS:     # known contents, not written meanwhile
        await streams.put(dut, f"{WRITERS[0]}__request",
                          [write(row, draw, (1 << CONFIG.vector_lanes) - 1)
                           for row in rows[name]])
    monitor.accepted = {name: [] for name in WRITERS}
    start_cycle = monitor.cycle
    tasks = [cocotb.start_soon(streams.put(dut, f"{name}__request", rows[name]))
             for name in READERS]
    tasks += [cocotb.start_soon(streams.put(
        dut, f"{name}__request", [write(row, draw, 0) for row in rows[name]]))
        for name in WRITERS]
    tasks += [cocotb.start_soon(streams.get(dut, f"{name}__response", count))
              for name in READERS]
    for task in tasks:
        await task
    for cycles in (*monitor.answered.values(), *monitor.accepted.values()):
        assert count / (cycles[-1] - cycles[0] + 1) > 0.95, cycles
        assert cycles[-1] - start_cycle < count + 20


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def latency_is_seven_cycles(dut):
    await start(dut)
    monitor = Monitor(dut)
    cocotb.start_soon(monitor.run())
    draw = random.Random(8)
    await streams.put(dut, f"{WRITERS[0]}__request",
                      [write(1, draw, (1 << CONFIG.vector_lanes) - 1)])
    asked = monitor.cycle
    cocotb.start_soon(streams.put(dut, f"{READERS[0]}__request", [1]))
    await streams.get(dut, f"{READERS[0]}__response", 1)
    assert monitor.answered[READERS[0]][0] - asked == P["latency"]


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(reader=READERS)
async def a_reader_that_takes_nothing_holds_up_nobody(dut, reader):
    await start(dut)
    getattr(dut, f"{reader}__response__ready").value = 0
    _, valid, ready = streams.ports(dut, f"{reader}__request")
    asked = []

    async def count():
        while True:
            await ReadOnly()
            asked.append(int(valid.value) and int(ready.value))
            await FallingEdge(dut.clk)

    cocotb.start_soon(count())
    blocked = cocotb.start_soon(streams.put(dut, f"{reader}__request", [0] * 100, duty=0.2))
    for name in [name for name in READERS if name != reader]:
        task = cocotb.start_soon(streams.put(dut, f"{name}__request", [0] * 100))
        await streams.get(dut, f"{name}__response", 100)
        await task
    for _ in range(100):
        await FallingEdge(dut.clk)
    assert not blocked.done()
    # What may be on its way, less a place for one that came right behind another, and two that
    # wait in front of the arbiter.
    assert sum(asked) == RESPONSES - 1 + 2
