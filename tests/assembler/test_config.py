from dataclasses import fields, replace
import subprocess
import sys

import pytest

from tern_fpga.assembler.contract.config import CLOCK_MHZ, PRESETS, Config, preset


BAD = [("memory_bits", 8), ("memory_bits", 24), ("lanes", 12), ("lanes", 80), ("positions", 3),
       ("positions", 16), ("vector_lanes", 16), ("vector_lanes", 8), ("significand", 7),
       ("significand", 25), ("exponent", 4), ("exponent", 9), ("registers", 100),
       ("registers", 1024), ("register_elements", 8), ("code_registers", 2),
       ("accumulator_rows", 8), ("prefetch_words", 32), ("program_words", 8),
       ("memory_bytes", 1000), ("memory_bytes", 1 << 35), ("positions", 1.0)]


@pytest.mark.parametrize("name, value", BAD)
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=str(value)):
        replace(Config(), **{name: value})


def test_registers_shorter_than_four_rows_are_refused():
    with pytest.raises(ValueError, match="at least 4 rows of 8"):
        Config(lanes=40, vector_lanes=8, register_elements=16)


def test_every_parameter_changes_the_digest():
    other = {"memory_bits": 32, "lanes": 40, "exponent": 7, "significand": 16}
    digests = {Config().digest}
    for f in fields(Config):
        value = other.get(f.name, getattr(Config(), f.name) * 2)
        change = {f.name: value} | ({"lanes": 20} if f.name == "memory_bits" else {})
        digests.add(replace(Config(), **change).digest)
    assert len(digests) == len(fields(Config)) + 1


def test_the_digest_is_the_same_in_every_process():
    code = ("from tern_fpga.assembler.contract.config import preset; "
            "print(preset('ulx3s-85f').digest)")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True,
                         encoding="utf-8", check=True)
    assert out.stdout.strip() == preset("ulx3s-85f").digest
    assert len(preset("ulx3s-85f").digest) == 16


def test_presets_are_named_and_have_a_clock():
    assert set(CLOCK_MHZ) == set(PRESETS)
    assert {"sim-tiny", "ulx3s-85f", "ulx3s-25f", "icepi-zero", "icesugar-pro", "orangecrab-85f",
            "ecpix5-85f"} <= set(PRESETS)
    with pytest.raises(ValueError, match="no target 'nexys'; known targets: sim-tiny"):
        preset("nexys")


def test_derived_sizes():
    config = preset("ulx3s-85f")
    assert (config.word_bytes, config.word_trits, config.beat_words) == (2, 10, 2)
    assert config.float.width == 18 and config.row_bits == 72
    assert config.rows(1) == 1 and config.rows(4) == 1 and config.rows(5) == 2
    assert config.vector_words(4) == 5      # 72 bits in words of 16
    assert config.vector_rows == 128 * 8 * 16 and config.code_rows == 64 * 8 * 16
