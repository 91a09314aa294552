"""The float engine: the layer program of an image in float64, without the machine's formats."""

import numpy as np

from sim.golden.batch import Batch
from sim.golden.vector import VectorUnit


__all__ = ["FloatMachine"]


class _Exact(VectorUnit):
    """Nothing is rounded and the sigmoid is the real one; int8 codes stay int8 codes."""
    def round(self, x):
        return np.asarray(x, np.float64)

    def sigmoid(self, a):
        small = np.exp(-np.abs(a))
        return np.where(a < 0, small, 1) / (1 + small)

    def sumsq(self, x):
        return (x * x).sum(-1)


class FloatMachine(Batch):
    """A golden machine that computes in float64; the difference is what the formats cost.

    Parameters and constants are those of the image, so rounded once. For the model of a
    checkpoint, before any compilation, see :class:`sim.reference.Reference`.

    Parameters
    ----------
    image : assembler.image.Image
    logits : bool
        Keep the logits of every sampled position.
    temperature : float or None
        Sample from softmax(logits / temperature) instead of taking the largest logit.
    seed : int
        Of the sampling; slots draw independently.
    copies : int
        As of :class:`sim.golden.batch.Batch`; one of them can sample.
    """
    def __init__(self, image, *, logits=False, temperature=None, seed=0, copies=1):
        super().__init__(image, copies=copies, logits=logits or temperature is not None)
        self.alu = _Exact(self.config.float)
        self._wanted = logits
        self._temperature = temperature
        self._draws = [np.random.default_rng([seed, slot])
                       for slot in range(self.config.positions)]

    def _emit(self):
        step = self.step_now
        if self._temperature is not None:
            logits = np.concatenate(self._rows, 1)
            for row, p in enumerate(self._positions(step.sample)):
                slot = step.slot if step.chain else p
                # Gumbel-max: the argmax of these is a draw from the softmax.
                noise = self._draws[slot].gumbel(size=logits.shape[1])
                self.sampler.ids[p] = np.argmax(logits[row] / self._temperature + noise)
        if not self._wanted:
            self._rows = []
        super()._emit()
