"""Code and triggers of different versions lose and repeat nothing, in either combination."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from django.db import DEFAULT_DB_ALIAS

from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.triggers.functions import function_sql
from pillarbox.capture.triggers.installation import differences, install, remove
from pillarbox.capture.triggers.required import required
from pillarbox.models import NotificationOutbox, Stream
from pillarbox.stream.history import head
from pillarbox.types.registry import register, unregister
from tests.library.live import SignType
from tests.library.models import Sign
from tests.registration import registered
from tests.rendering import number_all

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]
USING = DEFAULT_DB_ALIAS


class WithoutCollection(TicketType):
    """The type of tickets in a version without collections."""

    collections = {}


class WithoutDescription(TicketType):
    """The type of tickets in a version without their description."""

    omit = ("description",)


@contextmanager
def code(*types, instead_of=()):
    """Return a function that runs another version of the code and leaves the triggers unchanged."""
    for kind in instead_of:
        unregister(kind.name)
    for kind in types:
        register(kind)
    try:
        yield
    finally:
        for kind in types:
            unregister(kind.name)
        for kind in instead_of:
            register(kind)


def numbered():
    """Return stream, offset and title of all numbered rows, in order."""
    number_all()
    rows = NotificationOutbox.objects.filter(offset__isnull=False).order_by("stream", "offset")
    return [(row.stream, row.offset, row.payload and row.payload.get("title")) for row in rows]


def rename(ticket, title):
    Ticket.objects.filter(pk=ticket.pk).update(title=title)


def epochs(*streams):
    return [head(stream, using=USING).epoch for stream in streams]


@pytest.fixture
def own(ticket):
    return f"ticket:{ticket.pk}"


@pytest.fixture
def collection(ticket):
    return f"project.tickets:{ticket.project_id}"


class TestOldTriggersWithNewCode:
    def test_a_column_that_the_image_lacks(self, ticket, own, collection):
        """
        The missing column is read from the table. All others are as the change left them.
        """
        Ticket.objects.update(description="Read later")
        NotificationOutbox.objects.all().delete()
        with registered(WithoutDescription):
            rename(ticket, "Old")
            rename(ticket, "New")
            assert not NotificationOutbox.objects.filter(image__has_key="description").exists()
            with code(TicketType, instead_of=[WithoutDescription]):
                titles = [title for *_, title in numbered()]
        assert ["Old", "New"] * 2 == titles
        assert {"Read later"} == set(
            NotificationOutbox.objects.values_list("payload__description", flat=True)
        )

    def test_a_new_collection_has_a_new_epoch(self, ticket, own, collection):
        """
        Clients that subscribed before the triggers came are resynced. Others continue.
        """
        with registered(WithoutCollection):
            with code(TicketType, instead_of=[WithoutCollection]):
                before = epochs(own, collection)
                rename(ticket, "Missed")
                assert [(own, 1, "Missed")] == numbered()
            assert before == epochs(own, collection)
        after = epochs(own, collection)
        assert (before[0], False) == (after[0], before[1] == after[1])
        rename(ticket, "Captured")
        assert [(collection, 1, "Captured"), (own, 1, "Missed"), (own, 2, "Captured")] == numbered()

    def test_other_changes_of_a_trigger_keep_the_epochs(self, ticket, own, collection, execute):
        """
        A version with the same streams, or a second installation, resyncs no client.
        """
        before = epochs(own, collection)
        with registered(WithoutDescription):
            assert before == epochs(own, collection)
        install(using=USING)
        assert before == epochs(own, collection)

    def test_a_trigger_that_was_away(self, ticket, own, collection, execute):
        """
        Streams of types whose trigger was missing get new epochs. Those of other types don't.
        """
        before = epochs(own, collection, "sign:1")
        execute("ALTER TABLE tickets_ticket DISABLE TRIGGER pillarbox")
        rename(ticket, "Missed")
        install(using=USING)
        after = epochs(own, collection, "sign:1")
        assert [False, False, True] == [a == b for a, b in zip(before, after, strict=True)]

    def test_a_database_without_streams(self):
        """
        Without streams, nothing is renewed or created.
        """
        Stream.objects.all().delete()
        remove(using=USING)
        install(using=USING)
        assert not Stream.objects.exists()

    def test_a_removed_collection(self, ticket, own, collection):
        """
        Rows of a removed collection are obsolete. Other rows are rendered.
        """
        rename(ticket, "New")
        with code(WithoutCollection, instead_of=[TicketType]):
            assert [(collection, 1, None), (own, 1, "New")] == numbered()
        assert not NotificationOutbox.objects.failed().exists()


class TestNewTriggersWithOldCode:
    def test_a_type_that_it_does_not_know(self, ticket, own, collection):
        """
        Rows of an unknown type wait, without an attempt, for newer code. Other rows don't wait.
        """
        with code(instead_of=[SignType]):
            Sign.objects.create(address="::1", text="a")
            rename(ticket, "New")
            assert [(collection, 1, "New"), (own, 1, "New")] == numbered()
            (row,) = NotificationOutbox.objects.filter(object_type="sign")
            assert (0, 0, None, None) == (row.claims, row.attempts, row.offset, row.payload)
        assert {(row.stream, 1), (own, 1), (collection, 1)} == {
            (stream, offset) for stream, offset, _ in numbered()
        }
        row.refresh_from_db()
        assert "a" == row.payload["text"]

    def test_a_column_that_it_does_not_know(self, ticket, own, collection, execute):
        """
        Additional columns of an image are ignored.
        """
        execute("ALTER TABLE tickets_ticket ADD colour text DEFAULT 'red'")
        try:
            _install_with_column("colour", execute)
            rename(ticket, "New")
            assert 2 == NotificationOutbox.objects.filter(image__colour="red").count()
            assert [(collection, 1, "New"), (own, 1, "New")] == numbered()
        finally:
            execute("ALTER TABLE tickets_ticket DROP colour")
            install(using=USING)

    def test_a_collection_that_it_does_not_know(self, ticket, own, collection):
        """
        Old code refuses subscriptions to a new collection. A later subscription starts with a snapshot.
        """
        with code(WithoutCollection, instead_of=[TicketType]):
            rename(ticket, "New")
            assert [(collection, 1, None), (own, 1, "New")] == numbered()
        assert 1 == head(collection, using=USING).offset
        rename(ticket, "Newer")
        assert (collection, 2, "Newer") in numbered()

    def test_a_move_is_announced_once(self, ticket, own, collection):
        """
        Each stream gets one row of the move, whichever version renders it.
        """
        other = Project.objects.create(name="Other")
        NotificationOutbox.objects.all().delete()
        Ticket.objects.filter(pk=ticket.pk).update(project=other)
        with code(WithoutDescription, instead_of=[TicketType]):
            assert [] != list(differences(using=USING))
            found = numbered()
        streams = {own, collection, f"project.tickets:{other.pk}", "rights"}
        assert streams == {one[0] for one in found}
        assert 4 == len(found)


def _install_with_column(column, execute):
    """Install the tickets' trigger of a version that has another column."""
    (trigger,) = (
        one for one in required(using=USING).triggers if one.table == "public.tickets_ticket"
    )
    rules = [
        replace(rule, image=(*rule.image, column)) if rule.image else rule for rule in trigger.rules
    ]
    outbox = f"public.{NotificationOutbox._meta.db_table}"
    execute(
        function_sql(function=trigger.function, table=trigger.table, outbox=outbox, rules=rules)
    )
    execute(f"COMMENT ON FUNCTION {trigger.function}() IS 'another'")
