"""The float engine: the layer program of an image in float64, without the machine's formats."""

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract.sampling import INVERSE_FRACTION, PENALTY_FRACTION
from tern_fpga.assembler.files.image import Image
from tern_fpga.sim.golden.batch import Batch
from tern_fpga.sim.golden.sampler import Setting
from tern_fpga.sim.golden.vector import VectorUnit


__all__ = ["FloatMachine"]


class _Exact(VectorUnit):
    """Rounds nothing but int8 codes, and computes the sigmoid exactly."""
    def round(self, x: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(x, np.float64)

    def sigmoid(self, a: NDArray[np.float64]) -> NDArray[np.float64]:
        small = np.exp(-np.abs(a))
        return np.where(a < 0, small, 1) / (1 + small)

    def sumsq(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (x * x).sum(-1)


class FloatMachine(Batch):
    """A golden machine that computes in float64. The difference is the error of the formats.

    Its random numbers differ from the core's but have the same distribution.

    Parameters and constants are those of the image, which the compiler has rounded. For the model
    of a checkpoint before compilation, see :func:`sim.reference.model.load`.

    Parameters
    ----------
    image : assembler.files.image.Image
    logits : bool
        Keep the logits of every sampled position.
    copies : int
        As in :class:`sim.golden.batch.Batch`. Only a machine of one copy can sample.
    """
    def __init__(self, image: Image, *, logits: bool = False, copies: int = 1) -> None:
        super().__init__(image, copies=copies, logits=True)
        self.alu = _Exact(self.config.float)
        self._wanted = logits

    def _emit(self) -> None:
        logits = np.concatenate(self._rows, 1)
        for row, (place, setting) in enumerate(zip(
                self._places(self._positions(self.step_now.sample)), self._settings())):
            if not setting.greedy:
                self.sampler.ids[place] = self._choice(logits[row], setting)
        if not self._wanted:
            self._rows = []
        super()._emit()

    def _choice(self, logits: NDArray[np.float64], setting: Setting) -> np.int64:
        if setting.penalty:
            penalty = setting.penalty / (1 << PENALTY_FRACTION)
            seen = np.flatnonzero(setting.seen[:len(logits)])
            logits = logits.copy()
            logits[seen] *= np.where(logits[seen] < 0, penalty, 1 / penalty)
        if not setting.inverse:
            return np.argmax(logits)
        # Gumbel-max: the argmax of these is a draw from the softmax.
        noise = np.random.default_rng([setting.seed, setting.count]).gumbel(size=len(logits))
        scores = logits * setting.inverse / (1 << INVERSE_FRACTION) + noise
        if setting.top_k:
            scores[np.argsort(-logits, kind="stable")[setting.top_k:]] = -np.inf
        return np.argmax(scores)
