"""Mutants that change nothing that can be seen, and why."""

__all__ = ["EQUIVALENT"]


EQUIVALENT: dict[str, str] = {}
