"""Where the cycles go: every group adds up, and each cause is called by its name."""

import json
import random

from amaranth.sim import Simulator
import pytest

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract import isa
from tern_fpga.assembler.contract.registers import COUNTERS, GROUPS, counted
from tern_fpga.assembler.errors import report
from tern_fpga.hw.control.activity import Activity
from tern_fpga.sim import host
from tern_fpga.sim.cli import main
from tern_fpga.sim.commands import breakdown, perf
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.rtl.machine import RtlMachine
from tests import random_model
from tests.campaigns.test_random_programs import CONFIGS
from tests.sim.test_rtl import image_of


TINY = CONFIGS["narrow"]            # one build for all of this, and for those tests
SHAPE = dict(hidden=30, inner=25, layers=12, vocab=30)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose layers store their states; a board's name, so that `sim perf` takes it."""
    folder = random_model.write(tmp_path_factory.mktemp("model") / "model", **SHAPE)
    return compile_model(folder, TINY, "sim-tiny")


def added_up(counters):
    for group, names in GROUPS.items():
        assert sum(counters[name] for name in names) == counters["cycles"], group
    return counters


@pytest.mark.parametrize("pace", [{}, {"latency": 30, "gap": 100, "busy": 100}],
                         ids=["fast", "slow"])
def test_groups_add_up_and_work_is_the_golden_machines(model, pace):
    words = host.conversation(TINY, [1, 5, 7], 3)
    golden, rtl = Machine(model), RtlMachine(model, seed=1, **pace)
    for machine in (golden, rtl):
        machine.send(words)
    for tokens in (1, 2):               # while it runs
        rtl.run(tokens=tokens)
        added_up(rtl.counters)
    assert golden.run() == rtl.run() == "waiting"
    rtl.clock(2000)                     # weights are still on their way
    found, known = added_up(rtl.counters), golden.counters
    ahead = found.pop("weight_words") - known.pop("weight_words")
    assert 0 <= ahead <= TINY.prefetch_words
    assert known["store_words"] > 0
    assert {name: found[name] for name in known} == known
    assert rtl.sums == golden.sums      # the next step's weights did not come whole
    assert golden.sums["streams"] == 5 + 3                  # of the steps, and heads of tokens
    moved = sum(found[name] for name in ("load_words", "program_words", "host_words")) + ahead
    assert moved + golden.weight_words == rtl.words_read
    assert found["store_words"] == rtl.words_written


def share(words, name, **pace):
    """Of the cycles of a step that takes these instructions."""
    machine = RtlMachine(image_of(TINY, [isa.encode("next"), *words, isa.encode("halt")]), **pace)
    machine.send(host.conversation(TINY, [1], 1))
    assert machine.run() == "halted"
    counters = added_up(machine.counters)
    assert machine.counters == counters             # it stands
    return counters[name] / counters["cycles"]


STREAM = isa.encode("stream", r=0, address=0, words=4000)


def matmul(rows):
    return isa.encode("matmul", dst=isa.Operand(isa.Space.V, 1), q=0,
                      a=isa.Operand(isa.Space.S, 1), rows=rows, blocks=1)


def work(rounds, *before):
    """Instructions ``before``, then a loop of one for the vector unit."""
    v = isa.Operand(isa.Space.V, 0)
    words = [*before, isa.encode("set", r=1, imm=rounds)]
    return [*words, isa.encode("mul", dst=v, a=v, b=v, n=16),
            isa.encode("add_r", r=1, imm=0xffffffff),
            isa.encode("bnz", r=1, target=1 + len(words))]


def test_idle_memory_says_why():
    assert share(work(100), "memory_unasked") > 0.9
    assert share(work(100, STREAM), "memory_full") > 0.9
    few = isa.encode("stream", r=0, address=0, words=8)
    assert share([few, matmul(8)], "memory_unasked", latency=200) > 0.9     # asked too late
    slow = [share([STREAM, matmul(4000)], "memory_late", gap=gap) for gap in (0, 128)]
    assert slow[0] < 0.02 and slow[1] == pytest.approx(0.5, abs=0.05)


def test_waiting_units_say_why():
    assert share([STREAM, matmul(4000)], "array_starved", gap=128) > 0.4
    assert share(work(100), "vector_busy") > 0.5
    assert share(work(100), "sequencer_queue") > 0.4
    assert share([STREAM, matmul(4000)], "sequencer_units") > 0.9


def test_activity_is_one_thing_a_cycle():
    """Random inputs; a word to write counts in a cycle of its own, however late."""
    rng, dut = random.Random(1), Activity()
    totals, wanted = dict.fromkeys((c.name for c in COUNTERS), 0), dict(store=0, host=0)

    async def bench(ctx):
        for n in range(3000):
            quiet = n >= 2600           # so that what is owed can be counted
            rest = 0 if quiet else rng.getrandbits(30)
            ctx.set(dut.running, 1)
            for port, bits in ((dut.of_array, 4), (dut.of_vector, 2), (dut.of_sequencer, 5),
                               (dut.blocked, 4)):
                ctx.set(port.as_value(), rest & (1 << bits) - 1)
                rest >>= bits
            came = 0 if quiet else rng.choice((0, 0, 0, 1, 2, 4, 8))
            went = 0 if quiet else rng.choice((0, 0, 0, 0, 0, 0, 1, 4))
            ctx.set(dut.of_memory.came.as_value(), came)
            ctx.set(dut.of_memory.went.as_value(), went)
            wanted["store"] += went == 1
            wanted["host"] += (went == 4) + (came == 4)
            await ctx.tick()
            events = ctx.get(dut.events)
            for bit, counter in enumerate(COUNTERS):
                totals[counter.name] += events >> bit & 1
            if n > 2:
                for group, names in GROUPS.items():
                    assert sum(events >> bit & 1 for bit, counter in enumerate(COUNTERS)
                               if counter.name in names) == 1, group
        ctx.set(dut.running, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.events) == 0

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert totals["store_words"] == wanted["store"] and totals["host_words"] == wanted["host"]


def test_differences_of_counters_wrap():
    assert counted({"cycles": 0xfffffffe}, {"cycles": 5}) == {"cycles": 7}


def test_perf_adds_up_to_the_whole(model, tmp_path, capsys):
    model.save(tmp_path)
    assert report(main, ["perf", str(tmp_path), "--tokens", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["memory"] == "plain"
    assert list(result["memory_shares"]) == list(breakdown.MEMORY)
    assert sum(result["memory_shares"].values()) == pytest.approx(1)
    assert list(result["unit_shares"]) == list(breakdown.UNITS)
    for shares in result["unit_shares"].values():
        assert sum(shares.values()) == pytest.approx(1)
    useful = result["memory_shares"]["weights"] + result["memory_shares"]["parameters"]
    assert useful == pytest.approx(result["peak_share"], abs=0.02)
    assert report(main, ["perf", str(tmp_path), "--tokens", "2"]) == 0
    assert "100.00%" in capsys.readouterr().out
    assert report(main, ["perf", str(tmp_path), "--streams", "2"]) == 2     # it has one position
    assert capsys.readouterr().err.count("\n") == 1
    slow = perf.measure(model, clock_mhz=100, tokens=2, gap=64)
    assert slow.memory_shares["late"] > 0.03 > 0.001 > result["memory_shares"]["late"]
