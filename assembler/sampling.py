"""How a stream chooses its tokens: what a user says, and the messages that tell the core.

Standard library only.
"""

from dataclasses import dataclass, replace

from assembler.registers import PAYLOAD_BITS, MessageKind, message


__all__ = ["INVERSE_BITS", "INVERSE_FRACTION", "Sampling"]


INVERSE_BITS     = 18      # of 1 / temperature, unsigned
INVERSE_FRACTION = 12      # ... of which behind the point: temperatures from 1/64 to 4096


@dataclass(frozen=True)
class Sampling:
    """Draw from softmax(logits / temperature); what is left out is off.

    Parameters
    ----------
    temperature : float
        0: the largest logit, the lowest id on ties. Otherwise 1/64 to 1024.
    seed : int
        Of the draws, 24 bits: the same seed gives the same tokens again.

    Raises
    ------
    ValueError
        A value is outside its rule; the message states both.
    """
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self):
        if self.temperature and not 1 / 64 < self.temperature <= 1024:
            raise ValueError(f"temperature must be 0 or from 0.016 to 1024, not "
                             f"{self.temperature!r}")
        if not 0 <= self.seed < 1 << PAYLOAD_BITS:
            raise ValueError(f"seed must be 0 to {(1 << PAYLOAD_BITS) - 1}, not {self.seed!r}")

    def with_seed(self, offset):
        """The same for another stream: the seed is ``offset`` further on."""
        return replace(self, seed=(self.seed + offset) % (1 << PAYLOAD_BITS))

    @property
    def inverse(self):
        """1 / temperature as the core takes it."""
        return round((1 << INVERSE_FRACTION) / self.temperature) if self.temperature else 0

    def messages(self, slot=0):
        """Words that give a slot these settings, whatever it had before."""
        return [message(MessageKind.TEMPERATURE, slot, self.inverse),
                message(MessageKind.SEED, slot, self.seed)]
