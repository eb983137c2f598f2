"""Failed rows grouped by cause."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS

from pillarbox.monitoring.causes import cause, causes
from pillarbox.stream.attempts import fingerprint
from tests.rows import make

pytestmark = pytest.mark.django_db
NOW = datetime.now(UTC)


def failed(offset, ago=0, error_type="a.b.BrokenError", error_message="no row 7", **values):
    return make(
        offset,
        failed_at=NOW - timedelta(seconds=ago),
        error_type=error_type,
        error_message=error_message,
        error_fingerprint=fingerprint(error_type, error_message),
        **values,
    )


def found():
    return causes(using=DEFAULT_DB_ALIAS, most=10)


def test_rows_of_a_cause_are_one_group():
    """
    A group has its number of rows, times, object types, and the latest error message.
    """
    failed(1, ago=50)
    failed(2, ago=5, error_message="no row 8\nat all", object_type="project")
    failed(3, ago=20, replayed_at=NOW)
    make(
        4,
        error_type="a.b.BrokenError",
        error_fingerprint=fingerprint("a.b.BrokenError", "no row 7"),
    )
    (group,) = found()
    assert (3, 2) == (group.rows, group.unreplayed)
    assert (NOW - timedelta(seconds=50), NOW - timedelta(seconds=5)) == (
        group.first_at,
        group.last_at,
    )
    assert ["project", "ticket"] == group.object_types
    assert "BrokenError: no row 8" == group.name
    assert group == cause(group.fingerprint, using=DEFAULT_DB_ALIAS)


def test_causes_to_be_replayed_come_first():
    """
    Then causes are ordered by latest failure, and limited to the requested number.
    """
    failed(1, ago=1, error_message="replayed", replayed_at=NOW)
    failed(2, ago=9, error_message="old")
    failed(3, ago=2, error_message="new")
    assert ["new", "old", "replayed"] == [each.error_message for each in found()]
    assert ["new"] == [each.error_message for each in causes(using=DEFAULT_DB_ALIAS, most=1)]


@pytest.mark.parametrize("asked", ["", "0" * 16, "0" * 15, "\0", "0" * 16 + "\n", "' OR true --"])
def test_an_unknown_cause_is_none(asked):
    """
    Any unknown fingerprint, and an outbox without failures, give None.
    """
    failed(1)
    assert cause(asked, using=DEFAULT_DB_ALIAS) is None
