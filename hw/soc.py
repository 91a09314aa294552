"""What every board has in common: the core, and the serial link to its host."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tern_fpga.hw.common.signatures import MemoryPort, connect
from tern_fpga.hw.control.host import STATUS_BITS
from tern_fpga.hw.core import Core
from tern_fpga.hw.link.link import HostLink
from tern_fpga.hw.link.uart import UartReceiver, UartTransmitter, bit_time


__all__ = ["Soc"]


LIGHT_BITS = 20            # a request lights `active` for 2**20 cycles: 10 ms at 100 MHz


class Soc(wiring.Component):
    """Core, host link and serial port. The board adds pins, clock and memory controller.

    Cost: see the board's report in ``docs/reports``.

    Parameters
    ----------
    config : assembler.contract.config.Config
    clock_hz : int
        Frequency of ``sync``.
    baud : int
        Bit rate of the serial line: see :func:`hw.link.uart.bit_time`.
    name : str
        Name of the board, which the host reads: see :class:`hw.link.link.HostLink`.

    Members
    -------
    rx, tx : :py:`In(1)`, :py:`Out(1)`
        The serial line. ``rx`` is asynchronous.
    memory : :py:`Out(MemoryPort(config))`
        To the memory controller.
    active : :py:`Out(1)`
        High for ``2**20`` cycles after each request of the host.
    busy : :py:`Out(1)`
        In the cycle before, a word was read or offered for writing.
    stopped : :py:`Out(1)`
        The core carries out a STOP.
    status : :py:`Out(STATUS_BITS)`
        The core's status: see :class:`assembler.contract.registers.Status`.
    token : :py:`Out(1)`
        The core offers a token to the host.

    Raises
    ------
    ValueError
        ``baud`` is out of range for ``clock_hz``, or ``name`` is too long or not ASCII.
    """
    def __init__(self, *, config, clock_hz, baud, name):
        bit_time(clock_hz, baud)        # raises the ValueError here, not while elaborating
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
            core.logits.ready.eq(1),        # dropped: the serial line is too slow for logits
            # The link's queues of messages and tokens are emptied with the core.
            link.stopped.eq(core.stopped),
            self.stopped.eq(core.stopped),
            self.status.eq(core.status),
            self.token.eq(core.tokens.valid),
        ]

        # A request lasts microseconds; the counter makes it long enough to be seen on an LED.
        light = Signal(LIGHT_BITS)
        m.d.comb += self.active.eq(light != 0)
        with m.If(link.heard):
            m.d.sync += light.eq(-1)
        with m.Elif(self.active):
            m.d.sync += light.eq(light - 1)
        m.d.sync += self.busy.eq(core.memory.read.valid | core.memory.write.valid)
        return m
