"""Golden model of the scheduler, which chooses the tokens that share a pass over the weights."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.registers import MessageKind
from tern_fpga.assembler.contract.sampling import INVERSE_BITS, MAX_TOP_K, PENALTY_BITS
from tern_fpga.sim.golden.sampler import Setting


__all__ = ["Step", "Scheduler", "token_word", "parse_token"]


_COUNT_MASK = 0xf
_SLOT_MASK = 0xf
_PAYLOAD_MASK = (1 << registers.PAYLOAD_BITS) - 1


@dataclass(frozen=True)
class Step:
    """One pass over the weights; the fields are those of ``hw.common.signatures.step_layout``.

    ``live``, the active mask, and ``sample`` are masks over positions: bit p is position p.
    ``tokens`` has one id per position, 0 for inactive positions.
    """
    live: int
    sample: int
    chain: bool
    fresh: bool
    slot: int
    last: int
    tokens: tuple[int, ...]


def token_word(slot: int, last: bool, token: int) -> int:
    """The word that reports one sampled token to the host."""
    return slot << registers.TOKEN_SLOT_SHIFT | (registers.TOKEN_LAST if last else 0) | token


def parse_token(word: int) -> tuple[int, bool, int]:
    """``(slot, last, token)`` of a word to the host."""
    return (word >> registers.TOKEN_SLOT_SHIFT, bool(word & registers.TOKEN_LAST),
            word & _PAYLOAD_MASK)


class Scheduler:
    """Turns messages from the host into steps, and sampled tokens into words to the host.

    Parameters
    ----------
    config : assembler.contract.config.Config

    Members
    -------
    tokens : list of int
        Words to the host, oldest first; see :func:`parse_token`. The reader may clear it.
    step : Step or None
        The last step that ``next`` returned.
    settings : list of Setting
        Sampling settings and state of each slot.

    Raises
    ------
    ValueError
        A message names a slot that the machine lacks, or a prompt message has no token or more
        than ``positions``. The hardware does not check for these mistakes of the host.
    """
    def __init__(self, config: Config) -> None:
        self.positions = config.positions
        self.words: deque[int] = deque()
        self.tokens: list[int] = []
        self.step: Step | None = None
        self.stop_token = registers.NO_STOP_TOKEN
        self.remaining = [0] * self.positions
        self.running = [False] * self.positions
        self.current = [0] * self.positions         # newest token of each slot
        self.settings = [Setting() for _ in range(self.positions)]
        # Slot and payload of a prompt message whose tokens have not all arrived.
        self._header: tuple[int, int] | None = None
        self._prompt: list[int] = []

    def send(self, word: int) -> None:
        """One message word from the host."""
        self.words.append(int(word))

    def next(self) -> Step | None:
        """Take message words in order until they make a step; None if there is no step yet."""
        while self.words:
            step = self._take(self.words.popleft())
            if step is not None:
                self.step = step
                return step
        if self._header is not None or not any(self.running):
            return None
        live = sum(1 << p for p in range(self.positions) if self.running[p])
        tokens = tuple(token if runs else 0 for token, runs in zip(self.current, self.running))
        self.step = Step(live=live, sample=live, chain=False, fresh=False, slot=0, last=0,
                         tokens=tokens)
        return self.step

    def _take(self, word: int) -> Step | None:
        if self._header is not None:
            self._prompt.append(word & _PAYLOAD_MASK)
            self.settings[self._header[0]].see(self._prompt[-1])
            return self._whole_prompt(*self._header)
        kind = word >> registers.KIND_SHIFT
        slot = word >> registers.SLOT_SHIFT & _SLOT_MASK
        payload = word & _PAYLOAD_MASK
        if kind == MessageKind.STOP_TOKEN:
            self.stop_token = payload
            return None
        if kind not in list(MessageKind):
            return None
        if slot >= self.positions:
            raise ValueError(f"slot must be below {self.positions}, not {slot}")
        if kind == MessageKind.GENERATE:
            self.remaining[slot] = payload
        elif kind == MessageKind.STOP:
            self.remaining[slot] = 0
            self.running[slot] = False
        elif kind == MessageKind.TEMPERATURE:
            self.settings[slot].inverse = payload & (1 << INVERSE_BITS) - 1
        elif kind == MessageKind.SEED:
            self.settings[slot].seed = payload
            self.settings[slot].count = 0
        elif kind == MessageKind.TOP_K:
            if payload > MAX_TOP_K:
                raise ValueError(f"top-k must be 0 to {MAX_TOP_K}, not {payload}")
            self.settings[slot].top_k = payload
        elif kind == MessageKind.REPETITION:
            self.settings[slot].penalty = payload >> PENALTY_BITS
            self.settings[slot].reward = payload & (1 << PENALTY_BITS) - 1
            if payload:
                self.settings[slot].seen[:] = False
        else:
            if not 1 <= payload & _COUNT_MASK <= self.positions:
                raise ValueError(f"a prompt message takes 1 to {self.positions} tokens, "
                                 f"not {payload & _COUNT_MASK}")
            self._header = slot, payload
            self._prompt = []
        return None

    def _whole_prompt(self, slot: int, payload: int) -> Step | None:
        count = payload & _COUNT_MASK
        if len(self._prompt) < count:
            return None
        self._header = None
        live = (1 << count) - 1
        sample = 0
        if payload & registers.PROMPT_SAMPLE:
            sample = live if payload & registers.PROMPT_ALL else 1 << count - 1
        return Step(live=live, sample=sample, chain=True,
                    fresh=bool(payload & registers.PROMPT_FRESH), slot=slot, last=count - 1,
                    tokens=tuple(self._prompt) + (0,) * (self.positions - count))

    def slot_of(self, position: int) -> int:
        """The slot that a position of the last step belongs to."""
        return self.step.slot if self.step and self.step.chain else position

    def emit(self, ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Pass the sampler's choice to the streams and to the host.

        ``ids``: one per position; those of positions that do not sample are ignored.
        """
        step = self.step
        if step is None:            # no step yet
            return
        for p in range(self.positions):
            if not step.sample >> p & 1:
                continue
            token = int(ids[p])
            slot = self.slot_of(p)
            if step.chain and p != step.last:       # report only
                self.tokens.append(token_word(slot, False, token))
                continue
            self.current[slot] = token
            self.settings[slot].count += 1
            self.settings[slot].see(token)
            self.remaining[slot] = max(0, self.remaining[slot] - 1)
            last = self.remaining[slot] == 0 or token == self.stop_token
            self.running[slot] = not last
            self.tokens.append(token_word(slot, last, token))
