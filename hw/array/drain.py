"""The drain: integer sums to scaled floats in vector registers, and sums to the sampler."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from tern_fpga.assembler.contract import formats, isa
from tern_fpga.hw.array.accumulate import sums_layout
from tern_fpga.hw.array.codes import computing, encode, lowest
from tern_fpga.hw.common.float import FloatMultiply, FromInt, delay
from tern_fpga.hw.common.ram import Buffer, Queue
from tern_fpga.hw.common.signatures import (
    TOKEN_BITS,
    VectorWrite,
    draw_layout,
    instruction_layout,
    logits_layout,
    position_shape,
    row_address_layout,
    scale_address_layout,
    step_layout,
)


__all__ = ["SumDrain"]


def _select(values, one_hot):
    """The element whose bit in ``one_hot`` is set."""
    total = C(0, values.shape().elem_shape)
    for value, chosen in zip(values, one_hot, strict=True):
        total = total | Mux(chosen, value, 0)
    return total


def _one(mask):
    """Whether at most one bit is set."""
    return ~(mask & ~lowest(mask)).any()


class SumDrain(wiring.Component):
    """Scale the rows of sums of each ``matmul`` and write them, or pass them to the sampler.

    ``dst[p][row] = round(round(sums[row][p]) * scale[p])``, row by row, for each active position
    p in ascending order. For the destination ``_`` the integer sums go to the sampler instead,
    and, with ``logits_enable``, their scaled values to ``logits`` in the same order. With
    ``drawing`` the sums go to ``draw``, one by one.

    Protocol: one instruction at a time. First the scales of all positions are read, in
    ``positions + 2`` cycles, then the rows are taken. Back-pressure of ``write`` or ``logits``
    stalls the sums, never the pipeline: a FIFO has a place for every value in flight.

    Throughput: one value a cycle; a row a cycle if the rows go to the sampler alone. Latency: a
    value is offered :py:attr:`latency` cycles after its sum was taken.

    Cost: see ``docs/reports/area.md`` (drain).

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout("matmul", "emit")))`
        Each instruction of the array, in order, when its scale can be read and its destination
        written. ``rows`` is at least 1.
    step : :py:`In(step_layout(config))`
        Stable while an instruction executes.
    sums : :py:`In(stream.Signature(sums_layout(config)))`
        ``rows`` rows for each ``matmul``.
    scale_address : :py:`Out(scale_address_layout(config))`
    scale : :py:`In(config.float.width)`
        Float word, two cycles after its address.
    write : :py:`Out(VectorWrite(config))`
        One element at a time, with the enable of its lane.
    logits_enable : :py:`In(1)`
        The host wants logits.
    logits : :py:`Out(stream.Signature(logits_layout(config)))`
    rows : :py:`Out(stream.Signature(sums_layout(config)))`
        Rows for the sampler.
    drawing : :py:`In(1)`
        Tokens are chosen by :class:`hw.sample.draw.Draw`. Stable while an instruction executes.
    prepare, prepared, draw_scale, next_scale, pause : ...
        See :class:`hw.sample.draw.Draw`.
    draw : :py:`Out(draw_layout(config))`
        Sums for :class:`hw.sample.draw.Draw`.
    mask : :py:`Out(config.positions)`
        Positions that the sampler takes.
    emit, emitted : :py:`Out(1)`, :py:`In(1)`
        Level: an ``emit`` wants the tokens. Strobe: they were taken.
    done : :py:`Out(1)`
        Strobe per instruction: its last result was accepted.
    saturated : :py:`Out(1)`
        Strobe: a value was larger than the float format holds.

    Golden twin: ``matmul`` of :class:`sim.golden.machine.Machine`.
    """
    DEPTH = 32      # results in flight: more than the cycles until a freed place is used again

    def __init__(self, *, config):
        self.config = config
        self._from_int = FromInt(fmt=config.float, width=formats.ACC.width)
        self._multiply = FloatMultiply(fmt=config.float)
        super().__init__({
            "i":             In(stream.Signature(instruction_layout("matmul", "emit"))),
            "step":          In(step_layout(config)),
            "sums":          In(stream.Signature(sums_layout(config))),
            "scale_address": Out(scale_address_layout(config)),
            "scale":         In(config.float.width),
            "write":         Out(VectorWrite(config)),
            "logits_enable": In(1),
            "logits":        Out(stream.Signature(logits_layout(config))),
            "rows":          Out(stream.Signature(sums_layout(config))),
            "drawing":       In(1),
            "prepare":       Out(1),
            "prepared":      In(1),
            "draw_scale":    Out(config.float.width),
            "next_scale":    In(1),
            "pause":         In(1),
            "draw":          Out(draw_layout(config)),
            "mask":          Out(config.positions),
            "emit":          Out(1),
            "emitted":       In(1),
            "done":          Out(1),
            "saturated":     Out(1),
        })

    @property
    def latency(self):
        """Cycles from taking a row to its first value: hold, select, scale, FIFO, output."""
        return 2 + self._from_int.latency + self._multiply.latency + 3

    def elaborate(self, platform):
        config = self.config
        m = Module()
        m.submodules.from_int = from_int = self._from_int
        m.submodules.multiply = multiply = self._multiply
        m.submodules.results  = results  = Queue(shape=config.float.width, depth=self.DEPTH)

        mask     = Signal(config.positions)
        sampling = Signal()                     # the rows go to the sampler
        drawn    = Signal()                     # ... one by one, for a draw
        unheard  = Signal()                     # ... and the host wants no logits
        values   = Signal()                     # the instruction sends values through the pipeline
        scales   = Signal(data.ArrayLayout(config.float.width, config.positions), reset_less=True)

        # Input: hold a row, and send the sums of its active positions into the pipeline one by one.
        # What decides `sums.ready` is kept in single-bit registers: the FIFO of sums moves in the
        # same cycle, so that no arithmetic on `rows` or `pending` may be in front of it.
        rows    = Signal(isa.ROWS.width)        # rows still to be taken
        more    = Signal()                      # ... not 0, and they may be taken now
        held    = Signal(sums_layout(config), reset_less=True)
        pending = Signal(config.positions)      # positions of the held row still to be sent
        none    = Signal(init=1)                # pending == 0
        one     = Signal()                      # pending has one bit
        alone   = Signal()                      # ... and was so from the start
        chosen  = Signal(config.positions)
        rest    = Signal(config.positions)
        issue   = Signal()
        room    = Signal()
        take    = Signal()
        empties = Signal()                      # the last sum of the row leaves in this cycle
        m.d.comb += [
            chosen.eq(lowest(pending)),
            rest.eq(pending & ~chosen),
            issue.eq(~none & room),
            empties.eq(none | (room & one)),
            self.sums.ready.eq(more & empties),
            take.eq(self.sums.valid & self.sums.ready),
            self.rows.payload.eq(self.sums.payload),
            self.rows.valid.eq(take & sampling & ~drawn & mask.any()),
            self.mask.eq(self.step.sample),
        ]
        with m.If(issue):
            m.d.sync += [pending.eq(rest), one.eq(_one(rest)), none.eq(one)]
        # Also when no row is taken: `take` is late in the cycle, and would enable a wide register.
        with m.If(empties):
            m.d.sync += held.eq(self.sums.payload)
        with m.If(take):
            m.d.sync += [
                pending.eq(mask),
                one.eq(alone),
                none.eq(~values),
                rows.eq(rows - 1),
                more.eq(rows != 1),
            ]

        # Credits: a value enters the pipeline only if the FIFO behind it will have a place for it.
        on_way = Signal(range(self.DEPTH + 1))
        m.d.sync += [
            on_way.eq(on_way + issue - (results.o.valid & results.o.ready)),
            # One cycle late, and one more value may have passed in that cycle.
            room.eq((on_way < self.DEPTH - 1) & ~self.pause),
        ]

        # Scale: the pipeline never stalls. `arrives` is the valid bit beside the values.
        value    = Signal(signed(formats.ACC.width))
        position = Signal(position_shape(config))
        scale    = Signal(config.float.width)
        arrives  = issue
        for n in range(1 + from_int.latency + multiply.latency):
            arrives, previous = Signal(name=f"arrives_{n}"), arrives
            m.d.sync += arrives.eq(previous)
            if not n:
                m.d.comb += self.draw.valid.eq(arrives & drawn)
        which = delay(m, position, from_int.latency - 1)
        m.d.sync += [
            value.eq(_select(held, chosen)),
            position.eq(encode(chosen)),
            scale.eq(scales[which]),
            self.saturated.eq(arrives & ~unheard & (delay(m, from_int.saturated, multiply.latency)
                                                    | multiply.saturated)),
        ]
        m.d.comb += [
            from_int.i.eq(value),
            multiply.a.eq(from_int.o),
            multiply.b.eq(scale),
            results.i.payload.eq(multiply.o),
            results.i.valid.eq(arrives),
            self.draw.value.eq(value),
            self.draw.position.eq(position),
            self.draw.last.eq(delay(m, one, 1)),
        ]

        # Output: the FIFO holds bare values. A second walk over rows and positions, in the same
        # order, gives each its address; that is narrower than an address beside every value.
        element = Signal(data.StructLayout({
            "lane":     ceil_log2(config.vector_lanes),
            "row":      ceil_log2(config.register_rows),
            "register": isa.Operand.NUMBER_BITS,
        }))
        number    = Signal(TOKEN_BITS)          # row of the head; counts on until `emit`
        rows_out  = Signal(isa.ROWS.width)
        last_row  = Signal()                    # rows_out is 1
        left_out  = Signal(config.positions)
        next_out  = Signal(config.positions)
        rest_out  = Signal(config.positions)
        one_out   = Signal()                    # this is the last position of its row
        taken     = Signal()
        write     = self.write.request
        m.submodules.out = out = Buffer(shape=data.StructLayout({
            "row":      row_address_layout(config, config.registers),
            "enable":   config.vector_lanes,
            "value":    config.float.width,
            "number":   TOKEN_BITS,
            "position": position_shape(config),
            "last":     1,
        }))
        m.d.comb += [
            next_out.eq(lowest(left_out)),
            rest_out.eq(left_out & ~next_out),
            out.i.valid.eq(results.o.valid),
            results.o.ready.eq(out.i.ready),
            out.i.payload.row.register.eq(element.register),
            out.i.payload.row.position.eq(encode(next_out)),
            out.i.payload.row.row.eq(element.row),
            out.i.payload.enable.eq(1 << element.lane),
            out.i.payload.value.eq(results.o.payload),
            out.i.payload.number.eq(number),
            out.i.payload.position.eq(encode(next_out)),
            out.i.payload.last.eq(last_row & one_out),

            write.valid.eq(out.o.valid & ~sampling),
            write.payload.row.eq(out.o.payload.row),
            write.payload.enable.eq(out.o.payload.enable),
            *(lane.eq(out.o.payload.value) for lane in write.payload.data),
            self.logits.valid.eq(out.o.valid & sampling & ~unheard),
            self.logits.payload.value.eq(out.o.payload.value),
            self.logits.payload.row.eq(out.o.payload.number),
            self.logits.payload.position.eq(out.o.payload.position),
            out.o.ready.eq(Mux(sampling, self.logits.ready | unheard, write.ready)),
            taken.eq(out.o.valid & out.o.ready),
        ]
        with m.If(results.o.valid & results.o.ready):
            m.d.sync += [left_out.eq(rest_out), one_out.eq(_one(rest_out))]
            with m.If(one_out):
                m.d.sync += [
                    left_out.eq(mask),
                    one_out.eq(alone),
                    element.eq(element.as_value() + 1),
                    number.eq(number + sampling),
                    rows_out.eq(rows_out - 1),
                    last_row.eq(rows_out == 2),
                ]

        m.d.sync += self.done.eq(0)
        instruction = self.i.payload
        count = Signal(range(config.positions + 2))
        m.d.comb += self.scale_address.position.eq(Mux(count < config.positions, count, 0))
        m.d.comb += self.draw_scale.eq(scales[0])
        # The scales shift down by one. While they are read the new one enters at the top; for
        # `Draw`, which reads the lowest, they rotate.
        turned = Cat(scales, Mux(self.prepare, scales[0], self.scale)).shift_right(
            config.float.width)
        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.i.ready.eq(1)
                to_sampler = instruction.dst.space == isa.Space.NONE
                positions = computing(instruction, self.step)
                m.d.sync += [
                    mask.eq(positions),
                    left_out.eq(positions),
                    sampling.eq(to_sampler),
                    alone.eq(_one(positions)),
                    one_out.eq(_one(positions)),
                    drawn.eq(to_sampler & self.drawing),
                    unheard.eq(to_sampler & ~self.logits_enable),
                    values.eq(positions.any()
                              & (~to_sampler | self.logits_enable | self.drawing)),
                    rows.eq(instruction.rows),
                    rows_out.eq(instruction.rows),
                    last_row.eq(instruction.rows == 1),
                    element.eq(0),
                    element.register.eq(instruction.dst.number),
                    self.scale_address.number.eq(instruction.a.number),
                    count.eq(0),
                ]
                with m.If(self.i.valid):
                    with m.If(instruction.opcode == isa.lookup("emit").opcode):
                        m.next = "emit"
                    with m.Else():
                        m.next = "scales"

            with m.State("scales"):
                # Two cycles more than there are scales, for the latency of the read: the two words
                # before the first scale are shifted out again.
                m.d.sync += [
                    count.eq(count + 1),
                    scales.eq(turned),
                ]
                with m.If(count == config.positions + 1):
                    m.d.sync += more.eq(~drawn)
                    m.next = "run"
                    with m.If(drawn):
                        m.next = "prepare"

            # `Draw` makes its factors of the scales before the first sum.
            with m.State("prepare"):
                m.d.comb += self.prepare.eq(1)
                with m.If(self.next_scale):
                    m.d.sync += scales.eq(turned)
                with m.If(self.prepared):
                    m.d.sync += more.eq(1)
                    m.next = "run"

            with m.State("run"):
                with m.If(Mux(values, taken & out.o.payload.last, ~more)):
                    m.d.sync += self.done.eq(1)
                    m.next = "idle"

            # Done when the scheduler has taken the tokens: `next` waits for that, and the step that
            # it takes depends on them.
            with m.State("emit"):
                m.d.comb += self.emit.eq(1)
                with m.If(self.emitted):
                    m.d.sync += [self.done.eq(1), number.eq(0)]
                    m.next = "idle"
        return m
