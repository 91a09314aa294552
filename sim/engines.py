"""One interface for the three engines: it takes prompts and gives tokens or logits."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tern_fpga.assembler.contract.sampling import Sampling
from tern_fpga.assembler.errors import TernError
from tern_fpga.assembler.files import image as images
from tern_fpga.assembler.files.image import Image
from tern_fpga.firmware.streams import StreamError, Streams
from tern_fpga.sim import host
from tern_fpga.sim.golden.machine import ProgramError
from tern_fpga.sim.golden.scheduler import parse_token


__all__ = ["ENGINES", "Token", "AnyMachine", "Engine", "load", "start", "add_argument"]


Floats = NDArray[np.float64]
Ints   = NDArray[np.int64]

ENGINES = ("golden", "rtl", "float")

# Limits of the work of a program (``most_work`` of sim.golden.machine): an allowance of a few
# seconds of work, and for each step an amount for each byte of the image. A byte holds five
# weights or part of a parameter.
_WORK           = 1 << 25
_WORK_OF_A_BYTE = 1 << 10


@dataclass(frozen=True)
class Token:
    """A sampled token of prompt ``stream``, which ends that stream if ``last``.

    ``cycles``: clock cycles up to it; None for a machine without a clock.
    """
    stream: int
    id: int
    last: bool
    cycles: int | None


class AnyMachine(Protocol):
    """A machine as :class:`Engine` uses it; see :class:`sim.golden.machine.Machine`.

    A golden machine also has the members ``work`` and ``most_work``, a machine with a clock
    ``total_cycles``, and a machine of several copies the members of
    :class:`sim.golden.batch.Batch`.
    """
    @property
    def tokens(self) -> list[int]:
        """Words to the host."""

    @property
    def logits(self) -> list[Floats]:
        """(sampled positions, rows), for each ``emit``."""

    @property
    def pc(self) -> int:
        """Number of the next instruction."""

    @property
    def sums(self) -> dict[str, int]:
        """Checksum of the weight streams."""

    def send(self, words: Iterable[int]) -> None:
        """Take message words from the host."""

    def run(self, tokens: int | None = None) -> str:
        """Run until there are that many tokens, or nothing to do; returns the status."""


class Engine:
    """A machine, and the host's side of it.

    Parameters
    ----------
    image : assembler.files.image.Image
    machine : AnyMachine

    Members
    -------
    vocabulary : int
    ends : tuple of int
        The model's end-of-sequence tokens. The core itself stops only at the first.
    """
    def __init__(self, image: Image, machine: AnyMachine) -> None:
        self.image = image
        self.machine = machine
        self.vocabulary, self.ends = image.model()
        self._credit = _WORK
        self._step_work = _WORK_OF_A_BYTE * sum(
            section.size for section in image.sections if section.data is not None)
        self._weights = image.weight_check()
        self._heard = 0         # token words that were read
        self._seen = 0          # arrays of logits that were read

    def check(self, ids: ArrayLike, what: str = "prompt") -> None:
        """Raise TernError unless ``ids`` holds at least one token, and only tokens of the model."""
        ids = np.asarray(ids)
        if not ids.size:
            raise TernError(f"{what}: holds no token")
        if ids.min() < 0 or ids.max() >= self.vocabulary:
            wrong = ids[(ids < 0) | (ids >= self.vocabulary)].flat[0]
            raise TernError(f"{what}: id {wrong} is outside of the vocabulary, 0 to "
                            f"{self.vocabulary - 1}")

    def _run(self, *, stopping: bool = False) -> list[tuple[int, bool, int]]:
        """Run up to the next token; returns the new words as (slot, last, token).

        ``stopping``: the machine may also wait without a new word.
        """
        status = "running"
        while status == "running" and len(self.machine.tokens) == self._heard:
            status = self._advance(self._heard + 1)     # the RTL also stops for logits
        words = self.machine.tokens[self._heard:]
        if not words and not (stopping and status == "waiting"):
            raise self._wrong(f"is {status} at instruction {self.machine.pc} and gives no token")
        if not self._weights.agrees(self.machine.sums):
            raise TernError(f"{images.BINARY}: the weights that came from memory are not those "
                            f"that {images.MANIFEST} tells of; compile the model again")
        self._heard += len(words)
        return [self._token(word) for word in words]

    def _advance(self, tokens: int) -> str:
        """``machine.run``, with a limit on the work that the program of any model keeps."""
        machine: Any = self.machine             # only golden machines count their work
        if hasattr(machine, "work"):
            steps = 1 + len(machine.scheduler.words)
            self._credit += steps * self._step_work
            machine.most_work = machine.work + self._credit // getattr(machine, "copies", 1)
        try:
            before = getattr(machine, "work", 0)
            status = machine.run(tokens=tokens)
        except ProgramError as error:
            raise TernError(f"{images.BINARY}: {error}; compile the model again") from None
        self._credit = min(_WORK, self._credit - (getattr(machine, "work", 0) - before))
        return status

    def _token(self, word: int) -> tuple[int, bool, int]:
        slot, last, token = parse_token(word)
        if token >= self.vocabulary:
            raise self._wrong(f"chose token {token}, and the model has {self.vocabulary}")
        return slot, last, token

    def _rows(self, arrays: list[Floats]) -> list[Floats]:
        """The rows of arrays of logits: a list of (vocabulary,) arrays."""
        for array in arrays:
            if array.shape[1] != self.vocabulary:
                raise self._wrong(f"has {array.shape[1]} logits, and the model {self.vocabulary}")
        return [row for array in arrays for row in array]

    @staticmethod
    def _wrong(what: object) -> TernError:
        return TernError(f"{images.BINARY}: the program {what}; compile the model again")

    def generate(self, prompts: Sequence[Sequence[int]], count: int, *, ends: Sequence[int] = (),
                 sampling: Sampling | list[Sampling | None] | None = None) -> Iterator[Token]:
        """Continue independent streams, ``positions`` of them at a time.

        Parameters
        ----------
        prompts : list of list of int
        count : int
            Tokens to sample for each prompt.
        ends : sequence of int
            A stream ends after any of these tokens.
        sampling : assembler.contract.sampling.Sampling, list of them, or None
            How each stream chooses its tokens; None: the largest logit. A single one is used for
            all prompts, with the seed of prompt n increased by n.

        Yields
        ------
        Token
            In the order in which they are sampled; ``stream`` is the number of the prompt.
        """
        for number, ids in enumerate(prompts):
            self.check(ids, f"prompt {number}")
        choices = sampling if isinstance(sampling, list) else [
            sampling and sampling.with_seed(n) for n in range(len(prompts))]
        streams = Streams(self.image.config, [(ids, count) for ids in prompts], ends=ends,
                          sampling=[choice or Sampling() for choice in choices])
        self.machine.send(streams.messages())
        while not streams.done:
            words = self._run(stopping=streams.stopping)
            if not words:
                streams.idle()
            try:
                tokens = streams.take(words)
            except StreamError as error:
                raise self._wrong(error) from None
            self.machine.send(streams.messages())
            for number, token, last in tokens:
                yield Token(number, token, last, getattr(self.machine, "total_cycles", None))

    def logits(self, ids: ArrayLike, *, batch: int = 64) -> Iterator[Floats]:
        """Logits after each token of one sequence, from an empty state.

        ``ids``: (t,) int. Yields (k, vocabulary) float64 arrays, in order, of about ``batch``
        tokens each. The machine must have been made with ``logits=True``.
        """
        for logits, _ in self.predict(ids, batch=batch):
            yield logits

    def predict(self, ids: ArrayLike, *,
                batch: int = 64) -> Iterator[tuple[Floats, Ints]]:
        """As :meth:`logits`, with the token that the machine chooses after each: yields
        (logits (k, vocabulary) float64, chosen (k,) int)."""
        self.check(ids, "sequence")
        ids = [int(token) for token in np.asarray(ids)]
        self.machine.send(host.prompt(self.image.config, ids, every=True))
        rows: list[Floats] = []
        chosen: list[int] = []
        done = 0
        while done < len(ids):
            words = self._run()
            done += len(words)
            chosen += [token for *_, token in words]
            if len(chosen) >= batch or done >= len(ids):
                arrays = self.machine.logits[self._seen:]
                self._seen += len(arrays)
                rows += self._rows(arrays)
                if done > len(ids) or len(rows) < len(chosen):
                    raise self._wrong("gives more or fewer tokens than it was given")
                # The machine gives logits before token words, so there may be further rows.
                yield np.array(rows[:len(chosen)]), np.array(chosen)
                rows, chosen = rows[len(chosen):], []

    def predict_all(self, sequences: Ints) -> Iterator[tuple[slice, slice, Floats, Ints]]:
        """Predictions after each token of many sequences, each from an empty state.

        ``sequences``: (n, t) int. Yields parts of the results as (rows, columns, logits, chosen):
        slices of the sequences and of the tokens, logits (rows, columns, vocabulary) float64
        and chosen (rows, columns) int. A machine of several copies takes as many sequences at
        a time.
        """
        self.check(sequences, "sequence")
        copies: int = getattr(self.machine, "copies", 1)
        for start in range(0, len(sequences), copies):
            part = sequences[start:start + copies]
            rows, t = slice(start, start + len(part)), 0
            for logits, chosen in self._predict_copies(part) if copies > 1 else (
                    (logits[None], chosen[None]) for logits, chosen in self.predict(part[0])):
                yield rows, slice(t, t + logits.shape[1]), logits, chosen
                t += logits.shape[1]

    def _predict_copies(self, part: Ints) -> Iterator[tuple[Floats, Ints]]:
        machine: Any = self.machine             # has the members of sim.golden.batch.Batch
        copies, count = machine.copies, part.shape[1]
        full = part[np.arange(copies) % len(part)]      # spare copies repeat a sequence
        machine.send_each([host.prompt(self.image.config, [int(token) for token in ids],
                                       every=True) for ids in full])
        done = 0
        while done < count:
            for scheduler in machine.schedulers:
                scheduler.tokens.clear()
            machine.logits.clear()
            status = self._advance(1)
            rows = self._rows(machine.logits)
            tokens = [[self._token(word)[2] for word in scheduler.tokens]
                      for scheduler in machine.schedulers]
            done += len(tokens[0])
            if not rows or len(rows) != len(tokens[0]) * copies or done > count:
                raise self._wrong(f"is {status} at instruction {machine.pc} and gives more or "
                                  f"fewer tokens than it was given")
            logits = np.array(rows).reshape(-1, copies, self.vocabulary)
            chosen = np.array(tokens[:len(part)])
            yield logits.transpose(1, 0, 2)[:len(part)], chosen


def load(directory: Path | str, engine: str, **options: Any) -> Engine:
    """An engine for the image in ``directory``; see :func:`start`.

    Raises
    ------
    TernError
        The image is missing, damaged, or of another config.
    """
    return start(images.load(directory), engine, **options)


def start(image: Image, engine: str, *, logits: bool = False, copies: int = 1) -> Engine:
    """An engine for an image.

    ``engine``: one of :data:`ENGINES`. ``logits``: keep logits, for :meth:`Engine.predict` and
    the like. ``copies``: sequences that :meth:`Engine.predict_all` takes at a time; ``rtl`` takes
    only one.
    """
    if engine == "golden" and copies > 1:
        from tern_fpga.sim.golden.batch import Batch
        return Engine(image, Batch(image, copies=copies, logits=logits))
    if engine == "golden":
        from tern_fpga.sim.golden.machine import Machine
        return Engine(image, Machine(image, logits=logits))
    if engine == "float":
        from tern_fpga.sim.reference.floating import FloatMachine
        return Engine(image, FloatMachine(image, logits=logits, copies=copies))
    from tern_fpga.sim.rtl.machine import RtlMachine
    return Engine(image, RtlMachine(image, logits=logits))


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--engine``."""
    parser.add_argument("--engine", choices=ENGINES, default="golden",
                        help="golden: the bit-exact model (default); rtl: the core's Verilog in "
                             "a simulator, the same bits; float: the same program in float64")
