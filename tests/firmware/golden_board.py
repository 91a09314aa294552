"""A board in Python: the golden link and the golden machine behind a port of the firmware."""

import numpy as np

from tern_fpga.assembler.contract.registers import Control, Status, register
from tern_fpga.sim.commands.board import Noise
from tern_fpga.sim.golden.link import HostLink
from tern_fpga.sim.golden.machine import Machine


__all__ = ["GoldenPort"]


_STEPS = 200                # instructions between two looks at the line


class _Core:
    """What :class:`sim.golden.link.HostLink` asks for."""
    def __init__(self, config):
        self.config = config
        self.memory = np.zeros(config.memory_bytes, np.uint8)
        self.messages, self.tokens = [], []
        self.registers = {"program_address": 0, "program_length": 0}
        self.machine = None
        self.state = "halted"
        self.cycles = 0

    def read(self, address):
        digest = int(self.config.digest, 16)
        waiting = self.state == "waiting" and not self.messages
        values = {
            "id": int.from_bytes(b"TERN", "little"), "version": 1,
            "digest_low": digest & 0xffffffff, "digest_high": digest >> 32,
            "status": (Status.RUNNING if self.state in ("running", "waiting") else 0)
            | (Status.WAITING if waiting else 0)
            | (Status.FAULT if self.state == "fault" else 0),
            "pc": self.machine.pc if self.machine else 0,
            "cycles": self.cycles & 0xffffffff,
            **(self.machine.counters | self.machine.sums if self.machine else {}),
        }
        return int({register(name).address: value for name, value in values.items()}
                   .get(address, 0))

    def write(self, address, value):
        for name in self.registers:
            if register(name).address == address:
                self.registers[name] = value
        if address == register("control").address:
            if value & Control.STOP:
                self.machine, self.state = None, "halted"
                self.messages.clear()
                self.tokens.clear()
            if value & Control.START:
                size = self.config.word_bytes
                start = self.registers["program_address"] * size
                data = bytes(self.memory[start:start + 16 * self.registers["program_length"]])
                program = [int.from_bytes(data[n:n + 16], "little")
                           for n in range(0, len(data), 16)]
                self.machine = Machine.bare(self.config, program)
                self.machine.memory = self.memory
                self.state = "running"

    def run(self, steps):
        if self.machine is None or self.state in ("halted", "fault"):
            return
        if not self.machine.scheduler.words:    # else they wait, as in front of a busy core
            self.machine.send(self.messages)
            self.messages.clear()
        for _ in range(steps):
            self.state = self.machine.step()
            if self.state != "running":
                break
        self.tokens += self.machine.tokens
        self.machine.tokens.clear()


class GoldenPort:
    """A port with the members of :class:`firmware.port.SerialPort`.

    ``noise``: share of the bytes that are damaged; ``dies``: bytes from the host after which
    nothing more passes, None for never.
    """
    name, baud, latency = "golden", 25_000_000, 0.0

    def __init__(self, config, *, noise=0.0, seed=0, dies=None):
        self.core = _Core(config)
        self.link = HostLink(config=config, clock_hz=100_000_000, name="golden", core=self.core)
        self.noise = (Noise(noise, f"to {seed}"), Noise(noise, f"from {seed}"))
        self.dies = dies
        self.clock_hz = 100_000_000
        self.now = 0.0
        self._came = b""

    def time(self):
        return self.now

    def sleep(self, seconds):
        self._pass(seconds)
        self.core.run(_STEPS)

    def _pass(self, seconds):
        self.now += seconds
        self.core.cycles = round(self.now * self.clock_hz)

    def write(self, data):
        if self.dies is not None:
            data = data[:self.dies]
            self.dies -= len(data)
        self._came += self.noise[1](self.link.receive(self.noise[0](data)))

    def read(self, seconds):
        self.core.run(_STEPS)
        end = self._came.find(b"\0") + 1 or len(self._came)
        data, self._came = self._came[:end], self._came[end:]
        self._pass(seconds if not data else len(data) * 10 / self.baud)
        return data

    def close(self):
        pass
