"""Tests of the system checks of object types and their models."""

from contextlib import contextmanager

from django.contrib.auth import get_user_model
from django.db import models
from django.test.utils import isolate_apps
from model_utils import FieldTracker

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.checks import object_types as checks
from pillarbox.types.announcers import Announcer
from pillarbox.types.live_models import register_announcer, unregister_announcer
from pillarbox.types.registry import register, unregister


def ids(found):
    return [message.id for message in found]


def test_the_project_is_sound():
    """
    The project's own object types have no findings.
    """
    assert [] == checks.models_have_one_tracker()
    assert [] == checks.collections_have_owners()


@isolate_apps("apps.tickets")
def test_two_trackers_are_refused():
    """
    Two trackers on one model are an error, because it is unclear which one counts.
    """

    class Twice(models.Model):
        title = models.TextField()
        first, second = FieldTracker(["title"]), FieldTracker(["id"])

        class Meta:
            app_label = "tickets"

    with connected(Twice):
        (found,) = checks.models_have_one_tracker()
    assert "pillarbox.E008" == found.id
    assert "first, second" in found.msg


@isolate_apps("apps.tickets")
def test_a_live_model_is_written_where_the_workers_look(settings):
    """
    A model that a router sends to another database is an error: no worker drains it.
    """

    class Elsewhere(models.Model):
        class Meta:
            app_label = "tickets"

    with connected(Elsewhere):
        assert [] == checks.live_models_are_drained()
        settings.DATABASE_ROUTERS = [_Router()]
        (found,) = checks.live_models_are_drained()
    assert "pillarbox.E005" == found.id
    assert "'archive'" in found.msg


class _Router:
    def db_for_write(self, model, **hints):
        return "archive" if model.__name__ == "Elsewhere" else None


@contextmanager
def connected(model):
    """Make the model live within the block."""
    announcer = Announcer(
        object_type="thing", model=model, streams=list, payload=dict, tombstone=dict
    )
    register_announcer(announcer)
    try:
        yield
    finally:
        unregister_announcer(announcer)


def test_a_collection_hides_no_objects():
    """
    A type that hides some objects of its collections gets a warning, since access is checked for a whole
    collection.
    """
    assert [] == checks.collections_hide_no_objects()
    unregister("ticket")
    register(type("Hidden", (TicketType,), {"visibility_fields": ("assignee",)}))
    try:
        assert ["pillarbox.W103"] == ids(checks.collections_hide_no_objects())
    finally:
        unregister("ticket")
        register(TicketType)


class _Replica:
    def db_for_read(self, model, **hints):
        return "archive" if model in (Ticket, get_user_model()) else None


def test_live_models_are_read_where_they_are_written(settings):
    """
    A router that reads objects from a replica is an error: a snapshot may be older than its position.
    """
    assert [] == checks.objects_are_read_where_they_are_written()
    settings.DATABASE_ROUTERS = [_Replica()]
    found = checks.objects_are_read_where_they_are_written()
    assert ["Objects of 'ticket'", "Users"] == [
        one.msg.removesuffix(" are read from 'archive', which may lag behind.") for one in found
    ]
    assert {"pillarbox.E111"} == {one.id for one in found}
