"""Compiled models for tests, each made once a run."""

import functools
from pathlib import Path

from tern_fpga.assembler.compiler.compile import compile_model
from tern_fpga.assembler.contract.config import Config
from tests import random_model


__all__ = ["TINY_A", "CONFIGS", "compiled", "random_image"]


TINY_A = Path(__file__).parent / "data" / "mmf-tiny-a"

# Each differs from the others in lanes, positions, vector lanes and float format.
CONFIGS = {
    "narrow": Config(memory_bytes=1 << 21, lanes=10, positions=1, vector_lanes=1, registers=128,
                     register_elements=32, code_registers=64, accumulator_rows=256,
                     prefetch_words=256),
    "wide":   Config(memory_bits=64, memory_bytes=1 << 21, lanes=40, positions=4, vector_lanes=4,
                     significand=16, exponent=8, registers=128, register_elements=32,
                     code_registers=64, accumulator_rows=128, prefetch_words=256),
    "many":   Config(memory_bits=32, memory_bytes=1 << 21, lanes=40, positions=8, vector_lanes=2,
                     significand=10, exponent=7, registers=64, register_elements=64,
                     code_registers=32, accumulator_rows=64, prefetch_words=64),
}


@functools.cache
def compiled(path, config):
    """Image of the checkpoint at ``path`` for ``config``."""
    return compile_model(path, config, "test")


def random_image(folder, config, **shape):
    """Image of a random checkpoint; see :func:`tests.random_model.write`."""
    return compile_model(random_model.write(folder / "model", **shape), config, "test")
