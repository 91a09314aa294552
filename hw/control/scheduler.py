"""Scheduler of steps: messages in, steps and tokens out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.registers import MessageKind
from tern_fpga.hw.common.signatures import (
    TOKEN_BITS,
    choice_layout,
    position_shape,
    step_layout,
    tokens_layout,
)


__all__ = ["Scheduler", "message_layout", "token_word_layout"]


# The words of assembler.contract.registers, as layouts.
message_layout = data.StructLayout({
    "payload": registers.PAYLOAD_BITS,
    "slot":    registers.KIND_SHIFT - registers.SLOT_SHIFT,
    "kind":    32 - registers.KIND_SHIFT,
})

_prompt_layout = data.FlexibleLayout(registers.PAYLOAD_BITS, {
    "count":  data.Field(unsigned(4), 0),
    "fresh":  data.Field(unsigned(1), registers.PROMPT_FRESH.bit_length() - 1),
    "sample": data.Field(unsigned(1), registers.PROMPT_SAMPLE.bit_length() - 1),
    "all":    data.Field(unsigned(1), registers.PROMPT_ALL.bit_length() - 1),
})

token_word_layout = data.FlexibleLayout(32, {
    "token": data.Field(unsigned(TOKEN_BITS), 0),
    "last":  data.Field(unsigned(1), registers.TOKEN_LAST.bit_length() - 1),
    "slot":  data.Field(unsigned(32 - registers.TOKEN_SLOT_SHIFT), registers.TOKEN_SLOT_SHIFT),
})


class Scheduler(wiring.Component):
    """Decides which tokens share the next pass over the weights.

    Message words are taken in order until a PROMPT is complete, which becomes a prefill step. If
    no word waits and a slot runs, all running slots make a decode step.

    Protocol: words are taken only while ``wanted`` (the core waits at ``next``), and not while a
    step is offered. So the effect of a message does not depend on when it arrived during the step
    before. A step is offered after the last word of a PROMPT, or, if no word waits, no PROMPT is
    incomplete and a slot runs, for all running slots. Slots and counts that the machine does not
    have are not checked.

    Latency: a prefill step is offered ``positions - count + 1`` cycles after its last word, a
    decode step ``positions + 2`` cycles after ``wanted``. A sampled position takes 3 cycles, any
    other 1. A setting takes 5 cycles; REPETITION takes as long as ``forgetting`` is high.

    Cost: see ``docs/reports/area.md`` (scheduler).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    messages : :py:`In(stream.Signature(32))`
        Words of :class:`assembler.contract.registers.MessageKind`.
    wanted : :py:`In(1)`
        Level: the core waits for a step.
    waiting : :py:`Out(1)`
        Level: ... and there is no step; only a message can make one.
    step : :py:`Out(stream.Signature(step_layout(config)))`
        Tokens of inactive positions are 0.
    emit : :py:`In(stream.Signature(tokens_layout(config)))`
        The tokens sampled in the step taken last.
    tokens : :py:`Out(stream.Signature(32))`
        A word for every sampled position, ascending.
    choice : :py:`Out(choice_layout(config))`
        Strobe: settings, and the tokens that join a stream, both prompted and sampled.
    forgetting : :py:`In(1)`
        Level: a setting is still being carried out.

    Golden twin: :class:`sim.golden.scheduler.Scheduler`.
    """
    def __init__(self, *, config):
        self.config = config
        super().__init__({
            "messages": In(stream.Signature(32)),
            "wanted":   In(1),
            "waiting":  Out(1),
            "step":     Out(stream.Signature(step_layout(config))),
            "emit":     In(stream.Signature(tokens_layout(config))),
            "tokens":   Out(stream.Signature(32)),
            "choice":   Out(choice_layout(config)),
            "forgetting": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        positions = self.config.positions

        # The newest token and the remaining count of each slot are in distributed RAM, which no
        # reset clears. A reset clears the masks that make them valid: `running`, and `counted` (the
        # remaining count is not 0).
        m.submodules.newest = newest = Memory(shape=TOKEN_BITS, depth=positions, init=[])
        m.submodules.left   = left   = Memory(shape=TOKEN_BITS, depth=positions, init=[])
        newest_read, newest_write = newest.read_port(domain="comb"), newest.write_port()
        left_read, left_write = left.read_port(domain="comb"), left.write_port()
        running = Signal(positions)
        counted = Signal(positions)
        stop_token = Signal(TOKEN_BITS, init=registers.NO_STOP_TOKEN)

        # One cycle late: without the mask, a step that was just taken would be wanted once more.
        wanted = Signal()
        m.d.sync += wanted.eq(self.wanted & ~(self.step.valid & self.step.ready))

        word   = data.View(message_layout, self.messages.payload)
        header = data.View(_prompt_layout, word.payload)
        prompt = Signal(_prompt_layout)         # header of the open PROMPT
        open_  = Signal()
        step   = self.step.p
        filled = Signal(range(positions + 1))   # tokens in `step.tokens`, shifted in from the top
        at     = Signal(position_shape(self.config))

        # Position 0 is shifted in first and ends at the bottom, after `positions` tokens: a prompt
        # or a step of fewer tokens is filled up with zeros.
        def shift_in(token):
            m.d.sync += step.tokens.eq(Cat(step.tokens, token)[TOKEN_BITS:])
            m.d.sync += filled.eq(filled + 1)

        # The write ports serve messages and sampled tokens: no state has both.
        tail  = Signal()        # the position is the last of its stream
        slot  = Signal(position_shape(self.config))
        named = Signal.like(slot)       # the slot whose state changes; for a message its own
        token = Signal(TOKEN_BITS)
        rest  = Signal(TOKEN_BITS)
        fewer = Signal(TOKEN_BITS)
        none  = Signal()        # this is the last token of the slot's count
        ends  = Signal()
        m.d.comb += tail.eq(~step.chain | (at == step.last))
        m.d.comb += slot.eq(Mux(step.chain, step.slot, at))
        m.d.comb += named.eq(slot)
        m.d.comb += token.eq(self.emit.p.ids[at])
        m.d.comb += left_read.addr.eq(slot)
        m.d.comb += left_write.addr.eq(named)
        m.d.comb += left_write.data.eq(fewer)
        m.d.comb += newest_write.addr.eq(slot)
        m.d.comb += newest_write.data.eq(token)
        m.d.comb += newest_read.addr.eq(filled)

        word_out = data.View(token_word_layout, self.tokens.payload)
        m.d.comb += word_out.token.eq(token)
        m.d.comb += word_out.slot.eq(slot)
        m.d.comb += word_out.last.eq(tail & ends)

        def next_position():
            m.d.sync += at.eq(at + 1)
            m.next = "position"
            with m.If(at == positions - 1):
                m.d.sync += at.eq(0)
                m.d.comb += self.emit.ready.eq(1)
                m.next = "rest"

        def tell(kind, slot, payload):
            m.d.sync += [
                self.choice.valid.eq(1),
                self.choice.kind.eq(kind),
                self.choice.slot.eq(slot),
                self.choice.payload.eq(payload),
            ]

        settled = Signal(2)
        m.d.sync += self.choice.valid.eq(0)
        with m.FSM():
            with m.State("rest"):
                with m.If(self.emit.valid):
                    m.next = "position"
                with m.Elif(wanted & self.messages.valid):
                    m.d.comb += self.messages.ready.eq(1)
                    with m.If(open_):
                        shift_in(word.payload)
                        tell(MessageKind.PROMPT, step.slot, word.payload)
                        with m.If(filled + 1 == prompt.count):
                            m.d.sync += open_.eq(0)
                            m.next = "prompt"
                    with m.Else():
                        m.d.sync += filled.eq(0)
                        m.d.comb += named.eq(word.slot)
                        m.d.comb += fewer.eq(word.payload)
                        with m.Switch(word.kind):
                            with m.Case(MessageKind.PROMPT):
                                m.d.sync += open_.eq(1)
                                m.d.sync += prompt.eq(header)
                                m.d.sync += step.slot.eq(named)
                            with m.Case(MessageKind.GENERATE):
                                m.d.comb += left_write.en.eq(1)
                                m.d.sync += counted.bit_select(named, 1).eq(fewer != 0)
                            # The count in memory may stay: `counted` makes it 0.
                            with m.Case(MessageKind.STOP):
                                m.d.sync += counted.bit_select(named, 1).eq(0)
                                m.d.sync += running.bit_select(named, 1).eq(0)
                            with m.Case(MessageKind.STOP_TOKEN):
                                m.d.sync += stop_token.eq(word.payload)
                            with m.Case(MessageKind.TEMPERATURE, MessageKind.SEED,
                                        MessageKind.TOP_K, MessageKind.REPETITION):
                                tell(word.kind, named, word.payload)
                                m.next = "setting"
                # A partly received PROMPT holds back decode steps: it arrives without a break.
                with m.Elif(wanted & ~open_ & running.any()):
                    m.d.sync += filled.eq(0)
                    m.next = "streams"
                with m.Else():
                    m.d.comb += self.waiting.eq(wanted)
            with m.State("setting"):
                # `forgetting` rises only in the third cycle after the setting.
                with m.If(settled != 3):
                    m.d.sync += settled.eq(settled + 1)
                with m.Elif(~self.forgetting):
                    m.d.sync += settled.eq(0)
                    m.next = "rest"
            with m.State("prompt"):
                m.d.sync += step.chain.eq(1)
                m.d.sync += step.fresh.eq(prompt.fresh)
                m.d.sync += step.last.eq(prompt.count - 1)
                for position in range(positions):
                    live  = position < prompt.count
                    final = position + 1 == prompt.count
                    m.d.sync += step.live[position].eq(live)
                    m.d.sync += step.sample[position].eq(prompt.sample
                                                         & Mux(prompt.all, live, final))
                with m.If(filled == positions):
                    m.next = "offer"
                with m.Else():
                    shift_in(0)
            with m.State("streams"):
                m.d.sync += step.chain.eq(0)
                m.d.sync += step.fresh.eq(0)
                m.d.sync += step.slot.eq(0)
                m.d.sync += step.last.eq(0)
                m.d.sync += step.live.eq(running)
                m.d.sync += step.sample.eq(running)
                with m.If(filled == positions):
                    m.next = "offer"
                with m.Else():
                    shift_in(Mux(running.bit_select(filled, 1), newest_read.data, 0))
            with m.State("offer"):
                m.d.comb += self.step.valid.eq(1)
                with m.If(self.step.ready):
                    m.next = "rest"

            # A sampled token: count, then report, so that the subtraction and the comparisons are
            # between registers.
            with m.State("position"):
                m.d.sync += rest.eq(left_read.data - 1)
                with m.If(self.emit.p.mask.bit_select(at, 1)):
                    m.next = "count"
                with m.Else():
                    next_position()
            with m.State("count"):
                m.d.comb += fewer.eq(rest)
                m.d.comb += none.eq(~counted.bit_select(slot, 1) | (rest == 0))
                m.d.sync += ends.eq(none | (token == stop_token))
                with m.If(tail):
                    m.d.comb += left_write.en.eq(1)
                    m.d.sync += counted.bit_select(named, 1).eq(~none)
                m.next = "report"
            with m.State("report"):
                m.d.comb += self.tokens.valid.eq(1)
                with m.If(self.tokens.ready):
                    # With ALL, the positions before the last are reported without an effect.
                    with m.If(tail):
                        m.d.comb += newest_write.en.eq(1)
                        tell(MessageKind.GENERATE, slot, token)
                        m.d.sync += running.bit_select(named, 1).eq(~ends)
                    next_position()
        return m
