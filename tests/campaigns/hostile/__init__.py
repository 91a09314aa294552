"""Hostile inputs for the command lines, in a sandbox that watches files, time and memory.

    python -m tests.campaigns.hostile --inputs 5000 --seed 1 -o docs/reports/hostile.md
"""
