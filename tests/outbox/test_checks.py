"""`manage.py check` names what is wrong, and what to do."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.test.utils import isolate_apps
from model_utils import FieldTracker

from apps.outbox import checks
from apps.outbox.notifying import Notifying, announcers


def ids(found):
    return [message.id for message in found]


def test_the_project_is_sound():
    """
    As it is, nothing is found.
    """
    assert [] == checks.settings_are_sound()
    assert [] == checks.live_models_are_tracked()
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
def test_a_live_model_needs_the_mixin_and_a_tracker_of_its_own():
    """
    A model that can't notice its changes is an error, with a hint that says what to write.
    """

    class Plain(models.Model):
        class Meta:
            app_label = "tickets"

    class Untracked(Notifying):
        class Meta:
            app_label = "tickets"

    class Abstract(Notifying):
        tracker = FieldTracker()

        class Meta:
            abstract = True
            app_label = "tickets"

    class Inherited(Abstract):
        class Meta:
            app_label = "tickets"

    before = dict(announcers)
    try:
        announcers.update(dict.fromkeys([Plain, Untracked, Inherited]))
        found = checks.live_models_are_tracked()
    finally:
        announcers.clear()
        announcers.update(before)
    assert ["outbox.E004", "outbox.E005", "outbox.E005"] == ids(found)
    assert all(message.hint for message in found)


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
