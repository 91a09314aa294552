"""Registers around a block, to synthesise and time it alone."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


__all__ = ["Harness"]


class Harness(wiring.Component):
    """A shift register feeds the inputs of ``block``; its outputs are registered and folded to one
    bit.

    So the number of pins does not matter, no input is constant, no output is unused, and every path
    starts and ends in a register. The reset is a register too, as on a board.

    Latency: ``o`` is the parity of all outputs ``1 + ceil(log4(outputs))`` cycles ago.

    Parameters
    ----------
    block : wiring.Component

    Members
    -------
    i : :py:`In(1)`
        Shifted in: after as many cycles as ``block`` has input bits, the first bit is at the last
        input.
    o : :py:`Out(1)`
    """
    i: In(1)
    o: Out(1)

    def __init__(self, block):
        self.block = block
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        reset = Signal(init=1, reset_less=True)
        m.d.sync += reset.eq(ResetSignal())
        # A domain of the block's own, for a reset that is a register.
        m.domains.block = ClockDomain()
        m.d.comb += [ClockSignal("block").eq(ClockSignal()), ResetSignal("block").eq(reset)]
        m.submodules.block = DomainRenamer("block")(self.block)

        members = [(member, Value.cast(value)) for _, member, value
                   in self.block.signature.flatten(self.block)]
        inputs  = Cat(value for member, value in members if member.flow is In)
        outputs = Cat(value for member, value in members if member.flow is Out)

        chain = Signal(max(1, len(inputs)))
        m.d.sync += chain.eq(Cat(self.i, chain))
        m.d.comb += inputs.eq(chain)

        # Parity by four bits at a time, a LUT4 and a register: no path here limits the clock.
        level = Signal(max(1, len(outputs)))
        m.d.sync += level.eq(outputs)
        while len(level) > 1:
            folded = Signal(-(-len(level) // 4))
            m.d.sync += folded.eq(Cat(level[n:n + 4].xor() for n in range(0, len(level), 4)))
            level = folded
        m.d.comb += self.o.eq(level)
        return m
