"""Tests of drains in a test: errors of the project's code, and what they leave alone."""

import threading

import pytest
from django.conf import settings as project
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.models import NotificationOutbox
from pillarbox.testing import NotDrainedError, announced, drain, follow
from pillarbox.types.registry import register, unregister
from tests import registration
from tests.communicators import registered

pytestmark = pytest.mark.django_db


def test_needs_no_redis(settings, ticket):
    """
    A drain publishes in memory, whatever channel layer the project has.
    """
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "pillarbox.layer.layers.NotificationChannelLayer",
            "CONFIG": {"hosts": ["redis://127.0.0.1:1"]},
        }
    }
    drain()
    assert not NotificationOutbox.objects.filter(published_at=None).exists()


def test_leaves_the_settings_alone(settings, ticket):
    """
    The settings of the project are in force again after a drain, also one that fails.
    """
    before = project.PILLARBOX, project.CHANNEL_LAYERS
    drain()
    settings.PILLARBOX = {**settings.PILLARBOX, "UNKNOWN": 1}
    with pytest.raises(ImproperlyConfigured):
        drain()
    del settings.PILLARBOX["UNKNOWN"]
    assert before == (project.PILLARBOX, project.CHANNEL_LAYERS)


def test_a_test_may_pause_after_a_drain(settings, ticket, execute):
    """
    PostgreSQL doesn't apply the short limits of the project's locks to the rest of a test's transaction.
    """
    settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": 1}
    drain()
    assert [("2h",)] == execute("SHOW idle_in_transaction_session_timeout")


def test_an_error_of_the_serializer_is_raised(ticket):
    """
    A payload that can't be rendered ends the test, with the traceback of the project's code.
    """

    class Failing(TicketType):
        def payload(self, instance):
            raise ValueError(f"{instance.title} has no colour.")

    with (
        registered(Failing),
        pytest.raises(NotDrainedError, match=r"(?s)ticket.*ValueError.*in payload.*has no colour"),
    ):
        drain()


def test_a_row_that_cannot_be_published_ends_the_test(ticket):
    """
    Nor is a row silently left out whose type is gone.
    """
    with announced():
        ticket.title = "Sharper"
        ticket.save()
    unregister("ticket")
    try:
        with pytest.raises(NotDrainedError, match=r"TICKET on .* is not registered"):
            drain()
    finally:
        register(TicketType)


def test_a_serializer_may_take_its_time(ticket):
    """
    No other connection waits for the rows of a test's transaction, while a person looks at a breakpoint.
    """
    threads = []

    class Observing(TicketType):
        def payload(self, instance):
            threads.extend(thread.name for thread in threading.enumerate())
            return super().payload(instance)

    with registered(Observing):
        drain()
    assert threads
    assert "rendering" not in threads


def test_a_follower_without_history_is_sent_the_present_state(settings, project, demo):
    """
    If rows are pruned that a follower hasn't read, it is sent a resync and the collection's pages.
    """
    settings.PILLARBOX = {**settings.PILLARBOX, "SNAPSHOT_ROWS": 1}
    follower = follow(project, demo, object_type="project.tickets")
    for title in ("One", "Two"):
        Ticket.objects.create(project=project, title=title)
    drain()
    NotificationOutbox.objects.filter(stream=f"project.tickets:{project.pk}", offset=1).delete()
    resynced, *pages = follower.read()
    assert ("resynced", "pruned") == (resynced["type"], resynced["reason"])
    assert [("One", False), ("Two", True)] == [
        (item["title"], page["done"]) for page in pages for item in page["items"]
    ]
    assert [] == follower.read()


@pytest.mark.django_db(transaction=True)
def test_a_follower_of_an_object_that_leaves_its_condition(ticket, demo):
    """
    To a follower, an object outside of `where` is deleted, as it is to a socket.
    """
    with registration.registered(type("Open", (TicketType,), {"where": ~Q(status="closed")})):
        follower = follow(ticket, demo)
        Ticket.objects.filter(pk=ticket.pk).update(status="closed")
        deletion, end = follower.read()
        assert ("DELETE_TICKET", "deleted") == (deletion["type"], end["reason"])
