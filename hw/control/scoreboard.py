"""Scoreboard: register hazards between units that run in parallel."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from tern_fpga.assembler.contract import isa
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import BlockRam
from tern_fpga.hw.common.signatures import connect
from tern_fpga.hw.control.operands import Operands
from tern_fpga.hw.control.queue import UnitQueue, queue_signature
from tern_fpga.hw.control.tickets import COLUMNS, DEPTHS, PRODUCERS, TICKET_BITS, WINDOW, Queue


__all__ = ["Scoreboard", "queues_layout"]


queues_layout = data.StructLayout({queue.name.lower(): 1 for queue in Queue})

# Queues of each unit.
_UNITS = ((Queue.MEMORY,), (Queue.VECTOR,), (Queue.ARRAY, Queue.DRAIN))

_SETTLE = 4     # cycles from the last look-up until its ticket is in `newest`


class Scoreboard(wiring.Component):
    """Dispatches instructions to four queues in order, with the tickets that each must wait for.

    Instruction j in queue Q waits for instruction i of queue P != Q if i is older and writes a
    register that j touches, or reads one that j writes (RAW, WAR, WAW). Each queue numbers its
    instructions: these are tickets. A table holds, for each register, the newest ticket of each
    queue that used it and that wrote it. The registers of an instruction are looked up one a cycle,
    and its own tickets are written in the same cycle. Each unit's columns are a RAM of their own,
    because a read of a row that is being written is undefined; an instruction never reads its own
    unit's columns. The newest ticket found for each producing queue enters
    :class:`hw.control.queue.UnitQueue` with the instruction.

    No deadlock: an instruction waits only for older ones. Tickets in the table are older by
    construction. One so old that its number has wrapped (or that a reset left behind) is taken for
    one of the last ``WINDOW`` that were issued, which are older too. The dispatcher waits only for
    the heads of queues (a full queue, a full window, an old head), which are older. So the oldest
    unfinished instruction can always run.

    An operand that reaches beyond its register file is looked up in the entries after it, modulo
    the table: at worst that adds a wait.

    Protocol: ``i`` is taken when the instruction has entered its queues. Throughput: an instruction
    that touches k registers takes k + 9 cycles.

    Cost: mostly the queues. See ``docs/reports/area.md`` (scoreboard).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(isa.WORD_BITS))`
        Instructions of the units, with operands resolved.
    memory, vector, array, drain : :py:`Out(queue_signature(queue))`
        The same instructions once they may start.
    done : :py:`In(queues_layout)`
        Strobes: a queue's unit has finished its oldest instruction.
    blocked : :py:`Out(queues_layout)`
        Levels: a queue's first instruction waits for others.
    full : :py:`Out(1)`
        Level: the instruction on ``i`` waits for room in its queues.
    idle : :py:`Out(1)`
        Level: every instruction that was offered is finished; one cycle late.

    Golden twin: none; ``tests/hw/cocotb_sequencer.py`` checks the order of starts and ends.

    Source: ``docs/decisions/tickets.md``.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "i":    In(stream.Signature(isa.WORD_BITS)),
            **{queue.name.lower(): Out(queue_signature(queue)) for queue in Queue},
            "done": In(queues_layout),
            "blocked": Out(queues_layout),
            "full": Out(1),
            "idle": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        m.submodules.operands = operands = Operands(config=self.config)
        m.d.comb += operands.word.eq(self.i.payload)

        tables = []     # (its columns, RAM)
        for unit in _UNITS:
            columns = [column for column in COLUMNS if column[0] in unit]
            table   = BlockRam(shape=data.ArrayLayout(TICKET_BITS, len(columns)),
                               depth=Operands.depth(self.config), masked=True)
            m.submodules[f"{unit[0].name.lower()}_table"] = table
            tables.append((columns, table))

        def counters(what):
            return [Signal(TICKET_BITS, name=f"{queue.name.lower()}_{what}") for queue in Queue]

        issued      = counters("issued")        # also the ticket of the next instruction
        completed   = counters("completed")
        outstanding = counters("outstanding")
        now  = Signal(TICKET_BITS)
        shut = Signal()                         # a queue may be about to outrun its tickets
        queues = []
        for queue in Queue:
            unit = UnitQueue(queue=queue, depth=DEPTHS[queue])
            m.submodules[f"{queue.name.lower()}_queue"] = unit
            queues.append(unit)
            connect(m, unit.o, wiring.flipped(getattr(self, queue.name.lower())))
            m.d.comb += unit.now.eq(now)
            m.d.comb += self.blocked[queue.name.lower()].eq(unit.blocked)
            m.d.comb += unit.i.p.word.eq(self.i.payload)
            m.d.comb += unit.i.p.born.eq(now)
            for producer in PRODUCERS[queue]:
                m.d.comb += unit.completed[producer.name.lower()].eq(completed[producer])
            with m.If(self.done[queue.name.lower()]):
                m.d.sync += completed[queue].eq(completed[queue] + 1)
            m.d.sync += outstanding[queue].eq(issued[queue] - completed[queue])
        m.d.sync += shut.eq(Cat(
            *(each[exact_log2(WINDOW)] for each in outstanding), *(unit.old for unit in queues)
        ).any())
        m.d.sync += self.idle.eq(~self.i.valid & ~Cat(
            a != b for a, b in zip(issued, completed)).any())

        # Look up one register a cycle: `at` is the operand in progress, `slots` the remaining ones.
        slots = Signal.like(operands.slots)
        into  = Signal(len(Queue))
        at    = Signal(Operands.slot(self.config))
        more  = Cat(slot.used for slot in slots).any()
        found = Signal()            # `row` holds the entry of the access (`kind`, `write`)
        kind  = delay(m, at.queue, 2)
        write = delay(m, at.write, 2)
        walk  = Signal()
        row   = {}
        m.d.sync += found.eq(delay(m, walk, 1, reset_less=False))
        for columns, table in tables:
            m.d.comb += [
                table.read_address.eq(at.first),
                table.read_enable.eq(1),
                table.write_address.eq(at.first),
            ]
            # Data of a block RAM are late in the cycle: no logic in front of this register.
            row |= zip(columns, data.View(table.shape, delay(m, table.read_data.as_value(), 1)))
            for n, (queue, writes) in enumerate(columns):
                m.d.comb += table.write_data[n].eq(issued[queue])
                m.d.comb += table.write_enable[n].eq(
                    walk & at.queue[queue] & (at.write | (not writes)))
        newest = self._newest(m, issued, row, found, kind, write)
        for consumer in Queue:
            for producer in PRODUCERS[consumer]:
                back = newest[consumer is Queue.ARRAY, producer]
                need = queues[consumer].i.p.needs[producer.name.lower()]
                # Counted back from `issued`, the last WINDOW tickets are small negative numbers:
                # their upper bits are ones.
                m.d.comb += need.pending.eq(back[exact_log2(WINDOW):].all())
                m.d.comb += need.ticket.eq(issued[producer] + back)

        # Take the first remaining operand.
        def take_slot():
            taken = Const(0, 1)
            for slot in slots:
                with m.If(slot.used & ~taken):
                    m.d.sync += at.eq(slot)
                    m.d.sync += slot.used.eq(0)
                taken = taken | slot.used

        settle = Signal(range(_SETTLE))
        with m.FSM():
            with m.State("wait"):
                m.d.sync += into.eq(operands.queues)
                m.d.sync += [each.eq(0) for each in newest.values()]
                with m.If(self.i.valid):
                    m.next = "measure"
            with m.State("measure"):        # `more` of the operands is one cycle late
                m.d.sync += slots.eq(operands.slots)
                m.next = "begin"
            with m.State("begin"):
                take_slot()
                m.next = "walk"
                with m.If(~more):
                    m.next = "settle"
            with m.State("walk"):
                m.d.comb += walk.eq(1)
                m.d.sync += at.first.eq(at.first + 1)
                m.d.sync += at.more.eq(at.more - 1)
                with m.If(at.more == 0):
                    take_slot()
                    with m.If(~more):
                        m.next = "settle"
            with m.State("settle"):
                with m.If(settle != _SETTLE - 1):
                    m.d.sync += settle.eq(settle + 1)
                with m.Elif(~shut):     # by now `shut` includes the instruction before
                    m.d.sync += settle.eq(0)
                    m.next = "enter"
                with m.Else():
                    m.d.comb += self.full.eq(1)
            # A matmul enters two queues, in any order as they have room.
            with m.State("enter"):
                m.d.comb += self.full.eq(~self.i.ready)
                for queue, unit in zip(Queue, queues):
                    m.d.comb += unit.i.valid.eq(into[queue])
                    with m.If(into[queue] & unit.i.ready):
                        m.d.sync += issued[queue].eq(issued[queue] + 1)
                        m.d.sync += into[queue].eq(0)
                with m.If(~(into & ~Cat(unit.i.ready for unit in queues)).any()):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += now.eq(now + 1)
                    m.next = "wait"
        return m

    @staticmethod
    def _newest(m, issued, row, found, kind, write):
        """Newest ticket found for each producer, counted back from ``issued``; 0 if there is none.

        Look-ups for the array queue are kept apart, because the sums of a matmul wait only for
        their codes: ``{(looked up for the array queue, producer): Signal}``.
        """
        newest = {}
        for producer in Queue:
            columns = {writes: value for (queue, writes), value in row.items()
                       if queue is producer}
            name   = producer.name.lower()
            ticket = Signal(TICKET_BITS, name=f"{name}_ticket")
            back   = Signal(TICKET_BITS, name=f"{name}_back")
            # A write waits for all users, a read only for writers (if the queue has any).
            m.d.sync += ticket.eq(Mux(write, columns[False], columns.get(True, 0)))
            m.d.sync += back.eq(ticket - issued[producer])
            for sums in (False, True):
                if not any(producer in PRODUCERS[queue] for queue in Queue
                           if (queue is Queue.ARRAY) == sums):
                    continue
                valid = Signal(2, name=f"{name}_valid_{'sums' if sums else 'others'}")
                best  = Signal(TICKET_BITS, name=f"{name}_newest_{'sums' if sums else 'others'}")
                known = write | (True in columns)
                m.d.sync += valid.eq(Cat(found & known & (kind[Queue.ARRAY] == sums), valid))
                # Counted back from the same number, the newer ticket is the larger one.
                with m.If(valid[1] & (back > best)):
                    m.d.sync += best.eq(back)
                newest[sums, producer] = best
        return newest
