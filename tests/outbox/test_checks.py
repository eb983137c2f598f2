"""`manage.py check` names what is wrong, and what to do."""

from contextlib import contextmanager

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.migrations.recorder import MigrationRecorder
from django.test.utils import isolate_apps
from model_utils import FieldTracker

from apps.outbox import checks
from apps.outbox.announcers import Announcer, connect, disconnect
from tests.database import database_settings


def ids(found):
    return [message.id for message in found]


def test_the_project_is_sound():
    """
    As it is, nothing is found.
    """
    assert [] == checks.settings_are_sound()
    assert [] == checks.trackers_work()
    assert [] == checks.database_is_postgresql()


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        (["outbox.E001"], {"BEL": ""}),
        (["outbox.E002"], {"BELL": "workers.bell.rang"}),
        (["outbox.E002"], {"JSON_ENCODER": "nowhere.Encoder"}),
        (["outbox.E003"], {"MAX_ATTEMPTS": 0}),
        (["outbox.E009"], {"RETENTION_SECONDS": 0}),
        (["outbox.E009"], {"LOCK_IDLE_SECONDS": -1.0}),
        (["outbox.E009"], {"BACKOFF_BASE_SECONDS": 5, "BACKOFF_CEILING_SECONDS": 4}),
        ([], {"BACKOFF_BASE_SECONDS": 5, "BACKOFF_CEILING_SECONDS": 5}),
        ([], {}),
    ],
)
def test_settings(settings, expected, values):
    """
    Each mistake in OUTBOX has its id.
    """
    settings.OUTBOX = values
    assert expected == ids(checks.settings_are_sound())


@isolate_apps("apps.tickets")
def test_a_tracker_must_be_the_models_own():
    """
    A tracker that doesn't track, because an abstract model declares it, is an error with a hint.
    """

    class Abstract(models.Model):
        changes = FieldTracker()

        class Meta:
            abstract = True
            app_label = "tickets"

    class Inherited(Abstract):
        class Meta:
            app_label = "tickets"

    with connected(Inherited):
        (found,) = checks.trackers_work()
    assert "outbox.E004" == found.id
    assert "Inherited.changes" in found.msg
    assert found.hint


@isolate_apps("apps.tickets")
def test_one_tracker_says_what_counts():
    """
    Of two trackers nobody knows which one decides.
    """

    class Twice(models.Model):
        title = models.TextField()
        first, second = FieldTracker(["title"]), FieldTracker(["id"])

        class Meta:
            app_label = "tickets"

    with connected(Twice):
        (found,) = checks.trackers_work()
    assert "outbox.E008" == found.id
    assert "first, second" in found.msg


@isolate_apps("apps.tickets")
def test_a_live_model_is_written_where_the_workers_look(settings):
    """
    A model that a router sends to another database is an error: its notifications stay there.
    """

    class Elsewhere(models.Model):
        class Meta:
            app_label = "tickets"

    with connected(Elsewhere):
        assert [] == checks.live_models_are_drained()
        settings.DATABASE_ROUTERS = [_Router()]
        (found,) = checks.live_models_are_drained()
    assert "outbox.E005" == found.id
    assert "'archive'" in found.msg


class _Router:
    def db_for_write(self, model, **hints):
        return "archive" if model.__name__ == "Elsewhere" else None


@contextmanager
def connected(model):
    """For as long, the model is live."""
    announcer = Announcer(
        object_type="thing", model=model, streams=list, payload=dict, tombstone=dict
    )
    connect(announcer)
    try:
        yield
    finally:
        disconnect(announcer)


def test_the_database_must_show_what_is_committed(settings):
    """
    Another isolation level is refused.
    """
    options = settings.DATABASES[DEFAULT_DB_ALIAS].setdefault("OPTIONS", {})
    options["isolation_level"] = 4
    try:
        assert ["outbox.E007"] == ids(checks.database_is_postgresql())
    finally:
        del options["isolation_level"]


