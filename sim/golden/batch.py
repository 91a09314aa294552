"""Several golden machines in lockstep, for many sequences in little time."""

import numpy as np

from tern_fpga.assembler.contract.isa import Space
from tern_fpga.sim.golden.machine import Machine
from tern_fpga.sim.golden.registers import Registers
from tern_fpga.sim.golden.sampler import Sampler
from tern_fpga.sim.golden.scheduler import Scheduler


__all__ = ["Batch"]


class _Registers(Registers):
    """Registers of all machines: those of position p of machine m are at p * copies + m."""
    def __init__(self, config, copies):
        super().__init__(config)
        self._copies = copies
        self.v, self.q = (np.repeat(file, copies, 1) for file in (self.v, self.q))
        self.s = np.repeat(self.s, copies, 1)

    def _uniform(self, number, n):
        """View of the rows that hold a uniform vector: (rows, copies, elements of a row)."""
        size = self.config.register_elements
        first = number * self.config.positions
        last = first + -(-n // size)
        if first * size + n > self.v.size // self._copies:
            raise ValueError(f"u{number} has no {n} elements")
        return self.v.reshape(-1, self._copies, size)[first:last]

    def uniform(self, number, n):
        """The uniform vectors at register ``number``, a copy: (copies, n)."""
        rows = self._uniform(number, n)
        return rows.transpose(1, 0, 2).reshape(self._copies, -1)[:, :n]

    def write_uniform(self, number, values):
        """``values``: (copies, n), or (1, n) for all of them."""
        count, n = values.shape
        rows, size = self._uniform(number, n), self.config.register_elements
        whole = n // size
        rows[:whole] = values[:, :whole * size].reshape(count, whole, size).transpose(1, 0, 2)
        if n % size:
            rows[whole, :, :n % size] = values[:, whole * size:]

    def read(self, operand, n, positions):
        x = super().read(operand, n, positions)
        if operand.space == Space.U:
            return np.tile(x, (len(positions) // self._copies, 1))
        return x


class Batch(Machine):
    """``copies`` golden machines that execute the same instructions at the same time.

    Each has its own registers, states and tokens, and computes bit for bit what it would alone;
    the memory is one. All get the same messages but for the tokens in them, so that they do the
    same. The steps are those of :class:`sim.golden.machine.Machine`, over arrays that are
    ``copies`` times as long: a token of a 5M model costs 2 ms instead of 30.

    Vectors that the program stores are kept aside for each machine and must be loaded from the
    address that they were stored to, as compiled programs do.

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
        One a machine; the first is ``scheduler``.
    v, q, s
        Registers, with position p of machine m at p * copies + m.
    logits : list of (sampled positions * copies, rows) float64

    Raises
    ------
    ValueError
        The machines' messages ask for different steps.
    """
    def __init__(self, image, *, copies, logits=False):
        self.copies = copies
        super().__init__(image, logits=logits)

    def _setup(self, config, program, memory, logits):
        super()._setup(config, program, memory, logits)
        self.registers = _Registers(config, self.copies)
        self.v, self.q, self.s = self.registers.v, self.registers.q, self.registers.s
        self.sampler = Sampler(config.positions * self.copies)
        self.schedulers = [self.scheduler,
                           *(Scheduler(config) for _ in range(self.copies - 1))]
        self._stored = {}               # address: (copies, elements)

    def send(self, words):
        """The same message words to all machines."""
        self.send_each([words] * self.copies)

    def send_each(self, messages):
        """Message words for each machine."""
        for scheduler, words in zip(self.schedulers, messages, strict=True):
            for word in words:
                scheduler.send(word)

    def _next(self):
        steps = [scheduler.next() for scheduler in self.schedulers]
        if len({step and (step.live, step.sample, step.chain, step.fresh, step.slot, step.last)
                for step in steps}) > 1:
            raise ValueError("the machines of a batch were given different messages")
        if steps[0] is None:
            return "waiting"
        self.step_now = steps[0]
        self._ids = np.array([step.tokens for step in steps]).T.reshape(-1)     # by place
        return "running"

    def _places(self, positions):
        return [p * self.copies + m for p in positions for m in range(self.copies)]

    def _write(self, operand, positions, values):
        super()._write(operand, positions,
                       np.broadcast_to(values, (len(positions), values.shape[1])))

    def _fetch(self, address, n):
        if address in self._stored:
            return self._stored[address]
        return super()._fetch(address, n)

    def _put(self, address, values):
        self._stored[address] = np.array(values)

    def _embed(self, dst, n, r, address, pitch):
        if not self.live:
            return
        base = self.r[r] + address
        tokens, rows = np.unique(self._ids[self.live], return_inverse=True)
        vectors = np.concatenate([self._fetch(base + int(t) * pitch, n) for t in tokens])
        self._write(dst, self.live, vectors[rows])

    def _settings(self):
        return [scheduler.settings[scheduler.slot_of(p)]
                for p in self._positions(self.step_now.sample) for scheduler in self.schedulers]

    def _emit(self):
        for m, scheduler in enumerate(self.schedulers):
            scheduler.emit(self.sampler.ids[m::self.copies])
        self.sampler.clear()
        self._keep_rows()
