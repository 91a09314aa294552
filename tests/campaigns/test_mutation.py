"""The mutation tool itself: faults are made, put in, and found where there is a test for them."""

from collections import Counter

from amaranth.back import rtlil as backend
import pytest

from tern_fpga.assembler.contract.config import Config
from tern_fpga.hw.array.unpacker import TritUnpacker
from tern_fpga.hw.memory.memory import MemoryArbiter
from tests.campaigns.mutation import mutants, rtlil
from tests.campaigns.mutation.campaign import Campaign
from tests.campaigns.mutation.choice import choose, sites
from tests.campaigns.mutation.faults import KINDS, faults
from tests.campaigns.mutation.prove import same


@pytest.fixture(scope="module")
def netlist():
    return backend.convert(MemoryArbiter(config=Config(), clients=("host", "weights")))


SUBTRACT = rtlil.Item("""  attribute \\src "/somewhere/hw/common/ram.py:7"
  cell $sub $1
    parameter \\A_SIGNED 0
    parameter \\B_SIGNED 1
    parameter \\A_WIDTH 4
    parameter \\B_WIDTH 2
    parameter \\Y_WIDTH 5
    connect \\A \\level [3:0]
    connect \\B 2'01
    connect \\Y $2
  end""")
PROCESS = rtlil.Item("""  process $3
    assign $4 [1:0] \\state [1:0]
    switch $2 [0]
      case 1'1
        assign $4 [1:0] 2'10
    end
    switch \\core_rst [0]
      case 1'1
        assign $4 [1:0] 2'00
    end
  end""")


def test_faults_of_a_cell():
    found = faults(SUBTRACT)
    assert {name: what for name, (_, what) in found.items()} == {
        "operator: another": "`$sub` → `$add`", "swap: inputs": "`$sub`: A ↔ B",
        "width: A": "`$sub`, A: 4 → 3 bits", "off by one: B +1": "`$sub`, B: 1 → 2",
        "off by one: B -1": "`$sub`, B: 1 → 0"}
    swapped = rtlil.Item(found["swap: inputs"][0])
    assert (swapped.port("A"), swapped.port("B")) == ("2'01", "\\level [3:0]")
    assert [swapped.parameter(f"{name}_{what}") for what in ("WIDTH", "SIGNED") for name in "AB"] \
        == [2, 4, 1, 0]


def test_faults_of_a_process():
    found = faults(PROCESS)
    assert sorted(found) == ["assignment: 0", "condition: 0 always", "condition: 0 never",
                             "constant: 0", "reset: dropped"]
    assert "core_rst" not in found["reset: dropped"][0]
    assert "2'11" in found["constant: 0"][0]
    assert found["assignment: 0"][0].count("assign") == PROCESS.text.count("assign") - 1


def test_a_netlist_comes_back_whole(netlist):
    def lines(text):
        return Counter(line for line in text.splitlines() if line)
    assert lines("\n".join(map(str, rtlil.parse(netlist)))) == lines(netlist)


def test_mutants_are_spread_over_blocks_and_kinds(netlist):
    places = sites(netlist)
    chosen = choose(places, 32, seed=1)
    assert "memory.MemoryArbiter" in places and "ram.Queue" in places
    assert {mutant.block for mutant in chosen} == set(places)
    assert {mutant.kind for mutant in chosen} == set(KINDS)
    assert len({mutant.name for mutant in chosen}) == len(chosen)
    assert chosen == choose(places, 32, seed=1) != choose(places, 32, seed=2)


def test_all_mutants_of_a_netlist_go_in_at_once(netlist):
    chosen = choose(sites(netlist), 12, seed=1)
    text, present = mutants.instrument(netlist, chosen)
    assert present == set(chosen)
    for number in range(1, 13):
        assert f"{mutants.BITS}'{number:0{mutants.BITS}b}\n" in text
    assert mutants.instrument(text, []) == (text, set())


def test_known_mutants_are_caught_and_hardware_without_them_passes(tmp_path):
    places = sites(backend.convert(TritUnpacker(lanes=5)))["unpacker.TritUnpacker"]
    chosen = [next(each for each in places if each.kind == kind) for kind in ("operator", "width")]
    node   = "hw/test_unpacker.py::test_rtl_equals_golden[5-1-verilator]"
    campaign = Campaign(chosen, tmp_path)
    campaign.run([node])
    assert not campaign.broken
    assert set(campaign.caught) == set(chosen)
    said = []
    again = Campaign(chosen, tmp_path, said.append)         # nothing is left to do
    again.run([node])
    assert again.caught == campaign.caught


@pytest.mark.parametrize("second, answer", [("x", True), ("z", False)])
def test_the_same_machine_is_told_from_another(second, answer):
    """`and` and `or` of a signal and itself are the same, of two they are not."""
    place = f'attribute \\src "{rtlil.ROOT}/hw/common/ram.py:55"'
    text = f"""{place}
module \\top

  wire width 2 input 0 \\x

  wire width 2 input 1 \\z

  wire width 2 output 2 \\y

  {place}
  cell $and $1
    parameter \\A_SIGNED 0
    parameter \\B_SIGNED 0
    parameter \\A_WIDTH 2
    parameter \\B_WIDTH 2
    parameter \\Y_WIDTH 2
    connect \\A \\x [1:0]
    connect \\B \\{second} [1:0]
    connect \\Y \\y
  end
end
"""
    ((mutant,),) = sites(text).values()
    assert same([text], mutant) == answer
