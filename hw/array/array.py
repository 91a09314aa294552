"""The array unit: code registers, ternary matmul, drain and sampler."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.array.accumulate import TernaryAccumulate
from tern_fpga.hw.array.codes import ColumnLoader
from tern_fpga.hw.array.drain import SumDrain
from tern_fpga.hw.common.signatures import (
    VectorWrite,
    beat_layout,
    choice_layout,
    codes_layout,
    connect,
    instruction_layout,
    logits_layout,
    scale_address_layout,
    step_layout,
    tokens_layout,
)
from tern_fpga.hw.sample.draw import Draw
from tern_fpga.hw.sample.sampler import Sampler


__all__ = ["ArrayUnit"]


class ArrayUnit(wiring.Component):
    """Execute ``matmul`` and ``emit``: ``dst[p] = round(round(W q[p]) * a[p])`` for each active p.

    W is (rows, columns) of trits, q[p] (columns,) int8 codes, a[p] a float.

    Protocol: each ``matmul`` arrives twice, in the same order: on ``i`` when its codes can be
    read, and on ``i_drain`` when its scale can be read and its destination written. So the sums
    run ahead of the scale, by up to ``accumulator_rows`` rows. ``emit`` arrives on ``i_drain``
    only.

    Throughput: a beat a cycle while codes are loaded (see
    :class:`hw.array.codes.ColumnLoader`) and the sums have room. The array completes a row every
    ``blocks`` cycles, and the drain takes one every ``active positions`` cycles; the slower of
    the two decides. Latency: a row's results are offered from :py:attr:`latency` cycles after
    its last beat on.

    Cost: see ``docs/reports/area.md`` (array unit).

    Parameters
    ----------
    config : assembler.contract.config.Config
    draw_domain : str
        Clock domain of :class:`hw.sample.draw.Draw`.

    Members
    -------
    i : :py:`In(stream.Signature(instruction_layout("matmul")))`
    i_drain : :py:`In(stream.Signature(instruction_layout("matmul", "emit")))`
    step : :py:`In(step_layout(config))`
        Stable while an instruction executes.
    weights : :py:`In(stream.Signature(beat_layout(config)))`
        ``rows * blocks`` beats for each matmul.
    codes : :py:`In(stream.Signature(codes_layout(config)))`
        Writes of the code registers; ``ready`` is always high.
    codes_done : :py:`Out(1)`
        Strobe per matmul, in order: its ``q`` may be overwritten.
    scale_address, scale : :py:`Out(scale_address_layout(config))`, :py:`In(config.float.width)`
        Float word, two cycles after its address.
    write : :py:`Out(VectorWrite(config))`
        Results.
    choice, forgetting : :py:`In(choice_layout(config))`, :py:`Out(1)`
        See :class:`hw.sample.draw.Draw`.
    tokens : :py:`Out(stream.Signature(tokens_layout(config)))`
        The sampled ids, once for each ``emit``.
    logits_enable, logits : :py:`In(1)`, :py:`Out(stream.Signature(logits_layout(config)))`
        See :class:`hw.array.drain.SumDrain`.
    done : :py:`Out(1)`
        Strobe per instruction of ``i_drain``, in order: its last result was accepted.
    saturated : :py:`Out(1)`
        Strobe: a value was larger than the float format holds.
    activity : :py:`Out(ArrayUnit.activity_layout)`
        State in this cycle, at most one of: ``beat``: a beat is taken; ``starved``: no beat is
        available; ``blocked``: its sums have no room; ``codes``: a block of codes is being
        loaded.

    Golden twin: ``matmul`` and ``emit`` of :class:`sim.golden.machine.Machine`.
    """
    activity_layout = data.StructLayout({"beat": 1, "starved": 1, "blocked": 1, "codes": 1})

    def __init__(self, *, config, draw_domain="sync"):
        self.config = config
        self.draw   = Draw(config=config)
        self._drain = SumDrain(config=config)
        self._draw_domain = draw_domain
        super().__init__({
            "i":             In(stream.Signature(instruction_layout("matmul"))),
            "i_drain":       In(stream.Signature(instruction_layout("matmul", "emit"))),
            "step":          In(step_layout(config)),
            "weights":       In(stream.Signature(beat_layout(config))),
            "codes":         In(stream.Signature(codes_layout(config))),
            "codes_done":    Out(1),
            "scale_address": Out(scale_address_layout(config)),
            "scale":         In(config.float.width),
            "write":         Out(VectorWrite(config)),
            "choice":        In(choice_layout(config)),
            "forgetting":    Out(1),
            "tokens":        Out(stream.Signature(tokens_layout(config))),
            "logits_enable": In(1),
            "logits":        Out(stream.Signature(logits_layout(config))),
            "done":          Out(1),
            "saturated":     Out(1),
            "activity":      Out(self.activity_layout),
        })

    @property
    def latency(self):
        """Cycles from a beat of a tile's last column block to the offer of its first value."""
        return TernaryAccumulate.latency(self.config) + self._drain.latency

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader  = loader  = ColumnLoader(config=self.config)
        m.submodules.array   = array   = TernaryAccumulate(config=self.config)
        m.submodules.drain   = drain   = self._drain
        m.submodules.sampler = sampler = Sampler(config=self.config)
        m.submodules.draw    = DomainRenamer(self._draw_domain)(draw := self.draw)

        flipped = wiring.flipped
        connect(m, flipped(self.i), loader.i)
        connect(m, flipped(self.codes), loader.codes)
        connect(m, loader.block, array.block)
        connect(m, flipped(self.weights), array.weights)
        connect(m, array.o, drain.sums)
        connect(m, flipped(self.i_drain), drain.i)
        connect(m, drain.write, flipped(self.write))
        connect(m, drain.logits, flipped(self.logits))
        connect(m, drain.rows, sampler.i)
        connect(m, sampler.tokens, flipped(self.tokens))
        m.d.comb += [
            loader.step.eq(self.step),
            array.columns.eq(loader.columns),
            # Not `sample`, for a matmul to the sampler: sums of the others are computed and unused.
            array.live.eq(self.step.live),
            loader.taken.eq(array.taken),
            self.codes_done.eq(loader.codes_done),
            drain.step.eq(self.step),
            self.scale_address.eq(drain.scale_address),
            drain.scale.eq(self.scale),
            drain.logits_enable.eq(self.logits_enable),
            sampler.mask.eq(drain.mask),
            # Rows may still be in flight inside `Draw` when the drain has passed on the last sum.
            sampler.emit.eq(drain.emit & ~draw.busy),
            sampler.found.eq(draw.better),
            sampler.found_row.eq(draw.row),
            drain.emitted.eq(self.tokens.valid & self.tokens.ready),
            draw.choice.eq(self.choice),
            self.forgetting.eq(draw.forgetting),
            draw.emit.eq(drain.emit),
            draw.step.eq(self.step),
            draw.prepare.eq(drain.prepare),
            draw.scale.eq(drain.draw_scale),
            draw.i.eq(drain.draw),
            draw.emitted.eq(drain.emitted),
            drain.drawing.eq(draw.active),
            drain.prepared.eq(draw.prepared),
            drain.next_scale.eq(draw.next_scale),
            drain.pause.eq(draw.pause),
            self.done.eq(drain.done),
            self.saturated.eq(drain.saturated),
            self.activity.beat.eq(self.weights.valid & self.weights.ready),
            self.activity.starved.eq(~self.weights.valid & self.weights.ready),
            self.activity.blocked.eq(array.blocked),
            # Loading costs time only while the array has no block to work on.
            self.activity.codes.eq(loader.active & ~array.active),
        ]
        return m
