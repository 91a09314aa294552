"""Top-k: the k rows with the largest keys for each position, and the best of them."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import tables
from tern_fpga.assembler.contract.sampling import MAX_TOP_K
from tern_fpga.hw.common.float import delay
from tern_fpga.hw.common.ram import BlockRam, Queue
from tern_fpga.hw.common.signatures import TOKEN_BITS, position_shape


__all__ = ["KEY_BITS", "Candidates", "candidate_layout"]


KEY_BITS = 33
_READ    = 2               # cycles from an address to a candidate in a register

_stored_layout = data.StructLayout({
    "row": TOKEN_BITS, "key": signed(KEY_BITS), "g": signed(tables.GUMBEL_WIDTH),
})


def candidate_layout(config):
    """A row of ``position`` with its key and variate. ``first``: earlier candidates of the position
    are dropped.
    """
    return data.StructLayout({
        "valid": 1, "position": position_shape(config), "first": 1, "stored": _stored_layout,
    })


class Candidates(wiring.Component):
    """Keep the ``limit`` rows with the largest keys for each position, and choose among them.

    ``kept[p] = the limit[p] rows with the largest key``, lowest rows first among equal keys;
    ``row[p] = argmax over kept[p] of key + g``, lowest row on ties.

    Protocol: candidates are in block RAM, unordered, and the place of the smallest is known. A row
    with a larger key replaces it; then all are scanned for the new smallest, while further rows
    wait in a queue.

    Throughput: a row in ``limit + 16`` cycles if it replaces a candidate, in 10 if not. The block
    in front (:class:`hw.sample.draw.Draw`) filters most of the latter by ``least``.

    Cost: part of the array unit in ``docs/reports/area.md``.

    Parameters
    ----------
    config : assembler.contract.config.Config
    depth : int
        Rows that can wait, a power of two. The block in front must count them: ``i`` has no
        back-pressure.

    Members
    -------
    i : :py:`In(candidate_layout(config))`
        Rows in ascending order from ``first`` on.
    taken : :py:`Out(1)`
        Strobe per row: it has left the queue.
    position, limit : :py:`Out(position_shape(config))`, :py:`In(range(MAX_TOP_K + 1))`
        The limit of ``position``, in the same cycle; at least 1.
    least_valid, least_ready, least : :py:`Out(1)`, :py:`In(1)`, :py:`Out(signed(KEY_BITS))`
        Smallest key kept for ``position``, once ``limit`` rows are kept. Rows with a key up to
        it need not be sent.
    collect : :py:`In(config.positions)`
        Level: the positions whose best row is to be found, when no row waits.
    found, row : :py:`Out(config.positions)`, :py:`Out(TOKEN_BITS)`
        Strobe of a position: its best row is ``row``.
    collected : :py:`Out(1)`
        Level: the best rows of all of ``collect`` were found; until ``collect`` is 0.

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
        # Below 64 rows Yosys builds the memory of logic, 300 LUT4 instead of three block RAMs.
        m.submodules.rows = rows = BlockRam(shape=_stored_layout,
                                            depth=max(64, MAX_TOP_K * positions))
        state_layout = data.StructLayout({"count": range(MAX_TOP_K + 1), "least": place_bits})
        m.submodules.states = states = Memory(shape=state_layout, depth=positions, init=[])
        known, learn = states.read_port(domain="comb"), states.write_port()

        # The comparator takes candidates, one a cycle, or the new row. The larger value wins, and
        # among equal values the lower row, so `behind` is the inverted row number below the value.
        # A comparison of 58 bits fills a cycle, so its result is used a cycle later. Hence two
        # running bests, one of the candidates at even places and one of those at odd places. They
        # take turns in `best`, and are compared with each other at the end
        # (docs/decisions/sampling.md).
        entry_layout = data.StructLayout({
            "at": place_bits, "behind": TOKEN_BITS, "value": signed(KEY_BITS + 1),
        })

        def order(entry):
            return entry.as_value()[place_bits:].as_signed()

        position = Signal.like(self.position)
        at       = Signal(place_bits)       # candidate to be read
        reading  = Signal()
        initial  = Signal(2)                # candidates that replace `best` without comparison
        merging  = Signal()                 # compare the two bests
        drawing  = Signal()                 # find the largest key + g, not the smallest key
        from_head = Signal()                # compare the new row
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
        last    = Signal(range(MAX_TOP_K + 1))      # number of candidates to scan
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
            # Until `limit` rows are kept, each new one is added without a comparison.
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
                # The new row follows the smallest candidate through the comparator.
                m.d.comb += [reading.eq(waited == 0), from_head.eq(waited == _READ + 2)]
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == _READ + 4):
                    m.d.sync += [waited.eq(0), at.eq(0)]
                    m.next = "rest"
                    with m.If(larger):
                        m.d.comb += rows.write_enable.eq(1)
                        m.next = "scan"
            with m.State("scan"):
                # At least two steps, so that both bests are replaced: a lone candidate is read
                # twice and compared with itself.
                is_last = at == (last - 1)[:place_bits]
                m.d.comb += reading.eq(1)
                m.d.sync += [at.eq(at + ~is_last), initial.eq(initial >> 1)]
                with m.If(is_last & ~initial[1]):
                    m.next = "settle"
            # Wait until the last candidate has passed, then compare the two bests.
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
