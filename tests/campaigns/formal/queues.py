"""Queues: what goes in comes out, once, in order, and soon."""

from amaranth import *

from tern_fpga.hw.common.ram import Buffer, DeepQueue, Queue
from tern_fpga.hw.control.queue import UnitQueue
from tern_fpga.hw.control.tickets import PRODUCERS, WINDOW, Queue as Unit
from tests.campaigns.formal.bench import Fault, Proof


__all__ = ["PROOFS", "in_order"]

SHAPE = 2       # of a payload: queues look at none


def in_order(b, i_taken, given, o_taken, got, *, capacity):
    """Payloads leave as they came. Returns how many are inside.

    Any one payload, chosen by the solver, is followed: it leaves behind those that were before
    it, as it came, and nothing leaves that did not come.
    """
    level    = Signal(range(capacity + 2))
    followed = Signal()         # the payload is inside
    done     = Signal()         # and left
    ahead    = Signal.like(level)
    payload  = Signal(len(given))
    chosen   = i_taken & b.any("chosen") & ~followed & ~done
    b.m.d.sync += level.eq(level + i_taken - o_taken)
    with b.m.If(chosen):
        b.m.d.sync += [followed.eq(1), payload.eq(given), ahead.eq(level - o_taken)]
    with b.m.Elif(followed & o_taken):
        b.m.d.sync += ahead.eq(ahead - 1)
        with b.m.If(ahead == 0):
            b.m.d.sync += [followed.eq(0), done.eq(1)]
    leaves = followed & o_taken & (ahead == 0)
    b.promise("nothing_leaves_that_did_not_come", ~o_taken | (level != 0))
    b.promise("no_more_inside_than_fit", level <= capacity)
    b.promise("leaves_as_it_came", ~leaves | (got == payload))
    b.reach("one_left", leaves)
    b.reach("it_was_full", level == capacity)
    return level


def _soon(b, name, wanted, granted, cycles):
    """``granted`` at the latest in the cycle after ``cycles`` in which it was only ``wanted``."""
    waited = Signal(range(cycles + 2))
    b.m.d.sync += waited.eq(Mux(wanted & ~granted, waited + (waited <= cycles), 0))
    b.promise(name, waited <= cycles)


def _fifo(make, *, capacity, room, latency, refusal=0):
    """``room`` payloads always fit; an empty queue shows one after ``latency`` cycles, and one
    with room for more takes it after ``refusal``."""
    def describe(b):
        fifo  = b.block("fifo", make())
        taken = b.feed("i", fifo.i)
        left  = b.drain("o", fifo.o)
        b.stream_rules("o", fifo.o)
        level = in_order(b, taken, Value.cast(fifo.i.payload), left, Value.cast(fifo.o.payload),
                         capacity=capacity)
        _soon(b, "shown_soon", level != 0, fifo.o.valid, latency)
        _soon(b, "taken_soon", (level < room) & ~b.first, fifo.i.ready, refusal)
    return describe


class _SmallDeepQueue(DeepQueue):
    BEHIND = 4


class _WatchedDeepQueue(DeepQueue):
    """``lost``: the queue behind the block RAM has no room for a payload that it gets."""
    def __init__(self, **parameters):
        self.lost = Signal()
        super().__init__(**parameters)

    def elaborate(self, platform):
        m = super().elaborate(platform)
        behind = m.submodules.ready
        m.d.comb += self.lost.eq(behind.i.valid & ~behind.i.ready)
        return m


def _places(b):
    deep  = b.block("fifo", _WatchedDeepQueue(shape=1, depth=4))
    taken = b.feed("i", deep.i)
    left  = b.drain("o", deep.o)
    level = Signal(range(32))
    b.m.d.sync += level.eq(level + taken - left)
    b.promise("nothing_is_lost", ~deep.lost)
    b.promise("nothing_leaves_that_did_not_come", ~deep.o.valid | (level != 0))
    b.promise("no_more_inside_than_fit", level <= 4 + DeepQueue.BEHIND)
    b.reach("eight_inside", level == 8)
    _soon(b, "shown_soon", level != 0, deep.o.valid, 4)
    _soon(b, "taken_soon", level < 4, deep.i.ready, 0)