def test_the_database_must_be_postgresql():
    """
    Another database is refused.
    """
    alias = connections[DEFAULT_DB_ALIAS]
    sqlite = connections.create_connection.__func__  # the handler's own way to make one
    original = connections.settings[DEFAULT_DB_ALIAS]["ENGINE"]
    connections.settings[DEFAULT_DB_ALIAS]["ENGINE"] = "django.db.backends.sqlite3"
    try:
        connections[DEFAULT_DB_ALIAS] = sqlite(connections, DEFAULT_DB_ALIAS)
        assert ["outbox.E006"] == ids(checks.database_is_postgresql())
    finally:
        connections.settings[DEFAULT_DB_ALIAS]["ENGINE"] = original
        connections[DEFAULT_DB_ALIAS] = alias


def test_times_have_zones(settings):
    """
    Without zones nobody knows what moment a row was written at.
    """
    assert [] == checks.times_have_zones()
    settings.USE_TZ = False
    assert ["outbox.E010"] == ids(checks.times_have_zones())


KEPT = {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
LIMITS = {"connect_timeout": 5, "tcp_user_timeout": 10_000}


@pytest.mark.parametrize(
    ("expected", "conf"),
    [
        ([], {"HOST": "db", "OPTIONS": LIMITS, **KEPT}),
        ([], {"HOST": "", "OPTIONS": {"host": "/run/postgresql"}, **KEPT}),
        (["outbox.W001"], {"HOST": "db", "OPTIONS": {"connect_timeout": 5}, **KEPT}),
        (["outbox.W001"], {"HOST": "", "OPTIONS": {"host": "db"}, **KEPT}),
        (["outbox.W002"], {"HOST": "", "CONN_MAX_AGE": 0}),
        ([], {"HOST": "", "CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}}),
        (["outbox.W003"], {"HOST": "", "CONN_MAX_AGE": None}),
    ],
)
def test_connections(expected, conf):
    """
    Connections that are waited for without end, made anew each time, or kept though broken, are named.
    """
    with database_settings(**conf):
        assert expected == ids(checks.connections_are_kept_and_given_up())


@pytest.mark.django_db(transaction=True)
class TestTables:
    def test_are_asked_for_by_name_only(self):
        """
        Where the database is there and migrated; not if nobody asks for it.
        """
        assert [] == checks.tables_are_whole(databases=[DEFAULT_DB_ALIAS])
        assert [] == checks.tables_are_whole(databases=["archive"])
        assert [] == checks.tables_are_whole()

    def test_an_index_is_missing(self):
        """
        It is named, with the SQL that mends it.
        """
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX outbox_cause")
            (found,) = checks.tables_are_whole(databases=[DEFAULT_DB_ALIAS])
            cursor.execute(found.hint.partition("row. ")[2])
        assert "outbox.W004" == found.id
        assert "outbox_cause of outbox_notificationoutbox is missing." == found.msg
        assert [] == checks.tables_are_whole(databases=[DEFAULT_DB_ALIAS])

    def test_before_a_migration_nothing_is_missing(self):
        """
        What a migration is going to make is not missing: `migrate` makes the checks first.
        """
        migration = MigrationRecorder.Migration.objects.filter(app="outbox").latest("id")
        with connection.cursor() as cursor:
            cursor.execute("DROP INDEX outbox_cause")
            (found,) = checks.tables_are_whole(databases=[DEFAULT_DB_ALIAS])
            migration.delete()
            try:
                assert [] == checks.tables_are_whole(databases=[DEFAULT_DB_ALIAS])
            finally:
                migration.save()
                cursor.execute(found.hint.partition("row. ")[2])

    def test_a_database_that_is_away(self):
        """
        It is an error with a sentence, not a traceback.
        """
        to = connection.settings_dict
        name, to["NAME"] = to["NAME"], "nowhere"
        connection.close()
        try:
            (found,) = checks.tables_are_whole(databases=[DEFAULT_DB_ALIAS])
        finally:
            connection.close()
            to["NAME"] = name
        assert "outbox.E011" == found.id
        assert 'database "nowhere" does not exist' in found.msg
