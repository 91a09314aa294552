"""The scoreboard: nothing starts before what it waits for, and something always starts."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.control.scoreboard import Scoreboard
from tern_fpga.hw.control.tickets import UNIT_INSTRUCTIONS, Queue, _files, accesses_of, queues_of
from tests.campaigns.formal.bench import Fault, Proof
from tests.campaigns.formal.streams import SMALL


__all__ = ["PROOFS"]


FILES = ("v", "s", "q")
_SLOT = data.StructLayout({"used": 1, "write": 1, "queue": len(Queue), "first": 2, "more": 2})

# What the instruction table has: (queue, file, writes), and the sets of queues.
_ACCESSES = sorted({(queue, file, writes) for instr in UNIT_INSTRUCTIONS
                    for field, writes, queue in accesses_of(instr)
                    for file in _files(instr, field)})
_QUEUES   = sorted({sum(1 << queue for queue in queues_of(instr)) for instr in UNIT_INSTRUCTIONS})

_word = data.StructLayout({"queues": len(Queue), "slots": data.ArrayLayout(_SLOT, 2)})


class _AnyOperands(wiring.Component):
    """Stands for :class:`hw.control.operands.Operands`: the word says itself what it touches."""
    @staticmethod
    def depth(config):
        return 4

    @classmethod
    def slot(cls, config):
        return _SLOT

    def __init__(self, *, config):
        super().__init__({
            "word": In(128), "slots": Out(data.ArrayLayout(_SLOT, 2)), "queues": Out(len(Queue)),
        })

    def elaborate(self, platform):
        m = Module()
        word = data.View(_word, self.word[:_word.size])
        m.d.comb += [self.slots.eq(word.slots), self.queues.eq(word.queues)]
        return m


def _board(b):
    """A scoreboard that gets any legal instructions. Returns it, and the word on its input."""
    board = b.block("scoreboard", Scoreboard(config=SMALL))
    word  = data.View(_word, b.any("word", _word.size))
    b.feed("i", board.i, payload=Cat(word, Const(0, 128 - _word.size)))
    given = data.View(_word, Value.cast(board.i.payload)[:_word.size])
    b.assume(Cat(given.queues == legal for legal in _QUEUES).any())
    for slot in given.slots:
        # Entries 0 and 3 are of vector registers.
        b.assume(~slot.used | Cat(
            (slot.queue == 1 << queue) & (slot.write == writes)
            & (given.queues & slot.queue).any()
            & ((slot.first == FILES.index(file)) | (slot.first == 3) & (file == "v"))
            for queue, file, writes in _ACCESSES).any())
        b.assume(slot.more == 0)
    return board, given


def _counts(b, name):
    return Array(Signal(6, name=f"{name}_{queue.name.lower()}") for queue in Queue)


def _units(b, board, *, slow):
    """Units that take and end instructions in order; ``slow``: at any time, else within 2 cycles.

    Returns by queue: starts and ends so far, and "starts" and "ends" of this cycle.
    """
    begun, ended, starts, ends = _counts(b, "begun"), _counts(b, "ended"), [], []
    for queue in Queue:
        name = queue.name.lower()
        port = getattr(board, name)
        runs = begun[queue] != ended[queue]
        if slow:
            start = b.drain(name, port)
            end   = b.named(f"{name}_ends", runs & b.any(f"{name}_end"))
        else:
            b.m.d.comb += port.ready.eq(1)
            start = b.named(f"{name}_starts", port.valid & port.ready)
            end   = b.named(f"{name}_ends", runs & (b.any(f"{name}_end") | b.past(runs)))
        b.m.d.comb += board.done[name].eq(end)
        b.m.d.sync += [begun[queue].eq(begun[queue] + start), ended[queue].eq(ended[queue] + end)]
        starts.append(start)
        ends.append(end)
    return begun, ended, Array(starts), Array(ends)


def _offers(b, board, word):
    """"A new word is offered", and how many were before it, by queue."""
    offered = b.named("offered", board.i.valid & ~b.past(board.i.valid & ~board.i.ready))
    offers  = _counts(b, "offers")
    for queue in Queue:
        b.m.d.sync += offers[queue].eq(offers[queue] + (offered & word.queues[queue]))
    return offered, offers


def _hazards(b):
    """Any two instructions that share a register, of two units: the later one waits."""
    board, word = _board(b)
    begun, ended, starts, ends = _units(b, board, slow=True)
    first, second = b.constant("first", 2), b.constant("second", 2)     # their queues
    register = b.constant("register", 2)
    offered, offers = _offers(b, board, word)

    def touches(queue):
        """Whether the word touches the register in its part for ``queue``, and writes it."""
        here = [slot.used & (slot.first == register) & slot.queue.bit_select(queue, 1)
                for slot in word.slots]
        return (Cat(here).any(),
                Cat(each & slot.write for each, slot in zip(here, word.slots)).any())

    older, older_writes = Signal(), Signal()
    ahead  = Signal(6)          # ends in its queue before that of the older one
    ended_ = Signal()
    uses, writes = touches(first)
    with b.m.If(offered & uses & ~older & b.any("choose_older")):
        b.m.d.sync += [older.eq(1), older_writes.eq(writes),
                       ahead.eq(offers[first] - ended[first] - ends[first])]
    with b.m.Elif(older & ends[first] & ~ended_):
        b.m.d.sync += [ahead.eq(ahead - 1), ended_.eq(ahead == 0)]

    younger = Signal()
    before  = Signal(6)         # starts in its queue before that of the younger one
    uses, writes = touches(second)
    with b.m.If(offered & uses & older & ~younger & (writes | older_writes)
                & (first != second) & b.any("choose_younger")):
        b.m.d.sync += [younger.eq(1), before.eq(offers[second] - begun[second] - starts[second])]
    with b.m.Elif(younger & starts[second]):
        b.m.d.sync += before.eq(before - 1)
    valid = Array(getattr(board, queue.name.lower()).valid for queue in Queue)[second]
    now   = b.named("younger_at_head", younger & (before == 0) & valid)
    b.promise("the_later_one_waits", ~now | ended_)
    b.reach("the_later_one_starts", now & ended_)
    b.reach("the_later_one_waited", younger & ended_ & b.past(younger & ~ended_ & (before == 0)))
    for queue in Queue:
        b.promise(f"{queue.name.lower()}_gets_what_was_offered", begun[queue] <= offers[queue])


def _progress(b):
    """If units end what they have within two cycles, something happens all the time."""
    board, word = _board(b)
    begun, ended, starts, ends = _units(b, board, slow=False)
    event  = Cat(*starts, *ends, board.i.valid & board.i.ready).any()
    _, offers = _offers(b, board, word)
    work   = Cat(one != other for one, other in zip(offers, ended)).any() | board.i.valid
    still  = Signal(6)
    b.m.d.sync += still.eq(Mux(event | ~work, 0, still + 1))
    b.promise("something_happens", still <= 14)
    b.reach("two_ended", Cat(each == 2 for each in ended).any())


_SMALLER = {"hw.control.scoreboard.Operands": _AnyOperands}

_LIMITS = ("Longer runs, so no ticket that came round again, and no full queue. Which registers a "
           "word touches: here it says so itself, with up to two registers of four; tests compare "
           "hw.control.operands with the instruction table.")

PROOFS = (
    Proof("scoreboard hazards", "Of any two instructions of different units that share a register "
          "which one of them writes (RAW, WAR, WAW), the later one starts when the other has "
          "ended.", _hazards, method="bounded 25", reach=27,
          constants=_SMALLER, limits=_LIMITS,
          faults=(
              Fault("writes do not wait for reads", "hw.control.scoreboard:Scoreboard",
                    "Mux(write, columns[False], columns.get(True, 0))",
                    "columns.get(True, 0)"),
              Fault("looks a cycle too early", "hw.control.scoreboard:Scoreboard",
                    "settle != _SETTLE - 1", "settle != _SETTLE - 3"))),
    Proof("scoreboard progress", "While anything is offered or under way, and units end what they "
          "were given within 2 cycles, 15 cycles never pass without a start, an end or an "
          "instruction taken.", _progress, method="bounded 40", reach=27,
          constants=_SMALLER, limits=_LIMITS,
          faults=(Fault("looks the same register up for ever", "hw.control.scoreboard:Scoreboard",
                        "m.d.sync += slot.used.eq(0)", "m.d.sync += slot.used.eq(slot.used)"),
                  Fault("counts no end", "hw.control.scoreboard:Scoreboard",
                        "completed[queue].eq(completed[queue] + 1)",
                        "completed[queue].eq(completed[queue])"))),
)
