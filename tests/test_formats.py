"""Tests of how numbers, durations and errors are shown to operators."""

import pytest

from pillarbox.formats import age, duration


@pytest.mark.parametrize(
    ("expected", "seconds"),
    [
        ("0 s", 0.4),
        ("119 s", 119),
        ("2 min", 120),
        ("2 h", 7200),
        ("47 h", 170_000),
        ("3 d", 260_000),
    ],
)
def test_ages_have_one_unit(expected, seconds):
    """
    An age is shown in the unit that suits it.
    """
    assert expected == age(seconds)


@pytest.mark.parametrize(
    ("expected", "seconds"), [("0 ms", 0), ("999 ms", 0.999), ("1.0 s", 1), ("10 s", 10)]
)
def test_durations_are_rounded(expected, seconds):
    """
    Durations below a second are shown in milliseconds; from ten seconds on, without tenths.
    """
    assert expected == duration(seconds)
