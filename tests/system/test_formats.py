import pytest

from tune_encoder.system.formats import (
    count_noun,
    format_clock,
    format_duration,
    format_short,
    format_size,
    format_value,
)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.00312345, "0.003123"),
        (12345.6, "1.235e+04"),
        (2.0, "2"),
        (64, "64"),
        (123456, "123456"),
        (True, "True"),
        ("pca", "pca"),
        (None, "-"),
    ],
)
def test_only_numbers_with_a_fraction_are_cut_to_four_digits(value, written):
    assert format_value(value) == written


def test_where_room_is_narrow_fewer_digits_are_written():
    assert (format_short(0.00312345), format_short(64), format_short("pca")) == (
        "0.00312",
        "64",
        "pca",
    )


def test_a_cell_without_a_value_may_be_empty():
    assert format_value(None, missing="") == ""


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0:00"),
        (7.4, "0:07"),
        (59.6, "1:00"),
        (750, "12:30"),
        (3599.6, "1:00:00"),
        (11100, "3:05:00"),
        (100 * 3600, "100:00:00"),
    ],
)
def test_a_measured_duration_is_written_as_a_clock_shows_it(seconds, written):
    assert format_clock(seconds) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0 s"),
        (0.0123, "0.012 s"),
        (89, "89 s"),
        (90, "2 min"),
        (89 * 60, "89 min"),
        (90 * 60, "1.5 h"),
        (47 * 3600, "47.0 h"),
        (60 * 3600, "2.5 days"),
    ],
)
def test_a_rough_duration_is_written_in_the_unit_that_reads_best(seconds, written):
    assert format_duration(seconds) == written


@pytest.mark.parametrize(
    ("n_bytes", "written"),
    [
        (0, "0 kB"),
        (1500, "2 kB"),
        (999_000, "999 kB"),
        (1_000_000, "1 MB"),
        (268_435_456, "268 MB"),
        (1_500_000_000, "1.5 GB"),
    ],
)
def test_a_size_is_written_in_thousands_of_bytes(n_bytes, written):
    assert format_size(n_bytes) == written


@pytest.mark.parametrize(("count", "written"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials")])
def test_one_thing_is_named_in_the_singular(count, written):
    assert count_noun(count, "trial") == written
