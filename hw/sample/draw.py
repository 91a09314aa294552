"""Random choice of tokens: temperature, top-k and repetition penalty."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import sampling, tables
from tern_fpga.assembler.contract.registers import PAYLOAD_BITS, MessageKind
from tern_fpga.hw.common.float import delay, float_layout
from tern_fpga.hw.common.ram import BlockRam
from tern_fpga.hw.common.signatures import (
    TOKEN_BITS,
    choice_layout,
    draw_layout,
    position_shape,
    step_layout,
)
from tern_fpga.hw.sample.candidates import KEY_BITS, Candidates
from tern_fpga.hw.sample.gumbel import Gumbel


__all__ = ["Draw"]


_FACTOR_BITS     = 17                   # of the factor that multiplies sums
_FACTOR_FRACTION = 20
_GREEDY_FACTOR   = 1 << 15
_SIGNIFICAND     = 16                   # bits of the scale's significand that are used
_CUT             = _FACTOR_FRACTION - tables.GUMBEL_FRACTION
_SCORE_BITS      = KEY_BITS + 1         # |sum| <= 2**23, so |key| < 2**(23 + 17 - 8)
_HALVES          = 2                    # rows in a word of the memory of seen tokens
_DEPTH           = 64                   # sums in flight, those that wait for `Candidates` included
_STILL_COME      = 8                    # sums that may still follow when `pause` rises

_factors_layout = data.StructLayout({
    "plain": _FACTOR_BITS, "above": _FACTOR_BITS, "below": _FACTOR_BITS,
})
_penalty_layout = data.StructLayout({
    "reward": sampling.PENALTY_BITS, "penalty": sampling.PENALTY_BITS,
})


class Draw(wiring.Component):
    """Choose a token for each position by the Gumbel-max trick, from one sum a cycle.

    ``ids[p] = argmax over rows of key + g``, lowest row on ties, with ``key = floor(sums[row][p]
    * factor / 2**8)`` and ``factor = round(scale[p] / temperature * 2**20)``, 17 bits, saturated.
    g is the :class:`hw.sample.gumbel.Gumbel` variate of the slot's seed, the number of tokens
    that the slot has sampled, and the row. That is a draw from softmax(sums * scale /
    temperature). With a repetition penalty, rows that the slot has seen have
    ``floor(factor * penalty)`` if their sum is negative, else ``floor(factor / penalty)``. With
    top-k only the rows with the k largest keys take part. A slot with temperature 0 has
    ``factor = 2**15`` and no g, which gives its largest sum: it is greedy.

    Protocol, while ``active``: the drain raises ``prepare`` and rotates the scales at each
    ``next_scale`` until ``prepared``. Then it sends at most one sum a cycle on ``i``, and no new
    ones while ``pause``.

    Throughput: a sum a cycle, and up to 61 cycles a position to prepare an instruction. Latency:
    the best row is known :py:attr:`latency` cycles after the last sum; with top-k it takes
    ``k + 10`` cycles more for each position.

    Cost: part of the array unit in ``docs/reports/area.md``; ``docs/decisions/sampling.md`` has
    it alone.

    Parameters
    ----------
    config : assembler.contract.config.Config
    seen_tokens : int
        Token ids that a repetition penalty can apply to, from 0 on; a power of two.

    Members
    -------
    choice : :py:`In(choice_layout(config))`
        Settings and tokens of the slots, between steps.
    forgetting : :py:`Out(1)`
        Level: the slot's seen tokens are being cleared because of a setting, one id a cycle.
        Rises in the third cycle after the setting.
    step : :py:`In(step_layout(config))`
        Stable while an instruction executes.
    active : :py:`Out(1)`
        Level: a position that this step samples has a temperature or a penalty, so its token
        need not be the largest sum.
    prepare, prepared : :py:`In(1)`, :py:`Out(1)`
        Level: make factors of the scales. Strobe: done. Waits for sums still in flight.
    scale, next_scale : :py:`In(config.float.width)`, :py:`Out(1)`
        Float word, position 0 first. Strobe: show the next position's.
    i : :py:`In(draw_layout(config))`
        Sums of the sampled positions, ascending, row after row.
    pause : :py:`Out(1)`
        Level: send no more sums. Up to 8 may still follow.
    emit, emitted : :py:`In(1)`
        Level: all rows were sent. Strobe: the tokens were taken.
    better, row : :py:`Out(config.positions)`, :py:`Out(TOKEN_BITS)`
        Strobe of a position: ``row`` is its best row so far.
    busy : :py:`Out(1)`
        Level: a better row may follow. Rises in the second cycle after the first sum.

    Golden twin: :class:`sim.golden.sampler.Sampler`.

    Source: ``docs/decisions/sampling.md`` has the measurements and the rejected alternatives.
    """
    latency = 2 + Gumbel.latency + 3        # from a sum to `better`, without top-k

    def __init__(self, *, config, seen_tokens=sampling.SEEN_TOKENS):
        self.config = config
        self.seen_tokens = seen_tokens
        self._seen_bits = ceil_log2(seen_tokens)
        super().__init__({
            "choice":     In(choice_layout(config)),
            "forgetting": Out(1),
            "step":       In(step_layout(config)),
            "active":     Out(1),
            "prepare":    In(1),
            "prepared":   Out(1),
            "scale":      In(config.float.width),
            "next_scale": Out(1),
            "i":          In(draw_layout(config)),
            "pause":      Out(1),
            "emit":       In(1),
            "emitted":    In(1),
            "better":     Out(config.positions),
            "row":        Out(TOKEN_BITS),
            "busy":       Out(1),
        })

    def _memory(self, m, name, shape):
        """A word for each slot or position in distributed RAM; returns (read port, write port)."""
        m.submodules[name] = memory = Memory(shape=shape, depth=self.config.positions, init=[])
        return memory.read_port(domain="comb"), memory.write_port()

    def _slot_of(self, position):
        """The slot whose stream ``position`` belongs to: in a prefill step there is only one."""
        return Mux(self.step.chain, self.step.slot, position)

    def elaborate(self, platform):
        m = Module()
        positions = self.config.positions

        # Settings, one word for each slot
        choice = data.View(self.choice.shape(), delay(m, self.choice, 1, reset_less=False))
        inverses, set_inverse   = self._memory(m, "inverses", sampling.INVERSE_BITS)
        penalties, set_penalty  = self._memory(m, "penalties", _penalty_layout)
        limits, set_limit       = self._memory(m, "limits", range(sampling.MAX_TOP_K + 1))
        seeds, set_seed         = self._memory(m, "seeds", PAYLOAD_BITS)
        counts, set_count       = self._memory(m, "counts", PAYLOAD_BITS)
        tempered, limited, penalised = (Signal(positions, name=name) for name in
                                        ("tempered", "limited", "penalised"))
        for port in (set_inverse, set_penalty, set_limit, set_seed):
            m.d.comb += port.addr.eq(choice.slot)
            m.d.comb += Value.cast(port.data).eq(choice.payload)

        # Whether the payload, or its low bits, are nonzero: reduced in front of the register, so
        # that the flags are valid in the same cycle as `choice`.
        inverted, finite, some = (
            delay(m, self.choice.payload[:bits].any(), 1)
            for bits in (sampling.INVERSE_BITS, len(set_limit.data), PAYLOAD_BITS))

        def note(flags, value):
            m.d.sync += flags.bit_select(choice.slot, 1).eq(value)

        with m.If(choice.valid):
            with m.Switch(choice.kind):
                with m.Case(MessageKind.TEMPERATURE):
                    m.d.comb += set_inverse.en.eq(1)
                    note(tempered, inverted)
                with m.Case(MessageKind.TOP_K):
                    m.d.comb += set_limit.en.eq(1)
                    note(limited, finite)
                with m.Case(MessageKind.REPETITION):
                    m.d.comb += set_penalty.en.eq(1)
                    note(penalised, some)
                with m.Case(MessageKind.SEED):
                    m.d.comb += set_seed.en.eq(1)

        # Written a cycle later, so that the increment is between two registers. Two choices are
        # further apart than that.
        seeded  = choice.kind == MessageKind.SEED
        sampled = choice.kind == MessageKind.GENERATE
        m.d.comb += set_count.addr.eq(delay(m, choice.slot, 1))
        m.d.comb += set_count.en.eq(delay(m, choice.valid & (seeded | sampled), 1,
                                          reset_less=False))
        m.d.comb += set_count.data.eq(delay(m, Mux(seeded, 0, counts.data + 1), 1))

        # The same flags for the positions that this step samples.
        def by_position(flags):
            mask = Signal(positions)
            m.d.sync += mask.eq(self.step.sample & Mux(
                self.step.chain, flags.bit_select(self.step.slot, 1).replicate(positions), flags))
            return mask

        drawn = by_position(tempered)
        kept  = by_position(tempered & limited)
        lower = by_position(penalised)
        m.d.sync += self.active.eq((drawn | lower).any())

        on_way  = Signal(range(_DEPTH + 1))
        seen    = self._seen(m, choice, some)
        factors = self._prepare(m, on_way, drawn, lower, inverses, penalties)
        self._choose(m, choice, on_way, drawn, kept, lower, limits, seeds, counts, seen, factors)
        return m

    def _seen(self, m, choice, some):
        """Which slots have seen which row, a bit each, in block RAM.

        A word has ``_HALVES`` rows for each slot, which makes the memory shallow enough that no
        multiplexer has to choose between block RAMs in front of the register behind them.
        """
        positions = self.config.positions
        depth = self.seen_tokens // _HALVES
        m.submodules.seen = seen = BlockRam(shape=data.ArrayLayout(1, _HALVES * positions),
                                            depth=depth, masked=True)
        place = Signal(self._seen_bits)
        slot  = Signal.like(choice.slot)
        bit   = 1 << Cat(place[ceil_log2(depth):], slot)
        m.d.comb += [
            seen.read_enable.eq(1),
            seen.write_address.eq(place),
            Value.cast(seen.write_data).eq((~self.forgetting).replicate(_HALVES * positions)),
            seen.write_enable.eq(Mux(self.forgetting, bit, 0)),
        ]
        with m.If(self.forgetting):
            m.d.sync += [place.eq(place + 1), self.forgetting.eq(~place.all())]
        with m.Elif(choice.valid):
            m.d.sync += slot.eq(choice.slot)
            m.d.sync += place.eq(choice.payload)
            with m.If((choice.kind == MessageKind.REPETITION) & some):
                m.d.sync += [place.eq(0), self.forgetting.eq(1)]
        joins = Signal()        # a token to mark as seen
        m.d.sync += joins.eq(choice.valid & ~choice.payload[self._seen_bits:].any() & (
            (choice.kind == MessageKind.PROMPT) | (choice.kind == MessageKind.GENERATE)))
        with m.If(joins):
            m.d.comb += seen.write_enable.eq(bit)
        return seen

    def _prepare(self, m, on_way, drawn, lower, inverses, penalties):
        """Make the factors of all positions from their scales; returns the factors' read port."""
        fmt = self.config.float
        factors, write = self._memory(m, "factors", _factors_layout)
        scale   = data.View(float_layout(fmt), self.scale)
        at      = Signal(position_shape(self.config))
        a       = Signal(_FACTOR_BITS, reset_less=True)
        b       = Signal(sampling.INVERSE_BITS, reset_less=True)
        product = Signal(len(a) + len(b), reset_less=True)
        rest    = Signal(len(product) + 1)      # twice the factor, shifted down to its place
        rounded = Signal(_FACTOR_BITS + 1, reset_less=True)
        excess  = Signal()                      # the factor is larger than `rounded` holds
        # factor = significand / 2**15 * 2**(exponent - bias) * inverse / 2**12 * 2**20: `left` is
        # the shift to the right that is still to be done.
        base    = _SIGNIFICAND - 1 + sampling.INVERSE_FRACTION - _FACTOR_FRACTION + fmt.bias
        left    = Signal(signed(fmt.exponent + 1))
        factor  = Signal(_factors_layout, reset_less=True)
        slot    = Signal.like(at)
        m.d.comb += [
            slot.eq(self._slot_of(at)),
            inverses.addr.eq(slot),
            penalties.addr.eq(slot),
            write.addr.eq(at),
            write.data.eq(factor),
        ]
        m.d.sync += product.eq(a * b)

        def saturated(value):
            return Mux(value[_FACTOR_BITS:].any(), ~0, value[:_FACTOR_BITS])

        significand = Cat(C(0, _SIGNIFICAND), scale.mantissa, scale.exponent.any())[-_SIGNIFICAND:]
        with m.FSM():
            with m.State("rest"):
                m.d.sync += at.eq(0)
                with m.If(self.prepare & (on_way == 0)):    # sums in flight need the old factors
                    m.next = "scale"
            with m.State("scale"):
                m.d.comb += self.next_scale.eq(1)
                m.d.sync += [
                    a.eq(significand),
                    b.eq(inverses.data),
                    left.eq(base - scale.exponent),
                    factor.plain.eq(_GREEDY_FACTOR),
                ]
                m.next = "penalty"
                with m.If(drawn.bit_select(at, 1)):
                    m.next = "multiply"
            with m.State("multiply"):
                m.next = "load"
            with m.State("load"):
                m.d.sync += rest.eq(product << 1)
                m.next = "shift"
            # One place a cycle, not a barrel shifter: it happens once per position and instruction.
            with m.State("shift"):
                m.d.sync += [
                    rest.eq(rest >> 1),
                    left.eq(left - 1),
                    rounded.eq(rest[1:_FACTOR_BITS + 1] + rest[0]),
                    excess.eq(rest[_FACTOR_BITS + 1:].any() | ((left < 0) & rest.any())),
                ]
                with m.If(left <= 0):
                    m.next = "round"
            with m.State("round"):
                m.d.sync += factor.plain.eq(saturated(Cat(rounded, excess)))
                m.next = "penalty"
            # The same multiplier serves temperature and both penalties, one after the other.
            with m.State("penalty"):
                m.d.sync += [a.eq(factor.plain), b.eq(penalties.data.penalty)]
                m.next = "store"
                with m.If(lower.bit_select(at, 1)):
                    m.next = "reward"
            with m.State("reward"):
                m.d.sync += b.eq(penalties.data.reward)
                m.next = "below"
            with m.State("below"):
                m.d.sync += factor.below.eq(saturated(product[sampling.PENALTY_FRACTION:]))
                m.next = "above"
            with m.State("above"):
                m.d.sync += factor.above.eq(product[sampling.REWARD_FRACTION:])
                m.next = "store"
            with m.State("store"):
                m.d.comb += write.en.eq(1)
                m.d.sync += at.eq(at + 1)
                m.next = "scale"
                with m.If(at == self.config.positions - 1):
                    m.d.comb += self.prepared.eq(1)
                    m.next = "rest"
        return factors

    def _choose(self, m, choice, on_way, drawn, kept, lower, limits, seeds, counts, seen,
                factors):
        """From sums to the best row so far of each position."""
        config = self.config
        m.submodules.gumbel     = gumbel     = Gumbel()
        m.submodules.candidates = candidates = Candidates(config=config, depth=_DEPTH)
        rows = Signal(TOKEN_BITS)
        with m.If(self.i.valid & self.i.last):
            m.d.sync += rows.eq(rows + 1)
        with m.If(self.emitted):
            m.d.sync += rows.eq(0)

        # The key of the random bits, and whether the slot has seen the row.
        position = delay(m, self.i.position, 1)
        slot     = delay(m, self._slot_of(self.i.position), 1)
        row      = delay(m, rows, 1)
        m.d.comb += [
            seeds.addr.eq(slot),
            counts.addr.eq(Mux(choice.valid, choice.slot, slot)),
            seen.read_address.eq(rows),
            gumbel.i.row.eq(delay(m, row, 1)),
        ]
        m.d.sync += [gumbel.i.seed.eq(seeds.data), gumbel.i.count.eq(counts.data)]
        repeats = delay(m, lower.bit_select(position, 1) & ~row[self._seen_bits:].any(), 1)
        half    = row[self._seen_bits - ceil_log2(_HALVES):self._seen_bits]
        of_row  = delay(m, Cat(half, slot), 1)
        has     = delay(m, seen.read_data.as_value(), 1).bit_select(of_row, 1)
        repeats = delay(m, repeats & has, 1)

        # The sum is delayed until the variate is ready. Stages: read factors, choose the factor,
        # two partial products, key.
        wait  = 2 + Gumbel.latency
        valid = delay(m, self.i.valid, wait, reset_less=False)
        value = delay(m, self.i.value, wait - 3)
        position = delay(m, position, wait - 5)
        m.d.comb += factors.addr.eq(position)
        options = data.View(_factors_layout, delay(m, factors.data.as_value(), 1))
        factor  = delay(m, Mux(delay(m, repeats, wait - 6),
                               Mux(value < 0, options.below, options.above), options.plain), 1)
        value   = delay(m, value, 1)
        # Halves of the sum, so that each product fits an 18 x 18 multiplier.
        half    = len(value) // 2
        low     = Signal(signed(half + 1 + _FACTOR_BITS), reset_less=True)
        high    = Signal(signed(half + 1 + _FACTOR_BITS), reset_less=True)
        m.d.sync += [
            low.eq(value[:half] * factor),
            high.eq(value[half:].as_signed() * factor),
        ]
        key = Signal(signed(KEY_BITS), reset_less=True)
        m.d.sync += key.eq((high << half - _CUT) + low[_CUT:].as_signed())

        # The threshold: the best score so far, or, with top-k, the smallest key of the candidates.
        before   = delay(m, position, 3)
        position = delay(m, before, 1)
        keep     = delay(m, kept.bit_select(before, 1), 1)
        chance   = delay(m, (drawn & ~kept).bit_select(before, 1), 1)
        score    = Signal(signed(_SCORE_BITS), reset_less=True)
        m.d.sync += score.eq(key + Mux(chance, gumbel.o, 0))
        variate  = delay(m, gumbel.o, 1)
        coming   = position
        position, keep = delay(m, position, 1), delay(m, keep, 1)
        done     = delay(m, valid, 1, reset_less=False)
        ends     = delay(m, self.i.last, wait + 1)
        row      = Signal(TOKEN_BITS)
        first    = Signal(init=1)           # row is 0
        with m.If(done & ends):
            m.d.sync += [row.eq(row + 1), first.eq(0)]
        with m.If(self.emitted):
            m.d.sync += [row.eq(0), first.eq(1)]
        # A comparison fills a cycle, and its result is used in the next. So a sum is compared both
        # with the threshold from before its predecessor and with the predecessor's own score, which
        # may become the threshold; `change_made & behind` says which comparison counts. A cycle
        # without a sum takes a new threshold from the candidates.
        bests, write = self._memory(m, "bests", signed(_SCORE_BITS))
        change = Signal(data.StructLayout({
            "position": position_shape(config), "best": signed(_SCORE_BITS)}))
        best, above_best, above_last, behind = (
            Signal(signed(_SCORE_BITS), reset_less=True), Signal(), Signal(), Signal())
        learns = Signal()
        m.d.comb += [
            change.position.eq(Mux(done, position, candidates.position)),
            # With top-k a row's own score is no threshold: the least value lets all rows pass.
            change.best.eq(Mux(done, Mux(keep, -1 << KEY_BITS, score), candidates.least)),
            candidates.least_ready.eq(~done),
            learns.eq(~done & candidates.least_valid),
        ]
        changed = delay(m, change, 1)
        written = delay(m, changed, 1)
        m.d.sync += [
            above_best.eq(score > best),
            above_last.eq(score > changed.best),
            behind.eq(position == changed.position),
        ]
        changes, change_made, beats = Signal(), Signal(), Signal()
        done, learns = (delay(m, flag, 1, reset_less=False) for flag in (done, learns))
        position, keep, its_row, is_first, score, variate = (
            delay(m, field, 1) for field in (position, keep, row, first, score, variate))
        m.d.comb += [
            beats.eq(done & (is_first | Mux(change_made & behind, above_last, above_best))),
            changes.eq((beats & (~keep | is_first)) | learns),
            bests.addr.eq(coming),
            write.addr.eq(written.position),
            write.data.eq(written.best),
            write.en.eq(change_made),
        ]
        # Bypass of the two changes that the memory of thresholds does not have yet.
        m.d.sync += [change_made.eq(changes), best.eq(bests.data)]
        with m.If(changes & (changed.position == coming)):
            m.d.sync += best.eq(changed.best)
        with m.Elif(change_made & (written.position == coming)):
            m.d.sync += best.eq(written.best)
        m.d.comb += [
            limits.addr.eq(self._slot_of(candidates.position)),
            candidates.limit.eq(limits.data),
        ]
        kept_now, gone = Signal(), Signal()
        m.d.sync += [
            kept_now.eq(beats & keep),
            gone.eq(done & ~(beats & keep)),
            candidates.i.position.eq(position),
            candidates.i.first.eq(is_first),
            candidates.i.stored.row.eq(its_row),
            candidates.i.stored.key.eq(score),
            candidates.i.stored.g.eq(variate),
        ]
        m.d.comb += candidates.i.valid.eq(kept_now)
        m.d.sync += [
            self.better.eq(((beats & ~keep) << position) | candidates.found),
            self.row.eq(Mux(candidates.found.any(), candidates.row, its_row)),
        ]

        # `pause` rises early enough for the sums that the drain has already sent.
        collected = Signal()
        m.d.sync += [
            on_way.eq(on_way + self.i.valid - gone - candidates.taken),
            self.pause.eq(on_way >= _DEPTH - _STILL_COME),
            self.busy.eq((on_way != 0) | self.better.any() | (kept.any() & ~collected)),
            collected.eq((collected | candidates.collected) & ~self.emitted),
        ]
        with m.If(self.emit & (on_way == 0) & ~collected):
            m.d.comb += candidates.collect.eq(kept)
