"""What every board has in common: the core, and the link that a host speaks to it through."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.core import Core
from hw.host import STATUS_BITS
from hw.link import HostLink
from hw.signatures import MemoryPort, connect
from hw.uart import UartReceiver, UartTransmitter, bit_time


__all__ = ["Soc"]


LIGHT_BITS = 20            # an event lights `active` for 2**20 cycles: 10 ms at 100 MHz


class Soc(wiring.Component):
    """Core, host link and serial port; pins, clock and memory controller are the board's.

    Parameters
    ----------
    config : assembler.config.Config
    clock_hz : int
        Of ``sync``.
    baud : int
        Of the serial line: see :func:`hw.uart.bit_time`.
    name : str
        Of the board: see :class:`hw.link.HostLink`.

    Members
    -------
    rx, tx : :py:`In(1)`, :py:`Out(1)`
        The serial line; ``rx`` is asynchronous.
    memory : :py:`Out(MemoryPort(config))`
        All memory.
    active : :py:`Out(1)`
        A request came a short while ago.
    busy : :py:`Out(1)`
        The memory is read or written.
    stopped : :py:`Out(1)`
        The core carries out a STOP.
    status : :py:`Out(STATUS_BITS)`
        Of the core: see :class:`assembler.registers.Status`.
    token : :py:`Out(1)`
        A token goes to the host.

    Raises
    ------
    ValueError
        The speeds do not go together, or the name is too long.
    """
    def __init__(self, *, config, clock_hz, baud, name):
        bit_time(clock_hz, baud)
        self.config   = config
        self.clock_hz = clock_hz
        self.baud     = baud
        self.name     = name
        super().__init__({
            "rx":      In(1),
            "tx":      Out(1, init=1),
            "memory":  Out(MemoryPort(config)),
            "active":  Out(1),
            "busy":    Out(1),
            "stopped": Out(1),
            "status":  Out(STATUS_BITS),
            "token":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        line = {"clock_hz": self.clock_hz, "baud": self.baud}
        m.submodules.receiver    = receiver    = UartReceiver(**line)
        m.submodules.transmitter = transmitter = UartTransmitter(**line)
        m.submodules.link = link = HostLink(config=self.config, clock_hz=self.clock_hz,
                                            name=self.name)
        m.submodules.core = core = Core(config=self.config)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        connect(m, receiver.o, link.i)
        connect(m, link.o, transmitter.i)
        connect(m, link.request, core.request)
        connect(m, core.response, link.response)
        connect(m, link.messages, core.messages)
        connect(m, core.tokens, link.tokens)
        connect(m, link.memory, core.host)
        connect(m, core.memory, wiring.flipped(self.memory))
        m.d.comb += [
            core.logits.ready.eq(1),        # the line is too slow for them
            link.stopped.eq(core.stopped),
            self.stopped.eq(core.stopped),
            self.status.eq(core.status),
            self.token.eq(core.tokens.valid),
        ]

        light = Signal(LIGHT_BITS)
        m.d.comb += self.active.eq(light != 0)
        with m.If(link.heard):
            m.d.sync += light.eq(-1)
        with m.Elif(self.active):
            m.d.sync += light.eq(light - 1)
        m.d.sync += self.busy.eq(core.memory.read.valid | core.memory.write.valid)
        return m
