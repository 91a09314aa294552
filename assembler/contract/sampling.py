"""How a stream samples its tokens: the user's settings, and the messages that set up the core.

Standard library only.
"""

import argparse
from dataclasses import dataclass, replace
import math
from typing import Self

from tern_fpga.assembler.contract.registers import PAYLOAD_BITS, MessageKind, message
from tern_fpga.assembler.errors import TernError


__all__ = ["INVERSE_BITS", "INVERSE_FRACTION", "MAX_TOP_K", "PENALTY_BITS", "PENALTY_FRACTION",
           "REWARD_FRACTION", "SEEN_TOKENS", "Sampling", "add_arguments", "from_arguments"]


INVERSE_BITS     = 18      # of 1 / temperature, unsigned
INVERSE_FRACTION = 12      # fraction bits of it: temperatures from 1/64 to 4096
MAX_TOP_K        = 32
PENALTY_BITS     = 12      # of the repetition penalty, and of 1 / penalty
PENALTY_FRACTION = 10
REWARD_FRACTION  = 12      # of 1 / penalty, which is below 1
SEEN_TOKENS      = 1 << 15 # ids from this one on are never penalised


def _check(name: str, value: float, rule: str, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} must be {rule.format(least, most)}, not {value!r}")


@dataclass(frozen=True)
class Sampling:
    """Draw from softmax(logits / temperature). The defaults switch every setting off.

    Parameters
    ----------
    temperature : float
        0: take the largest logit, the lowest id on ties. Otherwise 0.016 to 1024.
    top_k : int
        Draw among this number of the largest logits, the lowest ids on ties: 1 to 32. 0: all.
    repetition_penalty : float
        1 to 3.99. If the stream has seen a token, in its prompt or among its sampled tokens, a
        positive logit of that token is divided by the penalty and a negative one is multiplied.
    seed : int
        Seed of the draws, 24 bits: the same seed gives the same tokens again.

    Raises
    ------
    ValueError
        A value is outside its rule; the message states both.
    """
    temperature: float = 0.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature:
            _check("temperature", self.temperature, "0, or {} to {}", 0.016, 1024)
        _check("top_k", self.top_k, "{} to {}", 0, MAX_TOP_K)
        _check("repetition_penalty", self.repetition_penalty, "{} to {}", 1, 3.99)
        _check("seed", self.seed, "{} to {}", 0, (1 << PAYLOAD_BITS) - 1)

    def with_seed(self, offset: int) -> Self:
        """The same settings for another stream: the seed is increased by ``offset``."""
        return replace(self, seed=(self.seed + offset) % (1 << PAYLOAD_BITS))

    @property
    def inverse(self) -> int:
        """1 / temperature in the core's fixed point; 0 if the temperature is 0."""
        return round((1 << INVERSE_FRACTION) / self.temperature) if self.temperature else 0

    @property
    def penalties(self) -> tuple[int, int]:
        """The penalty and 1 / penalty in the core's fixed point; both 0 without a penalty."""
        if self.repetition_penalty == 1:
            return 0, 0
        return (round(self.repetition_penalty * (1 << PENALTY_FRACTION)),
                min(round((1 << REWARD_FRACTION) / self.repetition_penalty),
                    (1 << PENALTY_BITS) - 1))

    def messages(self, slot: int = 0, *, fresh: bool = True) -> list[int]:
        """Message words that set up a slot; they replace all of its earlier settings.

        With ``fresh`` false, the slot's stream continues. The penalty must then be the same as
        before. It is not sent again, because the core would forget which tokens the stream has
        seen.
        """
        penalty, reward = self.penalties
        return [message(MessageKind.TEMPERATURE, slot, self.inverse),
                message(MessageKind.TOP_K, slot, self.top_k),
                *([message(MessageKind.REPETITION, slot, penalty << PENALTY_BITS | reward)]
                  if fresh else []),
                message(MessageKind.SEED, slot, self.seed)]


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


_number.__name__ = "number"     # argparse shows this name in its messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that samples; :func:`from_arguments` reads them."""
    group = parser.add_argument_group("sampling")
    group.add_argument("--temperature", type=_number, default=0.0, metavar="T",
                       help="sample from softmax(logits / T); 0: the largest logit "
                            "(default: %(default)g)")
    group.add_argument("--top-k", type=int, default=0, metavar="K",
                       help=f"... among the K largest logits, up to {MAX_TOP_K} (default: all)")
    group.add_argument("--repetition-penalty", type=_number, default=1.0, metavar="R",
                       help="divide positive logits of tokens that are in the text by R, and "
                            "multiply negative ones (default: 1, none)")
    group.add_argument("--seed", type=int, metavar="S",
                       help="seed of the draws; prompt n has S + n (default: 0)")


def from_arguments(args: argparse.Namespace) -> Sampling:
    """The user's settings. Raises TernError if they are out of range or contradict each other."""
    if not args.temperature:
        for name, given in (("seed", args.seed is not None), ("top-k", args.top_k)):
            if given:
                raise TernError(f"--{name} needs --temperature: the largest logit is no matter "
                                f"of chance")
    try:
        return Sampling(temperature=args.temperature, top_k=args.top_k,
                        repetition_penalty=args.repetition_penalty, seed=args.seed or 0)
    except ValueError as error:
        raise TernError(str(error)) from None
