"""The host's record of the streams in a core's slots: messages to send, tokens received."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.config import Config
from tern_fpga.assembler.contract.messages import conversation
from tern_fpga.assembler.contract.registers import MessageKind, message
from tern_fpga.assembler.contract.sampling import Sampling


__all__ = ["Streams", "StreamError"]


class StreamError(ValueError):
    """The core sent a word that a correct program never sends. The message begins with a verb."""


@dataclass
class _Stream:
    number: int            # of its prompt
    remaining: int         # most tokens that it may still get
    begun: bool = False    # its first token has arrived, which a prompt step samples
    # For a stopped stream: slots that got a token of a stream step since its own last token.
    since: set[int] = field(default_factory=set)

    def count(self, last: bool) -> None:
        """Note a token."""
        if self.remaining <= 1 and not last:
            raise StreamError("gives more tokens than it was asked for")
        self.remaining -= 1


class Streams:
    """Continues prompts independently, each in a slot. If all slots are in use, prompts wait.

    The core ends a stream at ``ends[0]`` and at its number of tokens. At the other ids of ``ends``,
    this class ends the stream: the token is the stream's last, the core gets STOP, and the tokens
    that the core has sampled meanwhile are dropped. The slot becomes free when no further token
    of the stream can arrive. This is the case when

    * a token arrives that is marked as the stream's last;
    * or another slot has sent tokens of two stream steps without a token of this slot between
      them, because a running slot gets a token in every stream step;
    * or the core waits for messages, and all of its words have been read: see :meth:`idle`.

    So the tokens of each stream do not depend on when STOP arrives.

    Parameters
    ----------
    config : assembler.contract.config.Config
    prompts : list of (ids, tokens)
        ``tokens``: the most tokens that a stream gets.
    slots : list of int or None
        The slots to use; None: all.
    ends : sequence of int
        Ids after which a stream ends.
    sampling : list of assembler.contract.sampling.Sampling, or None
        How each prompt's tokens are chosen; None leaves the slots as they are.
    fresh : bool
        Begin with an empty state; otherwise with the state that the slot holds.
    """
    def __init__(self, config: Config, prompts: Sequence[tuple[Sequence[int], int]], *,
                 slots: Iterable[int] | None = None, ends: Sequence[int] = (),
                 sampling: Sequence[Sampling | None] | None = None, fresh: bool = True) -> None:
        self._config, self._sampling, self._fresh = config, sampling, fresh
        self._ends = frozenset(ends)
        self._waiting = deque(enumerate(prompts))
        self._free = deque(range(config.positions) if slots is None else slots)
        self._running: dict[int, _Stream] = {}      # by slot
        self._stopped: dict[int, _Stream] = {}
        self._words = [message(MessageKind.STOP_TOKEN,
                               payload=ends[0] if ends else registers.NO_STOP_TOKEN)]

    @property
    def done(self) -> bool:
        """Whether all prompts have their tokens, and no slot can send another one."""
        return not (self._waiting or self._running or self._stopped)

    @property
    def stopping(self) -> bool:
        """Whether all tokens that the core may still send are to be dropped."""
        return bool(self._stopped) and not self._running

    def messages(self) -> list[int]:
        """Words to send to the core: they start waiting prompts in all free slots."""
        words, self._words = self._words, []
        while self._free and self._waiting:
            slot = self._free.popleft()
            number, (ids, tokens) = self._waiting.popleft()
            self._running[slot] = _Stream(number, tokens)
            words += conversation(self._config, ids, tokens, slot=slot, fresh=self._fresh,
                                  sampling=self._sampling[number] if self._sampling else None)
        return words

    def take(self, words: Iterable[tuple[int, bool, int]]) -> list[tuple[int, int, bool]]:
        """Note words from the core, (slot, last, token) each; returns a list of (number of the
        prompt, token, last).

        Call :meth:`messages` afterwards, and send its words soon.
        """
        return [entry for word in words for entry in self._take(*word)]

    def _take(self, slot: int, last: bool, token: int) -> Iterator[tuple[int, int, bool]]:
        stream = self._running.get(slot) or self._stopped.get(slot)
        if stream is None:
            raise StreamError(f"gives a token of slot {slot}, where no stream runs")
        stream.count(last)
        if stream.begun:
            self._step_of(slot)
        stream.begun = True
        if slot in self._stopped:
            stream.since.clear()
            if last:
                self._release(slot)
            return
        ends = last or token in self._ends
        if ends:
            self._stopped[slot] = self._running.pop(slot)
        if last:
            self._release(slot)
        elif ends:
            self._words.append(message(MessageKind.STOP, slot))
        yield stream.number, token, ends

    def _step_of(self, slot: int) -> None:
        """Note that a stream step sampled a token for ``slot``."""
        for other in [other for other in self._stopped if other != slot]:
            if slot in self._stopped[other].since:
                self._release(other)
            else:
                self._stopped[other].since.add(slot)

    def _release(self, slot: int) -> None:
        del self._stopped[slot]
        self._free.append(slot)

    def idle(self) -> None:
        """Note that the core has taken all messages and waits for others, and that all of its words
        have been read."""
        for slot in list(self._stopped):
            self._release(slot)
