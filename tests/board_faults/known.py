"""Faults that change nothing that can be seen, and why: by :attr:`Fault.key`."""

__all__ = ["EQUIVALENT"]


EQUIVALENT: dict[str, str] = {
}
