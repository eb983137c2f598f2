"""Tests of the system checks of the database."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.postgresql.base import DatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from pillarbox.checks import database as checks
from tests.database import database_settings, on_sqlite


def ids(found):
    return [message.id for message in found]


def test_the_database_must_be_read_committed(settings):
    """
    Another isolation level is an error.
    """
    options = settings.DATABASES[DEFAULT_DB_ALIAS].setdefault("OPTIONS", {})
    options["isolation_level"] = 4
    try:
        assert ["pillarbox.E007"] == ids(checks.database_is_postgresql())
    finally:
        del options["isolation_level"]


def test_the_database_must_be_postgresql():
    """
    Another kind of database is an error.
    """
    with on_sqlite():
        (error,) = checks.database_is_postgresql()
        assert "pillarbox.E006" == error.id
        assert "django.db.backends.postgresql" in error.hint


def test_another_kind_of_database_has_no_further_findings():
    """
    Checks that PostgreSQL alone can pass leave another kind of database alone, and don't query it.
    """
    with on_sqlite(), database_settings(HOST="db"):
        assert [] == checks.connections_are_reused_and_time_out()
        assert [] == checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])
        assert [] == checks.live_tables_have_triggers(databases=[DEFAULT_DB_ALIAS])
        assert [] == checks.live_rows_are_visible(databases=[DEFAULT_DB_ALIAS])
        assert connection.connection is None


def test_the_driver_must_be_psycopg_3():
    """
    psycopg2, which Django uses if psycopg 3 can't be imported, is an error.
    """
    assert [] == checks.driver_is_psycopg_3()
    assert ["pillarbox.E013"] == ids(checks.driver_is_psycopg_3(is_psycopg3=False))


class _TenantsBackend(DatabaseWrapper):
    def set_tenant(self, tenant):
        """Switch to the schema of a tenant."""


def test_schemas_for_tenants_are_refused():
    """
    A backend that has a schema for each tenant is an error.
    """
    assert [] == checks.schemas_stay()
    original = connections[DEFAULT_DB_ALIAS]
    connections[DEFAULT_DB_ALIAS] = _TenantsBackend(original.settings_dict)
    try:
        assert ["pillarbox.E014"] == ids(checks.schemas_stay())
    finally:
        connections[DEFAULT_DB_ALIAS] = original


def test_times_have_zones(settings):
    """
    USE_TZ = False is an error.
    """
    assert [] == checks.times_have_zones()
    settings.USE_TZ = False
    assert ["pillarbox.E010"] == ids(checks.times_have_zones())


KEPT = {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
LIMITS = {"connect_timeout": 5, "tcp_user_timeout": 10_000}


@pytest.mark.parametrize(
    ("expected", "conf"),
    [
        ([], {"HOST": "db", "OPTIONS": LIMITS, **KEPT}),
        ([], {"HOST": "", "OPTIONS": {"host": "/run/postgresql"}, **KEPT}),
        (["pillarbox.W001"], {"HOST": "db", "OPTIONS": {"connect_timeout": 5}, **KEPT}),
        (["pillarbox.W001"], {"HOST": "", "OPTIONS": {"host": "db"}, **KEPT}),
        (["pillarbox.W002"], {"HOST": "", "CONN_MAX_AGE": 0}),
        ([], {"HOST": "", "CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}}),
        (["pillarbox.W003"], {"HOST": "", "CONN_MAX_AGE": None}),
    ],
)
def test_connections(expected, conf):
    """
    Connections without timeouts, reuse or health checks get a warning.
    """
    with database_settings(**conf):
        assert expected == ids(checks.connections_are_reused_and_time_out())


@pytest.mark.parametrize(
    ("expected", "pool"),
    [
        (["pillarbox.E015"], {"min_size": None}),
        (["pillarbox.E015"], {"max_size": "8"}),
        ([], None),
        (["pillarbox.W105"], True),
        (["pillarbox.W105"], {"max_size": 6}),
        ([], {"max_size": 7}),
        ([], {"min_size": 8}),
    ],
)
def test_pool(expected, pool):
    """
    A pool with fewer connections than a Daphne process has database threads gets a warning.
    """
    with database_settings(OPTIONS={"pool": pool}):
        assert expected == ids(checks.pool_is_large_enough())


@pytest.mark.django_db(transaction=True)
class TestTables:
    def test_are_checked_in_a_requested_database_only(self):
        """
        Only a requested, migrated default database is checked.
        """
        assert [] == checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])
        assert [] == checks.indexes_and_constraints_exist(databases=["archive"])
        assert [] == checks.indexes_and_constraints_exist()

    def test_an_index_is_missing(self):
        """
        A missing index is named, with the SQL that creates it.
        """
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX pillarbox_cause")
            (found,) = checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])
            cursor.execute(found.hint.partition("table. ")[2])
        assert "pillarbox.W004" == found.id
        assert "pillarbox_cause of pillarbox_notificationoutbox is missing." == found.msg
        assert [] == checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])

    def test_before_a_migration_nothing_is_missing(self):
        """
        Before all migrations are applied nothing counts as missing, because `migrate` runs the
        checks first.
        """
        migration = MigrationRecorder.Migration.objects.filter(app="pillarbox").latest("id")
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX pillarbox_cause")
            (found,) = checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])
            migration.delete()
            try:
                assert [] == checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])
            finally:
                migration.save()
                cursor.execute(found.hint.partition("table. ")[2])

    def test_a_database_that_is_away(self):
        """
        A database that is away gives one error with a sentence, not a traceback.
        """
        to = connection.settings_dict
        name, to["NAME"] = to["NAME"], "nowhere"
        connection.close()
        try:
            (found,) = checks.indexes_and_constraints_exist(databases=[DEFAULT_DB_ALIAS])
            assert [] == checks.live_tables_have_triggers(databases=[DEFAULT_DB_ALIAS])
            assert [] == checks.live_rows_are_visible(databases=[DEFAULT_DB_ALIAS])
        finally:
            connection.close()
            to["NAME"] = name
        assert "pillarbox.E011" == found.id
        assert 'database "nowhere" does not exist' in found.msg


@pytest.mark.django_db
class TestTriggers:
    def test_all_exist_after_migrate(self):
        """
        After `migrate` no trigger is missing; other databases are not queried.
        """
        assert [] == checks.live_tables_have_triggers(databases=[DEFAULT_DB_ALIAS])
        assert [] == checks.live_tables_have_triggers()

    def test_one_is_missing(self, execute):
        """
        A table without its trigger is named, with the commands that install it.
        """
        execute("DROP TRIGGER pillarbox ON library_item")
        (found,) = checks.live_tables_have_triggers(databases=[DEFAULT_DB_ALIAS])
        assert "pillarbox.W005" == found.id
        assert "public.library_item has no trigger." == found.msg
        assert "manage.py migrate" in found.hint


@pytest.mark.django_db
def test_rows_that_row_level_security_hides(execute):
    """
    A live table with policies is named, unless they don't apply to this role.
    """
    execute("CREATE ROLE pillarbox_worker")
    execute("ALTER TABLE library_item ENABLE ROW LEVEL SECURITY")
    assert [] == checks.live_rows_are_visible(databases=[DEFAULT_DB_ALIAS])
    execute("SET LOCAL ROLE pillarbox_worker")
    (found,) = checks.live_rows_are_visible(databases=[DEFAULT_DB_ALIAS])
    execute("RESET ROLE")
    assert "pillarbox.W006" == found.id
    assert "public.library_item" in found.msg
