"""Tables of the scoreboard, derived from the ISA table: which queue waits for which.

Instructions wait in four queues, because the array unit finishes in two steps. Each queue
numbers its instructions (*tickets*), and its unit finishes them in that order.
"""

import enum

from tern_fpga.assembler.contract import isa


__all__ = ["Queue", "DEPTHS", "TICKET_BITS", "WINDOW", "AGE_LIMIT", "UNIT_INSTRUCTIONS",
           "queues_of", "instructions_of", "accesses_of", "PRODUCERS", "SLOTS", "COLUMNS"]


class Queue(enum.IntEnum):
    """Where an instruction waits for its operands."""
    MEMORY = 0
    VECTOR = 1
    ARRAY = 2       # the sums of a matmul: finished when its codes may be overwritten
    DRAIN = 3       # the results of a matmul, and emit: finished when they are written


DEPTHS = {Queue.MEMORY: 8, Queue.VECTOR: 16, Queue.ARRAY: 8, Queue.DRAIN: 8}

# Tickets count from 0 and wrap. An instruction that waits for ticket t of a queue is free when
# more than t of that queue's instructions are completed. The test is "t is not one of the next
# WINDOW to complete". It is right while no queue has more than WINDOW instructions outstanding and
# at most AGE_LIMIT instructions were dispatched since the waiting one: the completed count is then
# at most AGE_LIMIT + WINDOW <= 2**TICKET_BITS - WINDOW past t.
TICKET_BITS = 8
WINDOW      = 32
AGE_LIMIT   = 128

if AGE_LIMIT + 2 * WINDOW > 2 ** TICKET_BITS:
    raise ValueError("a completed ticket could be mistaken for a later one")


UNIT_INSTRUCTIONS = tuple(i for i in isa.INSTRUCTIONS if i.unit is not isa.Unit.CONTROL)


def accesses_of(instr):
    """``[(field, writes, queue)]`` for every register operand that the instruction may have."""
    accesses = []
    for field in instr.fields:
        if field.name in (*instr.reads, *instr.writes):
            if instr.unit is isa.Unit.ARRAY:
                queue = Queue.ARRAY if field.kind == "code" else Queue.DRAIN
            else:
                queue = Queue[instr.unit.name]
            accesses.append((field, field.name in instr.writes, queue))
    return accesses


def queues_of(instr):
    """The queues that take the instruction."""
    if instr.unit is isa.Unit.ARRAY:
        sums = any(queue is Queue.ARRAY for _, _, queue in accesses_of(instr))
        return (Queue.ARRAY, Queue.DRAIN) if sums else (Queue.DRAIN,)
    return (Queue[instr.unit.name],)


def instructions_of(queue):
    """The instructions that the queue takes."""
    return tuple(instr for instr in UNIT_INSTRUCTIONS if queue in queues_of(instr))


def _files(instr, field):
    """Register files that an operand field can name: ``v``, ``s`` or ``q``."""
    if field.kind == "operand":
        letters = dict(instr.spaces)[field.name].replace("u", "v")
        return sorted(set(letters) - {"_"})
    return ["q" if field.kind == "code" else "s"]


def _producers():
    """For each queue those that its instructions may wait for, and whether it writes registers."""
    touched = {queue: {} for queue in Queue}    # queue -> {file: written by it}
    for instr in UNIT_INSTRUCTIONS:
        for field, writes, queue in accesses_of(instr):
            for file in _files(instr, field):
                touched[queue][file] = touched[queue].get(file, False) or writes
    return {one: tuple(other for other in Queue if other is not one and
                       any(file in touched[other] and (writes or touched[other][file])
                           for file, writes in touched[one].items()))
            for one in Queue}, {queue: any(files.values()) for queue, files in touched.items()}


# For each queue, the queues whose instructions its own may have to wait for.
PRODUCERS, _WRITES = _producers()

# Register operand fields in the order in which they are looked up.
SLOTS = tuple({field.name: field for instr in UNIT_INSTRUCTIONS
               for field, _, _ in accesses_of(instr)}.values())

# Columns of the table, as ``(queue, writes)``: the newest ticket of each queue that used the
# register, and the newest that wrote it.
COLUMNS = tuple((queue, writes) for queue in Queue for writes in (False, True)
                if _WRITES[queue] or not writes)

if any(field not in SLOTS for instr in UNIT_INSTRUCTIONS for field, _, _ in accesses_of(instr)):
    raise ValueError("the scoreboard needs one place in the word for each operand field")
