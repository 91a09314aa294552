import numpy as np
import pytest

from assembler import formats, tables


FORMATS = [(24, 8), (17, 6), (12, 6), (12, 5), (8, 6), (8, 5)]      # significand, exponent


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
    k = tables.sigmoid_index(x)
    return fmt.round(fmt.round(slope[k] * x) + intercept[k])


@pytest.mark.parametrize("significand,exponent", FORMATS)
def test_errors_against_the_real_functions_are_as_documented(significand, exponent):
    fmt = formats.Float(significand, exponent)
    x = arguments(fmt)
    y = table_sigmoid(fmt, x)
    error = np.abs(y - real_sigmoid(x))
    assert error.max() <= 2.4e-5 + 1.1 * 2.0 ** -significand
    error = np.abs(fmt.round(x * y) - x * real_sigmoid(x))
    assert (error <= 6.2e-5 + np.abs(x) * 2.0 ** (1 - significand)).all()


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
        assert entries.shape == (tables.LINES,)
        assert (fmt.decode(fmt.encode(entries)) == entries).all()
        assert not np.signbit(entries).any()


def test_index_is_sign_then_truncated_magnitude():
    x = np.array([0.0, 0.0624, 0.0625, 15.9374, 15.9375, 16, 1e30,
                  -1e-9, -0.0624, -0.0625, -15.9374, -15.9375, -16, -1e30])
    assert tables.sigmoid_index(x).tolist() == [0, 0, 1, 254, 255, 255, 255,
                                                256, 256, 257, 510, 511, 511, 511]


def test_lines_meet_the_curve_within_their_width():
    """Every line is the right one for its segment: a shifted table would fail by far."""
    fmt = formats.Float(24, 8)
    slope, intercept = tables.sigmoid(fmt)
    x = (np.arange(256) + 0.5) / 16
    assert np.abs(slope[:256] * x + intercept[:256] - real_sigmoid(x)).max() < 2.4e-5
    assert np.abs(slope[256:] * -x + intercept[256:] - real_sigmoid(-x)).max() < 2.4e-5
