"""The top level of a board's bitstream: clocks, SoC, SDRAM, pins, LEDs."""

from typing import Any

from amaranth import *
from amaranth.lib import io

from tern_fpga.assembler.contract.config import PRESETS, Config
from tern_fpga.assembler.contract.registers import Status
from tern_fpga.boards.clocks import Clocks
from tern_fpga.boards.lights import Lights
from tern_fpga.boards.parts import ANY_PART, Board
from tern_fpga.boards.pins import CAPTURE, SdramIo, SerialIo
from tern_fpga.hw.common.signatures import connect
from tern_fpga.hw.memory.crossing import FastSdram, memory_side
from tern_fpga.hw.memory.sdr.sdram import SdramController
from tern_fpga.hw.soc import Soc


__all__ = ["CAS_LATENCY", "sdram_controller", "Top"]


CAS_LATENCY = 3            # an access takes 5.4 ns (6 ns with 2), and a command a cycle more


def sdram_controller(board: Board, config: Config, **options: Any) -> Any:
    """The SDRAM controller of ``board``, in domain ``memory``; its port is in ``sync``.

    ``options``: parameters of :class:`hw.memory.sdr.sdram.SdramController` that replace or extend
    the board's. The result is a component, or one with renamed domains, which has no static type.
    """
    options = {"part": ANY_PART, "clock_mhz": float(board.memory_clock),
               "cas_latency": CAS_LATENCY, "capture": board.capture + CAPTURE, **options}
    if board.sdram_clock is None:
        narrow = memory_side(config, board.sdram_bits)
        return DomainRenamer("memory")(SdramController(config=narrow, **options))
    return FastSdram(config=config, memory_bits=board.sdram_bits, **options)


class Top(Elaboratable):
    """The whole design of the board ``name``, for its platform.

    Parameters
    ----------
    name : str
        A key of ``boards.parts.BOARDS``, with SDR SDRAM.
    board : boards.parts.Board
    config : assembler.contract.config.Config or None
        None: the preset of that name.

    Raises
    ------
    ValueError
        In ``elaborate``: the SDRAM delivers more bits a second than the core takes.
    """
    def __init__(self, *, name: str, board: Board, config: Config | None = None) -> None:
        self.name, self.board = name, board
        self.config = config or PRESETS[name]

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        board, config = self.board, self.config
        m.domains.sync = ClockDomain()
        m.domains.memory = ClockDomain()
        m.domains.part = ClockDomain(reset_less=True)
        m.submodules.clocks = Clocks(clock_hz=board.clock * 1_000_000,
                                     memory_hz=board.memory_clock * 1_000_000, shift=board.shift)
        m.submodules.soc    = soc = Soc(config=config, clock_hz=board.clock * 1_000_000,
                                        baud=board.baud, name=self.name)
        narrow = memory_side(config, board.sdram_bits)
        if board.memory_clock * narrow.memory_bits > board.clock * config.memory_bits:
            raise ValueError(f"{narrow.memory_bits} bits at {float(board.memory_clock):g} MHz from "
                             f"the SDRAM are more than {config.memory_bits} bits at {board.clock} "
                             f"MHz, which the core takes")
        m.submodules.sdram  = sdram = sdram_controller(board, config)
        m.submodules.pins   = pins = DomainRenamer("memory")(SdramIo(config=narrow))
        m.submodules.serial = serial = SerialIo()
        m.submodules.lights = lights = Lights(leds=board.leds)
        connect(m, soc.memory, sdram.port)
        connect(m, sdram.pins, pins.pins)

        def has(bit: Status) -> Value:
            return (soc.status & bit) != 0

        m.d.comb += [
            soc.rx.eq(serial.rx),
            serial.tx.eq(soc.tx),
            lights.link.eq(soc.active),
            lights.memory.eq(soc.busy),
            lights.token.eq(soc.token),
            lights.ready.eq(sdram.ready),
            lights.running.eq(has(Status.RUNNING)),
            lights.waiting.eq(has(Status.WAITING)),
            lights.fault.eq(has(Status.FAULT)),
        ]

        # These pins would disturb the board if they floated.
        for resource, part in board.high:
            port = getattr(platform.request(resource, dir="-"), part)
            m.submodules[f"{resource}_{part}"] = buffer = io.Buffer("o", port)
            m.d.comb += buffer.o.eq(1)
        return m
