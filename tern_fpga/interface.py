"""The interface of ``import tern_fpga``. All other modules may change."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import CLOCK_MHZ, Config, preset
from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import tokenizer
from tern_fpga.assembler.files.checkpoint import Checkpoint
from tern_fpga.assembler.files.image import Image, load
from tern_fpga.sim import engines, host
from tern_fpga.sim.commands import perf


__all__ = ["Config", "Image", "Machine", "Sampling", "TernError", "compile", "load"]


def compile(checkpoint: Path | str | Checkpoint, target: str = "sim-tiny", **changes: int) -> Image:
    """Compile a checkpoint for a machine.

    Parameters
    ----------
    checkpoint : path
        A folder with ``config.json`` and safetensors, or a ``model.json``.
    target : str
        A preset; `tern-fpga boards list` shows them.
    changes
        Fields of :class:`Config` that replace those of the preset.

    Returns
    -------
    Image
        ``image.save(directory)`` writes it, and :func:`load` reads it again.

    Raises
    ------
    TernError
        The checkpoint cannot be read or is not supported, or the model does not fit.
    ValueError
        There is no such preset, or a field is outside its range.
    """
    return compile_model(checkpoint, replace(preset(target), **changes), target)


class Machine:
    """A compiled model on an engine.

    Every call starts from an empty state.

    Parameters
    ----------
    image : Image or path
        From :func:`compile`, or the folder of a saved image.
    engine : str
        ``golden``: the bit-exact model in NumPy. ``rtl``: the core's Verilog in a simulator, which
        computes the same bits. ``float``: the same program in float64.

    Raises
    ------
    TernError
        The image cannot be read.
    ValueError
        There is no such engine.
    """
    def __init__(self, image: Image | Path | str, engine: str = "golden") -> None:
        if engine not in engines.ENGINES:
            raise ValueError(f"engine must be one of {', '.join(engines.ENGINES)}, not {engine!r}")
        self.image  = image if isinstance(image, Image) else load(image)
        self.engine = engine
        self.words  = tokenizer.load(self.image)

    def _ids(self, prompt: str | Iterable[int]) -> list[int]:
        if not isinstance(prompt, str):
            return [index(token) for token in prompt]
        if self.words is None:
            raise TernError("the model has no tokenizer: give token ids")
        return self.words.encode(prompt)

    def tokens(self, prompt: str | Iterable[int], count: int = 32, *, temperature: float = 0.0,
               top_k: int = 0, repetition_penalty: float = 1.0, seed: int = 0,
               ignore_eos: bool = False) -> Iterator[int]:
        """Up to ``count`` token ids that continue ``prompt`` (text or ids), as they come.

        ``temperature``, ``top_k``, ``repetition_penalty`` and ``seed`` are those of
        :class:`Sampling`; by default, each token is the most likely one. ``ignore_eos``: continue
        after the model's end-of-sequence tokens.

        Raises
        ------
        TernError
            The prompt has no token, or one that the model does not have.
        ValueError
            A number is out of range.
        """
        choice = Sampling(temperature, top_k, repetition_penalty, seed)
        ids    = self._ids(prompt)
        engine = engines.start(self.image, self.engine)
        engine.check(ids)
        ends   = () if ignore_eos else engine.ends
        return (token.id for token in engine.generate([ids], host.check_count(count), ends=ends,
                                                      sampling=choice))

    def generate(self, prompt: str | Iterable[int], count: int = 32,
                 **options: Any) -> Iterator[str]:
        """As :meth:`tokens`, but as pieces of text: joined, they are the text of all tokens.

        The text may contain control characters. Escape it before you show it on a terminal.
        """
        if self.words is None:
            raise TernError("the model has no tokenizer: use tokens()")
        ids = self._ids(prompt)
        return self._text(self.words.stream(ids), self.tokens(ids, count, **options))

    @staticmethod
    def _text(text: Any, tokens: Iterator[int]) -> Iterator[str]:
        for token in tokens:
            if piece := text.push(token):
                yield piece
        if piece := text.flush():
            yield piece

    def logits(self, prompt: str | Iterable[int]) -> Iterator[npt.NDArray[np.float64]]:
        """Yield the logits after each token of ``prompt`` (text or ids): (vocabulary,) float64."""
        ids = self._ids(prompt)
        engine = engines.start(self.image, self.engine, logits=True)
        for part in engine.logits(ids, batch=self.image.config.positions):
            yield from part

    def perf(self, *, tokens: int = 2, streams: int = 1) -> perf.Performance:
        """Measure decoding on the RTL with the board's memory, regardless of the engine.

        Returns a :class:`tern_fpga.sim.commands.perf.Performance`. Raises TernError if the image's
        target is not a known one, or ``tokens`` or ``streams`` are out of range.
        """
        target = self.image.manifest.get("target")
        if target not in CLOCK_MHZ:
            raise TernError(f"the image was made for {target!r}, which is no known target")
        perf.check(self.image, tokens, streams)
        options = perf.machine_options(target, perf.chosen_memory(target))
        return perf.measure(self.image, **options, tokens=tokens, streams=streams)
