"""Settings are read at each use, and an unknown key raises an error."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from pillarbox.conf import PillarboxSettings, pillarbox_settings


def test_unknown_key_is_named(settings):
    """
    An unknown key raises an error that names it.
    """
    settings.PILLARBOX = {"BATCH_ROW": 1}
    with pytest.raises(ImproperlyConfigured, match="PILLARBOX has no setting BATCH_ROW"):
        pillarbox_settings()


@pytest.mark.parametrize(
    ("expected", "given"),
    [
        ("PILLARBOX is a list: expected a dictionary.", []),
        ("PILLARBOX is a NoneType: expected a dictionary.", None),
        ("PILLARBOX has no setting 7. PILLARBOX has no setting A.", {"A": 1, 7: 1}),
        ('PILLARBOX["MAX_ATTEMPTS"] is a str: expected a number.', {"MAX_ATTEMPTS": "10"}),
        ('PILLARBOX["MAX_ATTEMPTS"] is a bool: expected a number.', {"MAX_ATTEMPTS": True}),
        ('PILLARBOX["SLOW_SECONDS"] is a NoneType: expected a number.', {"SLOW_SECONDS": None}),
        ('PILLARBOX["REDIS_URL"] is a list: expected text.', {"REDIS_URL": ["redis://:word@host"]}),
        (
            'PILLARBOX["WAKE_UP"] is a builtin_function_or_method: expected text.',
            {"WAKE_UP": print},
        ),
        ('PILLARBOX["METRICS_FOLDER"] is a int: expected a path.', {"METRICS_FOLDER": 0}),
        ('PILLARBOX["ACCESS_LOG"] is a int: expected True or False.', {"ACCESS_LOG": 1}),
    ],
)
def test_a_wrong_type_is_named(settings, expected, given):
    """
    A dictionary or a value of a wrong type raises an error that names it, without the value, which may be
    secret.
    """
    settings.PILLARBOX = given
    with pytest.raises(ImproperlyConfigured) as raised:
        pillarbox_settings()
    assert expected == str(raised.value)


@pytest.mark.parametrize(
    "given", [{"SLOW_SECONDS": 9}, {"MAX_ATTEMPTS": 9.0}, {"METRICS_FOLDER": Path("/tmp/metrics")}]
)
def test_a_right_type_is_accepted(settings, given):
    """
    Whole numbers and fractions are numbers, and a path may be a `Path`.
    """
    settings.PILLARBOX = given
    (key,) = given
    assert given[key] == getattr(pillarbox_settings(), key)


def test_there_are_defaults(settings):
    """
    No setting is required.
    """
    del settings.PILLARBOX
    assert PillarboxSettings() == pillarbox_settings()
