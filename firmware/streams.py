"""Several streams in the slots of a core, as its hosts keep them: what to say, what was heard."""

from collections import deque
from dataclasses import dataclass, field

from tern_fpga.assembler.contract import registers
from tern_fpga.assembler.contract.messages import conversation
from tern_fpga.assembler.contract.registers import MessageKind, message


__all__ = ["Streams", "StreamError"]


class StreamError(ValueError):
    """The core says what no program of ours lets it say; the message begins with a verb."""


@dataclass
class _Stream:
    number: int            # of its prompt
    left: int              # tokens that it may still get
    begun: bool = False    # its first token, which a prompt step gives, has come
    # Of one that was stopped: slots with a token of a stream step since its own last token.
    since: set[int] = field(default_factory=set)

    def count(self, last):
        if self.left <= 1 and not last:
            raise StreamError("gives more tokens than it was asked for")
        self.left -= 1


class Streams:
    """Continues prompts independently, each in a slot; those that find none free wait.

    The core ends a stream at the first id of ``ends`` and at its count. At the other ids this
    class ends it: the token is the stream's last, STOP goes to the core, and what the core has
    sampled meanwhile is dropped. Such a slot is free once no token of it can come any more:

    * one came that the core has ended the stream with;
    * or another slot gave tokens of two stream steps, and none of this slot came between them,
      while a slot that runs has a token in every stream step;
    * or the core waits for messages, and all that it said was heard: see :meth:`idle`.

    So the tokens of each stream do not depend on when STOP arrives.

    Parameters
    ----------
    config : assembler.contract.config.Config
    prompts : list of (ids, tokens)
        ``tokens``: the most that a stream gets.
    slots : list of int or None
        Those to use; None: all.
    ends : sequence of int
        Ids after which a stream ends.
    sampling : list of assembler.contract.sampling.Sampling, or None
        How each prompt's tokens are chosen; None leaves the slots as they are.
    fresh : bool
        Begin with an empty state; otherwise with what the slot holds.
    """
    def __init__(self, config, prompts, *, slots=None, ends=(), sampling=None, fresh=True):
        self._config, self._sampling, self._fresh = config, sampling, fresh
        self._ends = frozenset(ends)
        self._waiting = deque(enumerate(prompts))
        self._free = deque(range(config.positions) if slots is None else slots)
        self._running, self._stopped = {}, {}       # slot: _Stream
        self._words = [message(MessageKind.STOP_TOKEN,
                               payload=ends[0] if ends else registers.NO_STOP_TOKEN)]

    @property
    def done(self):
        """All prompts have got their tokens, and no slot has any under way."""
        return not (self._waiting or self._running or self._stopped)

    @property
    def stopping(self):
        """All that the core may still say is to be dropped."""
        return bool(self._stopped) and not self._running

    def messages(self):
        """Words for the core, after which it has work until the next token."""
        words, self._words = self._words, []
        while self._free and self._waiting:
            slot = self._free.popleft()
            number, (ids, tokens) = self._waiting.popleft()
            self._running[slot] = _Stream(number, tokens)
            words += conversation(self._config, ids, tokens, slot=slot, fresh=self._fresh,
                                  sampling=self._sampling and self._sampling[number])
        return words

    def take(self, words):
        """What the core said, (slot, last, token) each, as a list of (prompt, token, last).

        :meth:`messages` may have words afterwards, which should reach the core soon.
        """
        return [entry for word in words for entry in self._take(*word)]

    def _take(self, slot, last, token):
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

    def _step_of(self, slot):
        """A stream step gave ``slot`` a token."""
        for other in [other for other in self._stopped if other != slot]:
            if slot in self._stopped[other].since:
                self._release(other)
            else:
                self._stopped[other].since.add(slot)

    def _release(self, slot):
        del self._stopped[slot]
        self._free.append(slot)

    def idle(self):
        """The core has taken all messages, waits for others, and all that it said was heard."""
        for slot in list(self._stopped):
            self._release(slot)
