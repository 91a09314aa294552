"""Proofs about the hardware: ``python -m tests.campaigns.formal``; see ``docs/verification.md``."""
