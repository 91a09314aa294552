"""The choice of tokens by chance."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from assembler import tables
from assembler.registers import PAYLOAD_BITS, MessageKind
from assembler.sampling import INVERSE_BITS, INVERSE_FRACTION
from hw.float import delay
from hw.gumbel import Gumbel
from hw.signatures import TOKEN_BITS, choice_layout, draw_layout, position_shape, step_layout


__all__ = ["Draw"]


_FACTOR_BITS     = 17                   # of what sums are multiplied with
_FACTOR_FRACTION = 20
_GREEDY_FACTOR   = 1 << 15
_SIGNIFICAND     = 16                   # bits of the scale's significand that count
_CUT             = _FACTOR_FRACTION - tables.GUMBEL_FRACTION
_KEY_BITS        = 33                   # |sum| <= 2**23, so |key| < 2**(23 + 17 - 8)
_SCORE_BITS      = _KEY_BITS + 1
_DEPTH           = 64                   # sums that may be on their way


class Draw(wiring.Component):
    """Temperature sampling by the Gumbel-max trick, position after position.

    ``ids[p] = argmax over rows of floor(sums[row][p] * factor[p] / 2**8) + g``, the lowest row on
    ties, with ``factor = round(scale[p] / temperature * 2**20)`` of 17 bits (saturated) and g the
    :class:`hw.gumbel.Gumbel` variate of the slot's seed, the number of tokens that it has
    sampled, and the row. That is a draw from softmax(sums * scale / temperature). A slot with
    temperature 0 has ``factor = 2**15`` and no g: the largest sum, as if it were alone.

    Protocol: with ``active``, an instruction's scales are asked for by ``prepare``, which takes up
    to 60 cycles a position, then a sum comes in each cycle at most, and none while ``pause``.

    Parameters
    ----------
    config : Config

    Members
    -------
    choice : :py:`In(choice_layout(config))`
        Settings and tokens of the slots, between steps.
    step : :py:`In(step_layout(config))`
        Stable while an instruction is in work.
    active : :py:`Out(1)`
        A position that this step samples is not greedy.
    prepare, prepared : :py:`In(1)`, :py:`Out(1)`
        Level, and the strobe that ends it.
    scale, next_scale : :py:`In(config.float.width)`, :py:`Out(1)`
        Float word of position 0 first, and strobe for the next one's.
    i : :py:`In(draw_layout(config))`
        Sums of the positions that are sampled, ascending, row after row.
    pause : :py:`Out(1)`
    emitted : :py:`In(1)`
        Strobe: the tokens were taken; rows are counted from 0 again.
    better, row : :py:`Out(config.positions)`, :py:`Out(TOKEN_BITS)`
        Strobe of a position: the best row is now ``row``.
    busy : :py:`Out(1)`
        Sums are on their way; from the second cycle after the first one on.

    Golden twin: :class:`sim.golden.sampler.Sampler`.
    """
    latency = 2 + Gumbel.latency + 1        # from a sum to `better`

    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "choice":     In(choice_layout(config)),
            "step":       In(step_layout(config)),
            "active":     Out(1),
            "prepare":    In(1),
            "prepared":   Out(1),
            "scale":      In(config.float.width),
            "next_scale": Out(1),
            "i":          In(draw_layout(config)),
            "pause":      Out(1),
            "emitted":    In(1),
            "better":     Out(config.positions),
            "row":        Out(TOKEN_BITS),
            "busy":       Out(1),
        })

    def _memory(self, m, name, shape):
        """A word for each slot or position, in distributed RAM; (read port, write port)."""
        m.submodules[name] = memory = Memory(shape=shape, depth=self.config.positions, init=[])
        return memory.read_port(domain="comb"), memory.write_port()

    def elaborate(self, platform):
        m = Module()
        config = self.config
        positions = config.positions

        # Settings, by slot
        choice = data.View(self.choice.shape(), delay(m, self.choice, 1, reset_less=False))
        inverses, inverse_write = self._memory(m, "inverses", INVERSE_BITS)
        seeds, seed_write       = self._memory(m, "seeds", PAYLOAD_BITS)
        counts, count_write     = self._memory(m, "counts", PAYLOAD_BITS)
        tempered = Signal(positions)
        drawn    = Signal()                 # a token was: count it
        for port in (inverse_write, seed_write, count_write):
            m.d.comb += port.addr.eq(choice.slot)
        m.d.comb += [
            inverse_write.data.eq(choice.payload[:INVERSE_BITS]),
            seed_write.data.eq(choice.payload),
            count_write.data.eq(Mux(drawn, counts.data + 1, 0)),
        ]
        with m.If(choice.valid):
            with m.Switch(choice.kind):
                with m.Case(MessageKind.TEMPERATURE):
                    m.d.comb += inverse_write.en.eq(1)
                    m.d.sync += tempered.bit_select(choice.slot, 1).eq(
                        choice.payload[:INVERSE_BITS].any())
                with m.Case(MessageKind.SEED):
                    m.d.comb += [seed_write.en.eq(1), count_write.en.eq(1)]
                with m.Case(MessageKind.GENERATE):
                    m.d.comb += [drawn.eq(1), count_write.en.eq(1)]

        def slot_of(position):
            return Mux(self.step.chain, self.step.slot, position)

        m.d.sync += self.active.eq(Mux(
            self.step.chain, self.step.sample.any() & tempered.bit_select(self.step.slot, 1),
            (self.step.sample & tempered).any()))

        factors = self._prepare(m, slot_of, tempered, inverses)
        self._choose(m, slot_of, tempered, choice, seeds, counts, factors)
        return m

    def _prepare(self, m, slot_of, tempered, inverses):
        """Factors of all positions from their scales; returns where to read them."""
        fmt = self.config.float
        factors, write = self._memory(m, "factors", _FACTOR_BITS)
        scale = data.View(data.StructLayout({"mantissa": fmt.mantissa, "exponent": fmt.exponent,
                                             "sign": 1}), self.scale)
        at      = Signal(position_shape(self.config))
        a       = Signal(_SIGNIFICAND, reset_less=True)
        b       = Signal(INVERSE_BITS, reset_less=True)
        product = Signal(_SIGNIFICAND + INVERSE_BITS, reset_less=True)
        rest    = Signal(len(product) + 1)      # twice the factor, shifted down
        # significand / 2**15 * 2**(exponent - bias) * inverse / 2**12 * 2**20
        base    = _SIGNIFICAND - 1 + INVERSE_FRACTION - _FACTOR_FRACTION + fmt.bias
        left    = Signal(signed(fmt.exponent + 1))
        factor  = Signal(_FACTOR_BITS, reset_less=True)
        slot    = Signal.like(at)
        m.d.comb += [slot.eq(slot_of(at)), inverses.addr.eq(slot)]
        m.d.comb += [write.addr.eq(at), write.data.eq(factor)]
        m.d.sync += product.eq(a * b)

        significand = Cat(C(0, _SIGNIFICAND), scale.mantissa, scale.exponent.any())[-_SIGNIFICAND:]
        with m.FSM():
            with m.State("rest"):
                m.d.sync += at.eq(0)
                with m.If(self.prepare):
                    m.next = "scale"
            with m.State("scale"):
                m.d.comb += self.next_scale.eq(1)
                m.d.sync += [
                    a.eq(significand),
                    b.eq(inverses.data),
                    left.eq(base - scale.exponent),
                    factor.eq(_GREEDY_FACTOR),
                ]
                m.next = "store"
                with m.If(tempered.bit_select(slot, 1) & self.step.sample.bit_select(at, 1)):
                    m.next = "multiply"
            with m.State("multiply"):
                m.next = "load"
            with m.State("load"):
                m.d.sync += rest.eq(product << 1)
                m.next = "shift"
            with m.State("shift"):
                m.d.sync += [rest.eq(rest >> 1), left.eq(left - 1)]
                rounded = rest[1:_FACTOR_BITS + 1] + rest[0]
                m.d.sync += factor.eq(Mux(rounded[-1] | rest[_FACTOR_BITS + 1:].any(), ~0, rounded))
                with m.If(left < 0):
                    m.d.sync += factor.eq(rest.any().replicate(_FACTOR_BITS))
                with m.If(left <= 0):
                    m.next = "store"
            with m.State("store"):
                m.d.comb += write.en.eq(1)
                m.d.sync += at.eq(at + 1)
                m.next = "scale"
                with m.If(at == self.config.positions - 1):
                    m.d.comb += self.prepared.eq(1)
                    m.next = "rest"
        return factors

    def _choose(self, m, slot_of, tempered, choice, seeds, counts, factors):
        """From sums to the best row so far."""
        config = self.config
        m.submodules.gumbel = gumbel = Gumbel()
        rows = Signal(TOKEN_BITS)
        with m.If(self.i.valid & self.i.last):
            m.d.sync += rows.eq(rows + 1)
        with m.If(self.emitted):
            m.d.sync += rows.eq(0)

        # The key of chance.
        position = self.i.position
        slot = delay(m, slot_of(position), 1)
        m.d.comb += [
            seeds.addr.eq(slot),
            counts.addr.eq(Mux(choice.valid, choice.slot, slot)),
        ]
        m.d.sync += [
            gumbel.i.seed.eq(seeds.data),
            gumbel.i.count.eq(counts.data),
        ]
        m.d.comb += gumbel.i.row.eq(delay(m, rows, 2))
        hot = delay(m, tempered.bit_select(slot, 1), 1)

        # The sum waits for the variate: factor, products, key.
        wait  = 2 + Gumbel.latency
        valid = delay(m, self.i.valid, wait, reset_less=False)
        position = delay(m, position, wait - 3)
        m.d.comb += factors.addr.eq(position)
        factor = delay(m, factors.data, 1)
        value  = delay(m, self.i.value, wait - 2)
        half   = len(value) // 2
        low    = Signal(signed(half + 1 + _FACTOR_BITS), reset_less=True)
        high   = Signal(signed(half + _FACTOR_BITS + 1), reset_less=True)
        m.d.sync += [
            low.eq(value[:half] * factor),
            high.eq(value[half:].as_signed() * factor),
        ]
        key = Signal(signed(_KEY_BITS), reset_less=True)
        m.d.sync += key.eq((high << half - _CUT) + low[_CUT:].as_signed())
        score = Signal(signed(_SCORE_BITS), reset_less=True)
        g     = Mux(delay(m, hot, Gumbel.latency), gumbel.o, 0)
        m.d.sync += score.eq(key + g)

        # What is best so far.
        position = delay(m, position, 4)
        bests, write = self._memory(m, "bests", signed(_SCORE_BITS))
        done   = delay(m, valid, 1, reset_less=False)
        ends   = delay(m, self.i.last, wait + 1)
        row    = Signal(TOKEN_BITS)
        better = Signal()
        m.d.comb += [
            bests.addr.eq(position),
            write.addr.eq(position),
            write.data.eq(score),
            write.en.eq(better),
            better.eq(done & ((row == 0) | (score > bests.data))),
        ]
        m.d.sync += [
            self.better.eq(better << position),
            self.row.eq(row),
        ]
        with m.If(done & ends):
            m.d.sync += row.eq(row + 1)
        with m.If(self.emitted):
            m.d.sync += row.eq(0)

        on_way = Signal(range(_DEPTH + 1))
        m.d.sync += [
            on_way.eq(on_way + self.i.valid - done),
            self.busy.eq((on_way != 0) | self.better.any()),
        ]
