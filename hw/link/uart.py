"""UART: 8 data bits, no parity, one stop bit, low bit first."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out


__all__ = ["UartReceiver", "UartTransmitter", "bit_time"]


FRACTION_BITS = 6          # of a clock cycle; a byte's duration is off by 1/12 cycle at most
SHORTEST_BIT  = 4          # cycles
LONGEST_BIT   = 1 << 16


def bit_time(clock_hz, baud):
    """Duration of a bit in units of ``2**-FRACTION_BITS`` clock cycles, rounded.

    Raises
    ------
    ValueError
        ``baud`` is not positive, or a bit is shorter than 4 or longer than 65,535 cycles.
    """
    if baud <= 0:
        raise ValueError(f"baud must be more than 0, not {baud!r}")
    if not SHORTEST_BIT * baud <= clock_hz < LONGEST_BIT * baud:
        raise ValueError(f"a bit must take {SHORTEST_BIT} to {LONGEST_BIT - 1} clock cycles, and "
                         f"{baud!r} baud at {clock_hz!r} Hz makes {clock_hz / baud:.2f}")
    return round((clock_hz << FRACTION_BITS) / baud)


class _BitTimer(Elaboratable):
    """Strobes ``tick`` once ``time`` has passed since ``load``, then every ``period``.

    Times are fixed-point numbers of cycles. The fraction of a cycle that remains counts for the
    next tick, so that rounding to cycles does not add up over a byte.
    """
    def __init__(self, period):
        self.period = period
        self.load   = Signal()
        self.time   = Signal(range(2 * period))     # until the first tick
        self.tick   = Signal()

    def elaborate(self, platform):
        m = Module()
        one  = 1 << FRACTION_BITS
        left = Signal(range(2 * self.period))
        # `tick` is decided a cycle early, so that it is a register.
        with m.If(self.load):
            m.d.sync += left.eq(self.time - one)
            m.d.sync += self.tick.eq(0)
        with m.Elif(left < 2 * one):
            m.d.sync += left.eq(left + (self.period - one))
            m.d.sync += self.tick.eq(1)
        with m.Else():
            m.d.sync += left.eq(left - one)
            m.d.sync += self.tick.eq(0)
        return m


class UartReceiver(wiring.Component):
    """Receives bytes from a line of any phase to the clock.

    A start bit counts if the line is still low in its middle. Every bit is sampled once, in its
    middle. A byte whose stop bit is low is dropped, and no start bit is accepted before the line
    was high again: a line that stays low gives no bytes. The next start bit is accepted from half a
    bit before the end of the stop bit on, so a sender may be faster by 4 % and more.

    Protocol: a byte that is not taken before the next one is complete is lost. Latency: 3 cycles
    from the middle of the stop bit.

    Cost: part of the boards' reports in ``docs/reports``.

    Parameters
    ----------
    clock_hz, baud : int
        Frequency of ``sync`` and bit rate of the line; see :func:`bit_time`.

    Members
    -------
    rx : :py:`In(1)`
        The pin, asynchronous.
    o : :py:`Out(stream.Signature(8))`

    Raises
    ------
    ValueError
        See :func:`bit_time`.
    """
    rx: In(1)
    o:  Out(stream.Signature(8))

    def __init__(self, *, clock_hz, baud):
        self.period = bit_time(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.line  = FFSynchronizer(self.rx, line, init=1)
        m.submodules.timer = timer = _BitTimer(self.period)

        bits  = Signal(8)
        count = Signal(range(8))
        m.d.comb += timer.time.eq(self.period // 2)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        # Starts in `break`: at power-up the line may be low.
        with m.FSM(init="break"):
            with m.State("break"):
                with m.If(line):
                    m.next = "idle"
            with m.State("idle"):
                m.d.comb += timer.load.eq(~line)
                with m.If(~line):
                    m.next = "start"
            # A low line that is high again after half a bit was a glitch.
            with m.State("start"):
                m.d.sync += count.eq(0)
                with m.If(timer.tick):
                    m.next = "data"
                    with m.If(line):
                        m.next = "idle"
            with m.State("data"):
                with m.If(timer.tick):
                    m.d.sync += bits.eq(Cat(bits[1:], line))
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == 7):
                        m.next = "stop"
            with m.State("stop"):
                with m.If(timer.tick):
                    m.next = "break"
                    with m.If(line):
                        m.d.sync += self.o.valid.eq(1)
                        m.d.sync += self.o.payload.eq(bits)
                        m.next = "idle"
        return m


class UartTransmitter(wiring.Component):
    """Sends bytes; the line is high between them.

    Throughput: a byte in 10 bit times and a cycle.

    Cost: part of the boards' reports in ``docs/reports``.

    Parameters
    ----------
    clock_hz, baud : int
        Frequency of ``sync`` and bit rate of the line; see :func:`bit_time`.

    Members
    -------
    i : :py:`In(stream.Signature(8))`
    tx : :py:`Out(1)`
        The pin, from a register.

    Raises
    ------
    ValueError
        See :func:`bit_time`.
    """
    i:  In(stream.Signature(8))
    tx: Out(1, init=1)

    def __init__(self, *, clock_hz, baud):
        self.period = bit_time(clock_hz, baud)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.timer = timer = _BitTimer(self.period)

        bits = Signal(9)                # still to be sent: data, stop bit; then ones
        left = Signal(range(11))        # bits not ended yet, start and stop included
        idle = left == 0
        m.d.comb += timer.time.eq(self.period)
        m.d.comb += self.i.ready.eq(idle)
        with m.If(idle):
            m.d.comb += timer.load.eq(1)
            with m.If(self.i.valid):
                m.d.sync += self.tx.eq(0)
                m.d.sync += bits.eq(Cat(self.i.payload, 1))
                m.d.sync += left.eq(10)
        with m.Elif(timer.tick):
            m.d.sync += self.tx.eq(bits[0])
            m.d.sync += bits.eq(Cat(bits[1:], 1))
            m.d.sync += left.eq(left - 1)
        return m
