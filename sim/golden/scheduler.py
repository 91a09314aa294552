"""Golden model of the scheduler: which tokens share the next pass over the weights."""

from collections import deque
from dataclasses import dataclass

from tern_fpga.assembler.contract import registers
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

    ``live`` and ``sample`` are masks over positions (bit p is position p); ``tokens`` has one
    id per position, 0 where the position is not live.
    """
    live: int
    sample: int
    chain: bool
    fresh: bool
    slot: int
    last: int
    tokens: tuple[int, ...]


def token_word(slot, last, token):
    """The word that tells the host one sampled token."""
    return slot << registers.TOKEN_SLOT_SHIFT | (registers.TOKEN_LAST if last else 0) | token


def parse_token(word):
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
        What the last successful ``next`` returned.
    settings : list of Setting
        How each slot's tokens are chosen.

    Raises
    ------
    ValueError
        A message names a slot that the machine lacks, or a prompt has no token or more than
        ``positions``: mistakes of the host, which the hardware does not check.
    """
    def __init__(self, config):
        self.positions = config.positions
        self.words = deque()
        self.tokens = []
        self.step = None
        self.stop_token = registers.NO_STOP_TOKEN
        self.remaining = [0] * self.positions
        self.running = [False] * self.positions
        self.current = [0] * self.positions         # newest token of each slot
        self.settings = [Setting() for _ in range(self.positions)]
        self._header = None                         # of a prompt that is not whole yet
        self._prompt = []

    def send(self, word):
        """One message word from the host."""
        self.words.append(int(word))

    def next(self):
        """Take message words in order until there is a step; None if there is none yet."""
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

    def _take(self, word):
        if self._header is not None:
            self._prompt.append(word & _PAYLOAD_MASK)
            self.settings[self._header[0]].see(self._prompt[-1])
            return self._whole_prompt()
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

    def _whole_prompt(self):
        slot, payload = self._header
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

    def slot_of(self, position):
        """The slot that a position of the last step works for."""
        return self.step.slot if self.step.chain else position

    def emit(self, ids):
        """Hand out what the sampler chose. ``ids``: one per position, read where sampled."""
        step = self.step
        if step is None:            # nothing was sampled yet
            return
        for p in range(self.positions):
            if not step.sample >> p & 1:
                continue
            token = int(ids[p])
            slot = self.slot_of(p)
            if step.chain and p != step.last:       # only reports
                self.tokens.append(token_word(slot, False, token))
                continue
            self.current[slot] = token
            self.settings[slot].count += 1
            self.settings[slot].see(token)
            self.remaining[slot] = max(0, self.remaining[slot] - 1)
            last = self.remaining[slot] == 0 or token == self.stop_token
            self.running[slot] = not last
            self.tokens.append(token_word(slot, last, token))
