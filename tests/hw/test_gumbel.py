"""Chance: variates in hardware, and the bits that they are made of."""

import numpy as np

from tern_fpga.hw.sample.gumbel import Gumbel
from tern_fpga.sim.golden.gumbel import random_bits
from tests.verilog import over_simulators, run_bench


@over_simulators
def test_rtl_equals_golden(simulator):
    run_bench(Gumbel(), "cocotb_gumbel", simulator, seed=1)


def test_each_bit_of_the_key_changes_each_bit_of_chance():
    rng = np.random.default_rng(2)
    count = 20_000
    key = {"seed": rng.integers(0, 256, count), "count": rng.integers(0, 1024, count),
           "row": rng.integers(0, 1 << 15, count)}
    bits = random_bits(**key)
    for name, shape in key.items():
        for bit in range(24):
            changed = bits ^ random_bits(**{**key, name: shape ^ 1 << bit})
            ones = (changed[:, None] >> np.arange(36) & 1).mean(0)
            assert (abs(ones - 0.5) < 5 * 0.5 / np.sqrt(count)).all(), (name, bit)
