"""Which instruction may start when: register hazards between units that run in parallel."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from assembler import isa
from hw.float import delay
from hw.operands import Operands
from hw.queue import UnitQueue, queue_signature
from hw.ram import BlockRam
from hw.signatures import connect
from hw.tickets import COLUMNS, DEPTHS, PRODUCERS, TICKET_BITS, WINDOW, Queue


__all__ = ["Scoreboard", "queues_layout"]


queues_layout = data.StructLayout({queue.name.lower(): 1 for queue in Queue})

# Queues of each unit.
_UNITS = ((Queue.MEMORY,), (Queue.VECTOR,), (Queue.ARRAY, Queue.DRAIN))

_SETTLE = 4     # cycles from the last look-up until its outcome is in `newest`


class Scoreboard(wiring.Component):
    """Hands instructions to four queues, in order, with what each must wait for.

    Instruction j waits in queue Q for instruction i of queue P != Q if i is older and writes a
    register that j touches, or reads one that j writes. Each queue numbers its instructions; a
    table holds, per register, the newest ticket of each queue that used it and that wrote it.
    The registers of an instruction are looked up one a cycle, and its own tickets written in
    the same cycle. The columns of each unit are a RAM of their own, since what is read of a row
    that is being written is undefined: an instruction never looks at its own unit's columns. The
    newest ticket found of each producing queue goes with the instruction into
    :class:`hw.queue.UnitQueue`.

    No deadlock: an instruction waits only for older ones. Tickets in the table are older by
    construction, and one so old that its number came round again (or that a reset left behind)
    is taken for one of the last ``WINDOW`` that were issued, which are older too. The
    dispatcher itself waits only for the heads of queues (a full queue, a full window, an old
    head), which are older. So the oldest unfinished instruction can always run.

    An operand that reaches beyond its register file is looked up in the entries after it,
    modulo the table: that may only add a wait.

    Protocol: ``i`` is taken when the instruction has entered its queues.
    Throughput: an instruction that touches k registers takes k + 9 cycles.

    Cost: 3 DP16KD; about 1,800 LUT4, most of it the queues.

    Parameters
    ----------
    config : assembler.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(isa.WORD_BITS))`
        Instructions of the units, operands resolved.
    memory, vector, array, drain : :py:`Out(queue_signature(queue))`
        The same instructions once they may start.
    done : :py:`In(queues_layout)`
        Strobes: a queue's unit has finished its oldest instruction.
    blocked : :py:`Out(queues_layout)`
        A queue's first instruction waits for others.
    full : :py:`Out(1)`
        The instruction on ``i`` waits for room in its queues.
    idle : :py:`Out(1)`
        Every instruction that was offered is finished; one cycle late.

    Golden twin: none; ``tests/cocotb_sequencer.py`` checks the order of starts and ends.
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

        issued      = counters("issued")        # also the ticket of the next one
        completed   = counters("completed")
        outstanding = counters("outstanding")
        now  = Signal(TICKET_BITS)
        shut = Signal()                         # a queue could outrun its tickets
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

        # Look up one register a cycle: `at` is the operand being walked, `slots` those to come.
        slots = Signal.like(operands.slots)
        into  = Signal(len(Queue))
        at    = Signal(Operands.slot(self.config))
        more  = Cat(slot.used for slot in slots).any()
        found = Signal()            # the row of the access `kind`, `write` is in `row`
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
            # A block RAM's data are late in the cycle: no logic before this register.
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
                # All tickets from issued - WINDOW on start with ones, counted back from issued.
                m.d.comb += need.pending.eq(back[exact_log2(WINDOW):].all())
                m.d.comb += need.ticket.eq(issued[producer] + back)

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
            with m.State("measure"):        # the operands are one cycle late
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
                with m.Elif(~shut):     # by now it knows of the instruction before
                    m.d.sync += settle.eq(0)
                    m.next = "enter"
                with m.Else():
                    m.d.comb += self.full.eq(1)
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
        """Newest ticket found of every producer, counted back from ``issued``: 0 is none.

        The sums of a matmul wait only for their codes, so its look-ups are kept apart:
        ``{(looked up for the array queue, producer): Signal}``.
        """
        newest = {}
        for producer in Queue:
            columns = {writes: value for (queue, writes), value in row.items()
                       if queue is producer}
            name   = producer.name.lower()
            ticket = Signal(TICKET_BITS, name=f"{name}_ticket")
            back   = Signal(TICKET_BITS, name=f"{name}_back")
            # A write waits for all users, a read for writers, if there are any.
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
                with m.If(valid[1] & (back > best)):
                    m.d.sync += best.eq(back)
                newest[sums, producer] = best
        return newest
