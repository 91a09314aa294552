"""Several golden machines in lockstep, which run many sequences quickly."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.isa import Operand, Space
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.registers import Registers
from tern_fpga.sim.golden.sampler import Sampler, Setting
from tern_fpga.sim.golden.scheduler import Scheduler


__all__ = ["Batch"]


class _Registers(Registers):
    """Registers of all machines. Position p of machine m has index p * copies + m."""
    def __init__(self, config: Config, copies: int) -> None:
        super().__init__(config)
        self._copies = copies
        self.v = np.repeat(self.v, copies, 1)
        self.q = np.repeat(self.q, copies, 1)
        self.s = np.repeat(self.s, copies, 1)

    def _uniform(self, number: int, n: int) -> NDArray[np.float64]:
        """View of the rows that hold a uniform vector: (rows, copies, elements of a row)."""
        size = self.config.register_elements
        first = number * self.config.positions
        last = first + -(-n // size)
        if first * size + n > self.v.size // self._copies:
            raise ValueError(f"u{number} has no {n} elements")
        return self.v.reshape(-1, self._copies, size)[first:last]

    def uniform(self, number: int, n: int) -> NDArray[np.float64]:
        """A copy of the uniform vectors at register ``number``: (copies, n)."""
        rows = self._uniform(number, n)
        return rows.transpose(1, 0, 2).reshape(self._copies, -1)[:, :n]

    def write_uniform(self, number: int, values: NDArray[np.float64]) -> None:
        """``values``: (copies, n), or (1, n) for all machines."""
        count, n = values.shape
        rows, size = self._uniform(number, n), self.config.register_elements
        whole = n // size
        rows[:whole] = values[:, :whole * size].reshape(count, whole, size).transpose(1, 0, 2)
        if n % size:
            rows[whole, :, :n % size] = values[:, whole * size:]

    def read(self, operand: Operand, n: int, positions: Sequence[int]) -> NDArray[np.float64]:
        x = super().read(operand, n, positions)
        if operand.space == Space.U:
            return np.tile(x, (len(positions) // self._copies, 1))
        return x


class Batch(Machine):
    """``copies`` golden machines that execute the same instructions at the same time.

    Each machine has registers, states and tokens of its own, and computes bit for bit what it
    would compute alone. They share one memory. Their messages may differ only in token ids, so
    that all machines take the same steps. Each step is that of
    :class:`sim.golden.machine.Machine`, over arrays ``copies`` times as long: a token of a 5M
    model takes 2 ms instead of 30 ms.

    The vectors that a program stores are kept outside the memory, for each machine. A program must
    load them from the address that it stored them to, as compiled programs do.

    Parameters
    ----------
    image : assembler.files.image.Image
    copies : int
    logits : bool
        Keep the logits of every sampled position.

    Members
    -------
    copies : int
    schedulers : list of Scheduler
        One for each machine; the first is ``scheduler``.
    v, q, s
        Registers, with position p of machine m at p * copies + m.
    logits : list of (sampled positions * copies, rows) float64

    Raises
    ------
    ValueError
        The machines' messages ask for different steps.
    """
    def __init__(self, image: Image, *, copies: int, logits: bool = False) -> None:
        self.copies = copies
        super().__init__(image, logits=logits)

    def _setup(self, config: Config, program: list[int], memory: NDArray[np.uint8],
               logits: bool) -> None:
        super()._setup(config, program, memory, logits)
        self.registers = _Registers(config, self.copies)
        self.v, self.q, self.s = self.registers.v, self.registers.q, self.registers.s
        self.sampler = Sampler(config.positions * self.copies)
        self.schedulers = [self.scheduler,
                           *(Scheduler(config) for _ in range(self.copies - 1))]
        # Stored vectors by address: (copies, elements).
        self._stored: dict[int, NDArray[np.float64]] = {}

    def send(self, words: Iterable[int]) -> None:
        """Send the same message words to all machines."""
        self.send_each([words] * self.copies)

    def send_each(self, messages: Iterable[Iterable[int]]) -> None:
        """Send message words to each machine, in the order of ``schedulers``."""
        for scheduler, words in zip(self.schedulers, messages, strict=True):
            for word in words:
                scheduler.send(word)

    def _next(self) -> str:
        steps = [scheduler.next() for scheduler in self.schedulers]
        if len({step and (step.live, step.sample, step.chain, step.fresh, step.slot, step.last)
                for step in steps}) > 1:
            raise ValueError("the machines of a batch were given different messages")
        if steps[0] is None:
            return "waiting"
        self.step_now = steps[0]
        # Token ids by place.
        self._ids = np.array([step.tokens for step in steps if step]).T.reshape(-1)
        return "running"

    def _places(self, positions: list[int]) -> list[int]:
        return [p * self.copies + m for p in positions for m in range(self.copies)]

    def _write(self, operand: Operand, positions: list[int], values: NDArray[np.float64]) -> None:
        super()._write(operand, positions,
                       np.broadcast_to(values, (len(positions), values.shape[1])))

    def _fetch(self, address: int, n: int) -> NDArray[np.float64]:
        if address in self._stored:
            return self._stored[address]
        return super()._fetch(address, n)

    def _put(self, address: int, values: NDArray[np.float64]) -> None:
        self._stored[address] = np.array(values)

    def _embed(self, dst: Operand, n: int, r: int, address: int, pitch: int) -> None:
        if not self.live:
            return
        base = self.r[r] + address
        tokens, rows = np.unique(self._ids[self.live], return_inverse=True)
        vectors = np.concatenate([self._fetch(base + int(t) * pitch, n) for t in tokens])
        self._write(dst, self.live, vectors[rows])

    def _settings(self) -> list[Setting]:
        return [scheduler.settings[scheduler.slot_of(p)]
                for p in self._positions(self.step_now.sample) for scheduler in self.schedulers]

    def _emit(self) -> None:
        for m, scheduler in enumerate(self.schedulers):
            scheduler.emit(self.sampler.ids[m::self.copies])
        self.sampler.clear()
        self._keep_rows()
