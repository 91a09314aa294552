"""The k largest of what comes, position by position, and the best of those."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from assembler import tables
from assembler.sampling import MAX_TOP_K
from hw.float import delay
from hw.ram import BlockRam, Queue
from hw.signatures import TOKEN_BITS, position_shape


__all__ = ["KEY_BITS", "Candidates", "candidate_layout"]


KEY_BITS = 33
_READ    = 2               # cycles from an address to a candidate in a register

_stored_layout = data.StructLayout({
    "row": TOKEN_BITS, "key": signed(KEY_BITS), "g": signed(tables.GUMBEL_WIDTH),
})


def candidate_layout(config):
    """A row of ``position`` with its key and variate; ``first``: those before are forgotten."""
    return data.StructLayout({
        "valid": 1, "position": position_shape(config), "first": 1, "stored": _stored_layout,
    })


class Candidates(wiring.Component):
    """Top-k: of all rows of a position the ``limit`` with the largest keys, the lowest rows first
    among equals; and of those, the row with the largest ``key + g``.

    Candidates lie in block RAM, without order. The smallest is known: a row with a larger key takes
    its place, and then all are looked through for the smallest. That takes ``limit + 16`` cycles,
    while what comes is queued; a row that does not beat the smallest takes 10, but the user filters
    most of those by ``least``.

    Cost at 8 positions (Yosys 0.70): 600 LUT4, 410 flip-flops and 6 block RAMs.

    Parameters
    ----------
    config : Config
    depth : int
        Rows that can wait: a power of two. The user sees to it that there is room.

    Members
    -------
    i : :py:`In(candidate_layout(config))`
        Rows ascending, from ``first`` on.
    taken : :py:`Out(1)`
        Strobe for each of them: it does not wait any more.
    position, limit : :py:`Out(position_shape(config))`, :py:`In(range(MAX_TOP_K + 1))`
        The limit of a position, in the same cycle; at least 1.
    least_valid, least_ready, least : :py:`Out(1)`, :py:`In(1)`, :py:`Out(signed(KEY_BITS))`
        Smallest key of ``position``, once there are ``limit``: rows up to it may be left out.
    collect : :py:`In(config.positions)`
        Level: the positions whose best row is wanted, when no row waits.
    found, row : :py:`Out(config.positions)`, :py:`Out(TOKEN_BITS)`
        Strobe of a position: it is ``row``.
    collected : :py:`Out(1)`
        All of ``collect`` were found; until it is 0.

    Golden twin: :class:`sim.golden.sampler.Sampler`.
    """
    def __init__(self, *, config, depth):
        self.config = config
        self.depth  = depth
        super().__init__({
            "i":           In(candidate_layout(config)),
            "taken":       Out(1),
            "position":    Out(position_shape(config)),
            "limit":       In(range(MAX_TOP_K + 1)),
            "least_valid": Out(1),
            "least_ready": In(1),
            "least":       Out(signed(KEY_BITS)),
            "collect":     In(config.positions),
            "found":       Out(config.positions),
            "row":         Out(TOKEN_BITS),
            "collected":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        positions = self.config.positions
        m.submodules.waiting = waiting = Queue(shape=self.i.shape(), depth=self.depth)
        m.d.comb += [waiting.i.payload.eq(self.i), waiting.i.valid.eq(self.i.valid)]
        head = Signal(candidate_layout(self.config), reset_less=True)

        place_bits = ceil_log2(MAX_TOP_K)
        # Yosys takes logic for fewer than 64 rows: 300 LUT4 instead of three block RAMs.
        m.submodules.rows = rows = BlockRam(shape=_stored_layout,
                                            depth=max(64, MAX_TOP_K * positions))
        state_layout = data.StructLayout({"count": range(MAX_TOP_K + 1), "least": place_bits})
        m.submodules.states = states = Memory(shape=state_layout, depth=positions, init=[])
        known, learn = states.read_port(domain="comb"), states.write_port()

        # What is compared: candidates, one a cycle, or the row that came. The larger is the one
        # with the larger value, of equal ones that with the lower row. A comparison is long, so
        # what follows from it is decided in the next cycle: every other candidate is compared with
        # the same `best`, and in the end the two, which take turns, with each other.
        entry_layout = data.StructLayout({
            "at": place_bits, "behind": TOKEN_BITS, "value": signed(KEY_BITS + 1),
        })

        def order(entry):
            return entry.as_value()[place_bits:].as_signed()

        position = Signal.like(self.position)
        at       = Signal(place_bits)       # candidate to be read
        reading  = Signal()
        initial  = Signal(2)                # candidates to come that replace what is best
        merging  = Signal()                 # compare the two
        drawing  = Signal()                 # the largest with its variate, not the smallest key
        from_head = Signal()                # compare the row that came
        arrives, starts, place = (delay(m, field, _READ, reset_less=False)
                                  for field in (reading, initial[0], at))
        m.d.comb += [
            rows.read_address.eq(Cat(at, position)),
            rows.read_enable.eq(1),
        ]
        stored = data.View(_stored_layout, delay(m, rows.read_data.as_value(), 1))
        row = Mux(from_head, head.stored.row, stored.row)
        key = Mux(from_head, head.stored.key, stored.key)
        one, best, one_before, best_before = (
            Signal(entry_layout, name=name, reset_less=True)
            for name in ("one", "best", "one_before", "best_before"))
        m.d.sync += [
            one.at.eq(place),
            one.behind.eq(~row),
            one.value.eq(key + Mux(drawing, stored.g, 0)),
        ]
        with m.If(merging):
            m.d.sync += one.eq(best)
        compared = delay(m, arrives | merging, 2, reset_less=False)
        replaces = delay(m, starts, 2)
        larger   = Signal()
        m.d.sync += [
            larger.eq(order(one) > order(best)),
            one_before.eq(one),
            best_before.eq(best),
            best.eq(Mux(compared & (replaces | (larger == drawing)), one_before, best_before)),
        ]

        count   = Signal(range(MAX_TOP_K + 1))
        last    = Signal(range(MAX_TOP_K + 1))      # candidates to go through
        pending = Signal(positions)                 # of `collect`
        waited  = Signal(3)
        m.d.comb += [
            known.addr.eq(position),
            learn.addr.eq(position),
            self.position.eq(position),
            self.least.eq(best.value),
            self.row.eq(~best.behind),
            rows.write_address.eq(Cat(known.data.least, position)),
            rows.write_data.eq(head.stored),
        ]
        m.d.sync += waited.eq(0)
        with m.FSM():
            with m.State("rest"):
                m.d.comb += [waiting.o.ready.eq(1), self.taken.eq(waiting.o.valid)]
                m.d.sync += [
                    head.eq(waiting.o.payload),
                    position.eq(waiting.o.payload.position),
                    at.eq(0),
                    drawing.eq(0),
                    initial.eq(~0),
                ]
                with m.If(waiting.o.valid):
                    m.next = "know"
                with m.Elif(self.collect.any()):
                    m.d.sync += [pending.eq(self.collect), position.eq(0), drawing.eq(1)]
                    m.next = "collect"
            with m.State("know"):
                m.d.sync += [
                    count.eq(Mux(head.first, 0, known.data.count)),
                    last.eq(self.limit),
                ]
                m.next = "look"
            with m.State("look"):
                with m.If(count == last):
                    m.d.sync += at.eq(known.data.least)
                    m.next = "check"
                with m.Else():
                    m.d.comb += [
                        rows.write_address.eq(Cat(count[:place_bits], position)),
                        rows.write_enable.eq(1),
                        learn.en.eq(1),
                        learn.data.count.eq(count + 1),
                        learn.data.least.eq(0),
                    ]
                    m.next = "rest"
                    with m.If(count + 1 == last):
                        m.next = "scan"
            with m.State("check"):
                # The smallest, and the row that came right behind it.
                m.d.comb += [reading.eq(waited == 0), from_head.eq(waited == _READ + 2)]
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == _READ + 4):
                    m.d.sync += [waited.eq(0), at.eq(0)]
                    m.next = "rest"
                    with m.If(larger):
                        m.d.comb += rows.write_enable.eq(1)
                        m.next = "scan"
            with m.State("scan"):
                # At least two, so that both are new; a lone candidate is compared with itself.
                is_last = at == (last - 1)[:place_bits]
                m.d.comb += reading.eq(1)
                m.d.sync += [at.eq(at + ~is_last), initial.eq(initial >> 1)]
                with m.If(is_last & ~initial[1]):
                    m.next = "settle"
            with m.State("settle"):
                m.d.comb += merging.eq((waited == _READ + 1) | (waited == _READ + 2))
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == _READ + 3):
                    m.next = "tell"
            with m.State("tell"):
                with m.If(drawing):
                    m.d.comb += self.found.eq(1 << position)
                    m.d.sync += [position.eq(position + 1), at.eq(0), initial.eq(~0)]
                    m.next = "collect"
                    with m.If(position == positions - 1):
                        m.next = "end"
                with m.Else():
                    m.d.comb += [
                        learn.en.eq(self.least_ready),
                        learn.data.count.eq(last),
                        learn.data.least.eq(best.at),
                        self.least_valid.eq(1),
                    ]
                    with m.If(self.least_ready):
                        m.next = "rest"

            with m.State("collect"):
                m.d.sync += last.eq(known.data.count)
                with m.If(pending.bit_select(position, 1)):
                    m.next = "scan"
                with m.Else():
                    m.d.sync += position.eq(position + 1)
                    with m.If(position == positions - 1):
                        m.next = "end"
            with m.State("end"):
                m.d.comb += self.collected.eq(1)
                with m.If(~self.collect.any()):
                    m.next = "rest"
        return m
