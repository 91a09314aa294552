"""Proofs about the hardware: ``python -m tests.formal``; see ``docs/verification.md``."""
