"""Tests of the system check of the settings in `PILLARBOX`."""

import pytest
from django.core.checks import run_checks

from pillarbox.checks.settings import settings_are_valid
from tests.database import database_settings


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ([], {}),
        (["pillarbox.E001"], {"SUBSCRIPTION": 1}),
        (["pillarbox.E002"], {"WAKE_UP": "pillarbox.relay.celery_wake_ups.rang"}),
        (["pillarbox.E002"], {"JSON_ENCODER": "nowhere.Encoder"}),
        (["pillarbox.E002"], {"JSON_ENCODER": "os.path"}),
        (["pillarbox.E002"], {"JSON_ENCODER": "json.JSONDecoder"}),
        (["pillarbox.E002"], {"CELERY_APP": "os.path"}),
        (["pillarbox.E002"], {"WAKE_UP": "os.path"}),
        (["pillarbox.E003"], {"MAX_ATTEMPTS": 0}),
        (["pillarbox.E003"], {"BATCH_ROWS": float("nan")}),
        (["pillarbox.E003"], {"BATCH_ROWS": float("inf")}),
        (["pillarbox.E003"], {"METRICS_PORT": -1}),
        (["pillarbox.E003"], {"METRICS_PORT": 65536}),
        ([], {"METRICS_PORT": 65535}),
        (["pillarbox.E003", "pillarbox.W104"], {"RETENTION_SECONDS": 0}),
        (["pillarbox.E003", "pillarbox.E102"], {"LOCK_IDLE_SECONDS": -1.0}),
        (["pillarbox.E003"], {"COMMANDS_PER_SECOND": 0}),
        (["pillarbox.E009"], {"BACKOFF_BASE_SECONDS": 5, "BACKOFF_CEILING_SECONDS": 4}),
        ([], {"BACKOFF_BASE_SECONDS": 5, "BACKOFF_CEILING_SECONDS": 5}),
        (["pillarbox.E009"], {"RECONNECT_MIN_MS": 20_001}),
        (["pillarbox.E102"], {"PUBLISH_SECONDS": 1.2}),
        ([], {"PUBLISH_SECONDS": 1.1}),
        (["pillarbox.W102"], {"SLOW_SECONDS": 50}),
        ([], {"SLOW_SECONDS": 49.9}),
        (["pillarbox.W104"], {"RETENTION_SECONDS": 74}),
        ([], {"RETENTION_SECONDS": 75}),
    ],
)
def test_each_mistake_has_its_id(settings, expected, values):
    """
    Each kind of invalid setting has an id of its own, and a hint.
    """
    settings.PILLARBOX = values
    found = settings_are_valid()
    assert expected == [message.id for message in found]
    assert all(message.hint for message in found)


def test_the_project_itself_is_sound():
    """
    The project's own settings have no findings.
    """
    assert [] == settings_are_valid()


@pytest.mark.parametrize("given", [[], None, {"NOPE": 1}, {"MAX_ATTEMPTS": None}])
@pytest.mark.django_db(
    databases=["default", "archive"]
)  # Django's own checks ask for the server's version
def test_other_checks_leave_invalid_settings_to_this_one(settings, given):
    """
    If ``PILLARBOX`` can't be read, one error says so, and no check raises.
    """
    with database_settings(OPTIONS={"pool": True}):
        before = run_checks()
        settings.PILLARBOX = given
        (error,) = (message for message in run_checks() if message not in before)
    assert "pillarbox.E001" == error.id
    assert "PILLARBOX" in error.msg
