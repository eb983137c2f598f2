"""`manage.py check` names what is wrong, and what to do."""

from contextlib import contextmanager

import pytest
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.test.utils import isolate_apps
from model_utils import FieldTracker

from apps.outbox import checks
from apps.outbox.announcers import Announcer, connect, disconnect


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
