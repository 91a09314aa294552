"""The machines that random programs run on, and how their memories behave."""

from dataclasses import dataclass

from tern_fpga.assembler.contract.config import Config


__all__ = ["CONFIGS", "SHIPPED", "Pace"]


# `make test` runs its random programs on these: one position, and as many as any board has.
SHIPPED = ("narrow", "crowd")

# Small, so that a build takes less than a minute and every register is used again soon. Between
# them: all memory widths, 1, 2 and 4 words a beat, all numbers of positions and vector lanes, the
# coarsest and the finest float, the fewest registers and the shortest prefetch.
CONFIGS = {
    "narrow": Config(memory_bytes=1 << 15, lanes=10, positions=1, vector_lanes=1, registers=32,
                     register_elements=16, code_registers=16, accumulator_rows=16,
                     prefetch_words=64, program_words=256),
    "wide":   Config(memory_bits=64, memory_bytes=1 << 16, lanes=40, positions=4, vector_lanes=8,
                     significand=16, exponent=8, registers=32, register_elements=32,
                     code_registers=16, accumulator_rows=32, prefetch_words=64,
                     program_words=256),
    "pair":   Config(memory_bytes=1 << 15, lanes=20, positions=2, vector_lanes=2, significand=11,
                     exponent=5, registers=64, register_elements=16, code_registers=32,
                     accumulator_rows=32, prefetch_words=128, program_words=512),
    "catch":  Config(memory_bytes=1 << 15, lanes=40, positions=1, vector_lanes=4, significand=8,
                     exponent=5, registers=32, register_elements=16, code_registers=16,
                     accumulator_rows=64, prefetch_words=64, program_words=256),
    "eight":  Config(memory_bytes=1 << 16, lanes=10, positions=8, vector_lanes=1, significand=10,
                     exponent=7, registers=32, register_elements=16, code_registers=16,
                     accumulator_rows=16, prefetch_words=64, program_words=256),
    "fine":   Config(memory_bits=32, memory_bytes=1 << 16, lanes=20, positions=1, vector_lanes=1,
                     significand=24, exponent=8, registers=64, register_elements=32,
                     code_registers=32, accumulator_rows=16, prefetch_words=256,
                     program_words=256),
    "odd":    Config(memory_bits=32, memory_bytes=1 << 16, lanes=20, positions=2, vector_lanes=4,
                     significand=13, exponent=6, registers=128, register_elements=16,
                     code_registers=64, accumulator_rows=16, prefetch_words=64,
                     program_words=128),
    "broad":  Config(memory_bits=128, memory_bytes=1 << 16, lanes=80, positions=1, vector_lanes=8,
                     significand=12, exponent=6, registers=32, register_elements=64,
                     code_registers=16, accumulator_rows=64, prefetch_words=64,
                     program_words=256),
    "few":    Config(memory_bytes=1 << 14, lanes=10, positions=2, vector_lanes=1, significand=9,
                     exponent=6, registers=16, register_elements=16, code_registers=4,
                     accumulator_rows=16, prefetch_words=64, program_words=64),
    "many":   Config(memory_bytes=1 << 17, lanes=10, positions=1, vector_lanes=2, significand=14,
                     exponent=8, registers=512, register_elements=16, code_registers=512,
                     accumulator_rows=128, prefetch_words=1024, program_words=1024),
    "double": Config(memory_bits=32, memory_bytes=1 << 16, lanes=40, positions=4, vector_lanes=2,
                     significand=18, exponent=7, registers=32, register_elements=16,
                     code_registers=32, accumulator_rows=32, prefetch_words=128,
                     program_words=256),
    "tall":   Config(memory_bits=64, memory_bytes=1 << 17, lanes=40, positions=2, vector_lanes=4,
                     significand=12, exponent=6, registers=16, register_elements=256,
                     code_registers=8, accumulator_rows=256, prefetch_words=512,
                     program_words=256),
    "crowd":  Config(memory_bits=32, memory_bytes=1 << 16, lanes=20, positions=8, vector_lanes=4,
                     significand=12, exponent=6, registers=64, register_elements=16,
                     code_registers=16, accumulator_rows=32, prefetch_words=128,
                     program_words=256),
}


@dataclass(frozen=True)
class Pace:
    """How the memory behaves: see ``sim/rtl/memory.v``. ``gap`` and ``busy`` in 256ths."""
    seed: int = 0
    latency: int = 2
    gap: int = 0
    busy: int = 0

    @classmethod
    def draw(cls, rng):
        return cls(rng.randrange(1 << 16), rng.choice([2, 3, 8, 8, 20, 60, 200]),
                   rng.choice([0, 0, 30, 100, 200]), rng.choice([0, 0, 20, 80, 160]))
