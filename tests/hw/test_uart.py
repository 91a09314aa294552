# amaranth: UnusedElaboratable=no
"""The serial line at its fastest and slowest."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
import pytest

from tern_fpga.hw.link.uart import UartReceiver, UartTransmitter
from tests.verilog import icarus, run_bench


class Line(wiring.Component):
    """Receiver and transmitter side by side."""
    rx: In(1)
    o:  Out(stream.Signature(8))
    i:  In(stream.Signature(8))
    tx: Out(1)

    def __init__(self, clock_hz, baud):
        self.line = {"clock_hz": clock_hz, "baud": baud}
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver    = receiver    = UartReceiver(**self.line)
        m.submodules.transmitter = transmitter = UartTransmitter(**self.line)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        wiring.connect(m, receiver.o, wiring.flipped(self.o))
        wiring.connect(m, wiring.flipped(self.i), transmitter.i)
        return m


# Clock and baud; the bench's clock has 10 ns whatever the numbers mean.
LINES = [(100_000_000, 3_000_000, 60), (50_000_000, 3_000_000, 60), (65_000_000, 12_000_000, 60),
         (12_000_000, 115_200, 5)]


@pytest.mark.parametrize("clock_hz, baud, count, simulator", [
    *((*line, "verilator") for line in LINES), pytest.param(*LINES[0], "icarus", marks=icarus)])
def test_bytes(clock_hz, baud, count, simulator):
    run_bench(Line(clock_hz, baud), "cocotb_uart", simulator, clock_ns=10,
              cycles=clock_hz / baud, bytes=count)


@pytest.mark.parametrize("clock_hz, baud", [(100_000_000, 25_000_001), (100_000_000, 1000)])
def test_bad_speed_is_refused(clock_hz, baud):
    with pytest.raises(ValueError, match="a bit must take 4 to 65535 clock cycles"):
        UartReceiver(clock_hz=clock_hz, baud=baud)
