from fractions import Fraction

from hypothesis import given, settings, strategies
import numpy as np
import pytest

from tern_fpga.assembler.contract.formats import ACC, CODE, MAX_LENGTH, Fixed, Float


FORMATS = [Float(8, 5), Float(12, 6), Float(17, 6), Float(24, 8)]
over_formats = pytest.mark.parametrize("fmt", FORMATS, ids=str)


def exact_round(fmt, x):
    """The definition in exact arithmetic: nearest, ties to even; then flush, then saturate."""
    x = Fraction(x)
    if x == 0:
        return 0.0
    exponent = 0
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - fmt.significand + 1)
    y = round(x / unit) * unit          # round() of a Fraction goes half to even
    if abs(y) < Fraction(fmt.tiny):
        return 0.0
    return float(max(-Fraction(fmt.max), min(Fraction(fmt.max), y)))


@over_formats
def test_rounding_is_the_definition(fmt):
    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(strategies.floats(allow_nan=False, allow_infinity=False, min_value=-1e45,
                             max_value=1e45))
    def check(x):
        assert fmt.round(x) == exact_round(fmt, x)

    check()


@over_formats
def test_ties_flush_and_saturation(fmt):
    ulp = 2.0 ** -fmt.mantissa
    for x in (1 + ulp / 2, 1 + 3 * ulp / 2, -1 - ulp / 2, fmt.tiny, fmt.tiny * (1 - ulp / 2),
              fmt.tiny * (1 - ulp / 4), fmt.tiny / 2, fmt.max, fmt.max * (1 + ulp / 8),
              fmt.max * 2, -fmt.max * 2):
        assert fmt.round(x) == exact_round(fmt, x), x
    assert not fmt.saturates(fmt.max) and fmt.saturates([0, -2 * fmt.max])


@over_formats
def test_words_round_trip(fmt):
    rng = np.random.default_rng(fmt.significand)
    words = np.unique(np.concatenate([
        rng.integers(0, 1 << fmt.width, 5000),
        np.arange(8), (1 << fmt.width) - 1 - np.arange(8), (1 << fmt.width - 1) + np.arange(8)]))
    values = fmt.decode(words)
    normal = values != 0
    assert np.array_equal(fmt.encode(values[normal]), words[normal])
    assert np.array_equal(fmt.round(values), values)
    # Exponent 0 reads as zero, and zero is always the word 0.
    exponents = words >> fmt.mantissa & (1 << fmt.exponent) - 1
    assert np.array_equal(normal, exponents != 0)
    assert fmt.encode(np.array([0.0, -0.0])).tolist() == [0, 0]


@over_formats
def test_the_extremes_have_the_extreme_words(fmt):
    assert fmt.encode(fmt.max) == (1 << fmt.width - 1) - 1
    assert fmt.encode(fmt.tiny) == 1 << fmt.mantissa
    assert fmt.encode(-fmt.max) == (1 << fmt.width) - 1
    assert fmt.decode(fmt.encode(1.0)) == 1.0


def test_binary32_where_both_are_normal():
    fmt = Float(24, 8)
    x = np.random.default_rng(0).standard_normal(1000) * 2.0 ** np.arange(-60, 60).repeat(9)[:1000]
    assert np.array_equal(fmt.round(x), x.astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("significand, exponent", [(7, 6), (25, 6), (12, 4), (12, 9), ("12", 6)])
def test_formats_out_of_range_are_refused(significand, exponent):
    with pytest.raises(ValueError, match="must be"):
        Float(significand, exponent)


def test_the_accumulator_holds_the_longest_row():
    # All codes -128 against trits -1 in the longest row: +128 each.
    assert MAX_LENGTH * -CODE.min <= ACC.max
    assert ACC.max < 2 * MAX_LENGTH * -CODE.min + 128      # and no bit is wasted
    assert Fixed(8).min == -128 and Fixed(8).max == 127
