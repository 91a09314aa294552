import numpy as np
import pytest

from tern_fpga.assembler.contract import formats, tables
from tern_fpga.sim.golden.gumbel import gumbel


FORMATS = [(24, 8), (18, 6), (16, 6), (12, 6), (12, 5), (8, 6), (8, 5)]      # significand, exponent


def real_sigmoid(x):
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1) / (1 + small)


def arguments(fmt):
    """All values of a narrow format; of a wide one a dense sweep and the extremes."""
    if fmt.width <= 18:
        return np.unique(fmt.decode(np.arange(1 << fmt.width)))
    sweep = np.linspace(-20, 20, 1 << 20)
    return np.unique(fmt.round(np.concatenate([sweep, sweep * 1e-4, sweep * 1e30])))


def table_sigmoid(fmt, x):
    slope, intercept = tables.sigmoid(fmt)
    k = tables.sigmoid_index(fmt, x)
    return fmt.round(fmt.round(slope[k] * x) + intercept[k])


@pytest.mark.parametrize("significand,exponent", FORMATS)
def test_errors_against_the_real_functions_are_as_documented(significand, exponent):
    fmt = formats.Float(significand, exponent)
    x = arguments(fmt)
    y = table_sigmoid(fmt, x)
    error = np.abs(y - real_sigmoid(x))
    lines = 6.1e-3 / tables.lines_per_unit(fmt) ** 2
    assert error.max() <= lines + 1.1 * 2.0 ** -significand
    error = np.abs(fmt.round(x * y) - x * real_sigmoid(x))
    flushed = 6.2e-5 if exponent == 5 else 0
    assert (error <= lines * 1.7 + flushed + np.abs(x) * 2.0 ** (1 - significand)).all()


@pytest.mark.parametrize("significand,exponent", FORMATS)
def test_results_stay_in_range_and_end_flat(significand, exponent):
    fmt = formats.Float(significand, exponent)
    x = arguments(fmt)
    y = table_sigmoid(fmt, x)
    assert y.min() >= 0 and y.max() <= 1
    assert (y[x >= 16] == 1).all() and (y[x <= -16] == 0).all()


@pytest.mark.parametrize("significand,exponent", FORMATS)
def test_entries_are_values_of_the_format(significand, exponent):
    fmt = formats.Float(significand, exponent)
    for entries in tables.sigmoid(fmt):
        assert entries.shape == (tables.lines(fmt),)
        assert (fmt.decode(fmt.encode(entries)) == entries).all()
        assert not np.signbit(entries).any()


def test_index_is_sign_then_truncated_magnitude():
    fmt = formats.Float(12, 6)
    x = np.array([0.0, 0.0624, 0.0625, 15.9374, 15.9375, 16, 1e30,
                  -1e-9, -0.0624, -0.0625, -15.9374, -15.9375, -16, -1e30])
    assert tables.sigmoid_index(fmt, x).tolist() == [0, 0, 1, 254, 255, 255, 255,
                                                256, 256, 257, 510, 511, 511, 511]


@pytest.mark.parametrize("significand,count", [(8, 512), (14, 512), (15, 1024), (18, 2048),
                                               (19, 4096), (24, 4096)])
def test_lines_meet_the_curve_within_their_width(significand, count):
    """Every line is the right one for its segment: a shifted table would fail by far."""
    fmt = formats.Float(significand, 8)
    slope, intercept = tables.sigmoid(fmt)
    side, width = count // 2, 1 / tables.lines_per_unit(fmt)
    assert len(slope) == tables.lines(fmt) == count
    x = (np.arange(side) + 0.5) * width
    bound = 6.1e-3 * width ** 2 + 2.0 ** -significand
    assert np.abs(slope[:side] * x + intercept[:side] - real_sigmoid(x)).max() < bound
    assert np.abs(slope[side:] * -x + intercept[side:] - real_sigmoid(-x)).max() < bound


def test_gumbel_lines_are_as_near_as_documented():
    """All fractions of all octaves of both sides; and the documented reach."""
    fraction = np.arange(1 << tables.GUMBEL_BITS)
    octave   = np.arange(tables.GUMBEL_OCTAVES)[:, None]
    w        = 2.0 ** -(octave + 2) * (1 + (fraction + 0.5) / (1 << tables.GUMBEL_BITS))
    zeros    = tables.GUMBEL_OCTAVES - 1
    top      = np.where(octave < zeros, 1 << np.maximum(zeros - 1 - octave, 0), 0)
    largest, values = 0.0, []
    for side, log in enumerate((np.log(w), np.log1p(-w))):
        bits = (top << 1 | side) << tables.GUMBEL_BITS | fraction
        values.append(gumbel(bits))
        error = values[-1] / (1 << tables.GUMBEL_FRACTION) + np.log(-log)
        largest = max(largest, abs(error).max())
    assert 3e-4 < largest <= 4.5e-4
    low, high = np.min(values) / 4096, np.max(values) / 4096
    assert -2.9 <= low < -2.8 and 17.3 < high < 17.4
    intercept, slope = tables.gumbel_lines()
    for numbers, width in ((intercept, tables.GUMBEL_WIDTH), (slope, tables.GUMBEL_SLOPE_WIDTH)):
        assert -(1 << width - 1) <= numbers.min() and numbers.max() < 1 << width - 1
