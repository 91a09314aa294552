# amaranth: UnusedElaboratable=no

import pytest

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.control import tickets
from tern_fpga.hw.control.queue import UnitQueue
from tern_fpga.hw.control.tickets import PRODUCERS, Queue, accesses_of, queues_of


def test_every_access_of_the_table_is_looked_up_once():
    for instr in tickets.UNIT_INSTRUCTIONS:
        accesses = accesses_of(instr)
        assert {field.name for field, _, _ in accesses} == {*instr.reads, *instr.writes}
        assert {queue for _, _, queue in accesses} <= {*queues_of(instr)}
        for field, writes, _ in accesses:
            assert field in tickets.SLOTS
            assert writes == (field.name in instr.writes)


def test_queues_wait_for_those_that_share_registers_with_them():
    # Codes pass from the vector unit to the sums and nowhere else; all else goes by v and s.
    assert {one.name: {other.name for other in others} for one, others in PRODUCERS.items()} == {
        "MEMORY": {"VECTOR", "DRAIN"},
        "VECTOR": {"MEMORY", "ARRAY", "DRAIN"},
        "ARRAY":  {"VECTOR"},
        "DRAIN":  {"MEMORY", "VECTOR"},
    }


def test_matmul_takes_two_tickets_and_emit_one():
    assert queues_of(isa.lookup("matmul")) == (Queue.ARRAY, Queue.DRAIN)
    assert queues_of(isa.lookup("emit")) == (Queue.DRAIN,)
    assert [queue for field, _, queue in accesses_of(isa.lookup("matmul"))
            if field.name == "q"] == [Queue.ARRAY]


def test_completed_ticket_is_never_taken_for_a_later_one():
    # The furthest that the completed count can be past a needed ticket, and the nearest count
    # below a ticket that looks like one to come.
    furthest = tickets.AGE_LIMIT + tickets.WINDOW
    assert furthest <= 2 ** tickets.TICKET_BITS - tickets.WINDOW


@pytest.mark.parametrize("depth", [0, 1, 17])
def test_depth_that_distributed_ram_does_not_have_is_refused(depth):
    with pytest.raises(ValueError, match="depth must be 2 to 16"):
        UnitQueue(queue=Queue.VECTOR, depth=depth)
