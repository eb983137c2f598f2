"""Tests of what the app does around `migrate`."""

import pytest
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, connections

from tests.database import on_sqlite

pytestmark = pytest.mark.django_db(databases=["default", "archive"])


class _KeptOut:
    def allow_migrate(self, db, app_label, **hints):
        return app_label != "pillarbox"


def migrate(app, alias):
    """Migrate an app, and those that it depends on; return the names of the database's tables."""
    call_command("migrate", app, database=alias, skip_checks=True, verbosity=0)
    return connections[alias].introspection.table_names()


@pytest.mark.parametrize(
    ("expected", "alias"),
    [
        ('"ENGINE": "django.db.backends.postgresql"', DEFAULT_DB_ALIAS),
        ("a class in DATABASE_ROUTERS", "archive"),
    ],
)
def test_migrate_refuses_another_kind_of_database(expected, alias):
    """
    `migrate` names PostgreSQL and the lines to write, before it has created any table.
    """
    with on_sqlite(alias):
        with pytest.raises(CommandError, match="The outbox needs PostgreSQL") as refused:
            migrate("pillarbox", alias)
        assert expected in str(refused.value)
        assert [] == connections[alias].introspection.table_names()


def test_migrate_goes_on_without_the_outbox(settings):
    """
    Another kind of database has the tables of other apps, if a router keeps the outbox out of it.
    """
    with on_sqlite("archive"):
        assert "auth_user" in migrate("auth", "archive")
        settings.DATABASE_ROUTERS = [_KeptOut()]
        assert "pillarbox_stream" not in migrate("pillarbox", "archive")
