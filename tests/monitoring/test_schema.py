"""Tests of the comparison of the database with the code's migrations."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connection

from pillarbox.monitoring.schema import is_applied, is_migrated, unapplied

INITIAL, SQUASHED = ("pillarbox", "0001_initial"), ("a", "0001_squashed_0002")


@pytest.mark.django_db
def test_a_missing_migration_is_named():
    """
    A migration that isn't applied is named; only one of the outbox makes the outbox unmigrated.
    """
    assert ([], True) == (unapplied(using=DEFAULT_DB_ALIAS), is_migrated(using=DEFAULT_DB_ALIAS))
    for key, migrated in ((("tickets", "0001_initial"), True), (INITIAL, False)):
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = %s AND name = %s", key)
        assert key in unapplied(using=DEFAULT_DB_ALIAS)
        assert migrated is is_migrated(using=DEFAULT_DB_ALIAS)


@pytest.mark.parametrize(
    ("expected", "applied"),
    [
        (True, {SQUASHED}),
        (True, {("a", "0001"), ("a", "0002")}),
        (False, {("a", "0001")}),
        (False, set()),
    ],
)
def test_a_squashed_migration_is_applied_by_those_that_it_replaces(expected, applied):
    """
    A squashed migration needn't run if all migrations that it replaces have run.
    """
    assert expected is is_applied(SQUASHED, {("a", "0001"), ("a", "0002")}, applied)


def test_a_migration_that_replaces_none_is_applied_itself():
    """
    Without replaced migrations, only the migration's own record counts.
    """
    assert not is_applied(INITIAL, set(), {("a", "0001")})