def _unit_queue(b):
    queue = b.block("queue", UnitQueue(queue=Unit.VECTOR, depth=2))
    word  = b.any("word", SHAPE)
    entry = Signal(UnitQueue.entry(Unit.VECTOR))
    b.m.d.comb += entry.eq(b.any("entry", entry.shape().size))
    b.m.d.comb += entry.word.eq(word)
    taken = b.feed("i", queue.i, payload=Value.cast(entry))
    left  = b.drain("o", queue.o)
    given = Value.cast(queue.i.payload)
    b.m.d.comb += queue.completed.eq(b.any("completed", queue.completed.shape().size))
    b.m.d.comb += queue.now.eq(b.any("now", len(queue.now)))
    b.stream_rules("o", queue.o)

    # The needs of all that are inside, the first at the lowest place.
    needs  = queue.i.p.needs
    inside = [Signal.like(needs, name=f"inside_{n}") for n in range(4)]
    count  = Signal(range(5))
    b.m.d.sync += count.eq(count + taken - left)
    for n in range(4):
        with b.m.If(left):
            b.m.d.sync += inside[n].eq(inside[n + 1] if n < 3 else 0)
        with b.m.If(taken & (count - left == n)):
            b.m.d.sync += inside[n].eq(needs)
    blocked = Cat(
        inside[0][name].pending & ((inside[0][name].ticket - queue.completed[name])[:8] < WINDOW)
        for name in (producer.name.lower() for producer in PRODUCERS[Unit.VECTOR])).any()
    was_free = Signal()
    b.m.d.sync += was_free.eq((was_free | (count != 0) & ~blocked) & ~left)
    b.promise("leaves_when_its_tickets_were_completed", ~queue.o.valid | was_free)
    level = in_order(b, taken, given[:SHAPE], left, Value.cast(queue.o.payload)[:SHAPE],
                     capacity=3)
    _soon(b, "shown_soon", (level != 0) & ~blocked, queue.o.valid, 3)
    b.reach("one_waited", queue.blocked & (count == 3))


_RAM = "hw.common.ram:Queue"

PROOFS = (
    Proof("buffer", "Buffer: nothing is lost, doubled or reordered; both ends obey the stream "
          "rules; an empty one shows a payload after 1 cycle.",
          _fifo(lambda: Buffer(shape=SHAPE), capacity=2, room=1, latency=0), reach=8, quick=True,
          faults=(Fault("takes a third payload", "hw.common.ram:Buffer",
                        "self.i.ready.eq(~spare_full)", "self.i.ready.eq(1)"),)),
    *(Proof(f"queue of {depth}", f"Queue of depth {depth}: the same, after 2 cycles; "
            f"{depth + 1} payloads fit.",
            _fifo(lambda depth=depth: Queue(shape=SHAPE, depth=depth), capacity=depth + 1,
                  room=depth, latency=1), reach=depth + 8, quick=depth == 2,
            limits="Other depths than 2, 4 and 8. Payloads have 2 bits: none is looked at.",
            faults=faults)
      for depth, faults in (
          (2, (Fault("room for one more than there is", "hw.common.ram:_Rows",
                     "level != self.depth - 1", "level != self.depth"),)),
          (4, (Fault("goes on when its output is not taken", _RAM,
                     "rows.filled & (~self.o.valid | self.o.ready)", "rows.filled"),)),
          (8, (Fault("reads what is written in the same cycle", _RAM,
                     "rows.pull.eq(rows.filled & ",
                     "rows.pull.eq((rows.filled | rows.push) & "),)))),
    Proof("deep queue", "DeepQueue of depth 2, with 4 places behind it: the same, after 5 cycles; "
          "6 payloads fit.",
          _fifo(lambda: _SmallDeepQueue(shape=1, depth=2), capacity=6, room=2, latency=4),
          method="bounded 18", reach=18, limits="Longer runs; other depths; 16 places, as it has.",
          faults=(Fault("says a cycle too early that it read", "hw.common.ram:DeepQueue",
                        "ready.i.valid.eq(read)", "ready.i.valid.eq(rows.pull)"),)),
    Proof("places of a deep queue", "DeepQueue of depth 4: the queue behind the block RAM, of 16 "
          "places, has room for what leaves it; an empty one shows a payload after 5 cycles.",
          _places, reach=16, limits="Other depths. Which payload leaves: see above.",
          faults=(Fault("counts on a place too many", "hw.common.ram:DeepQueue",
                        "place.eq(places > 1)", "place.eq(places > 0)"),)),
    Proof("unit queue", "UnitQueue of depth 2: nothing is lost, doubled or reordered, and no "
          "instruction leaves before there was a moment at which none of its tickets was one of "
          "the next to complete.",
          _unit_queue, reach=16,
          faults=(Fault("looks at all tickets but the last", "hw.control.queue:UnitQueue",
                        "~Cat(blocked).any()", "~Cat(blocked[:-1]).any()"),)),
)
