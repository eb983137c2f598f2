"""Muting: changes in the block are not announced; changes before and after it are."""

from contextlib import suppress

import pytest
from asgiref.sync import sync_to_async
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    DataError,
    connection,
    connections,
    transaction,
)

from apps.tickets.models import Ticket
from pillarbox.capture.muting import muted
from pillarbox.models import NotificationOutbox

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("empty_outbox"),
]


@pytest.fixture
def change(ticket):
    """Change the ticket's title."""

    def change(title):
        Ticket.objects.filter(pk=ticket.pk).update(title=title)

    return change


def titles():
    """Return the captured titles of the ticket in order, committed or not."""
    rows = NotificationOutbox.objects.filter(stream__startswith="ticket:").order_by("id")
    return [row.image["title"] for row in rows]


def is_muted():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('pillarbox.muted', true) = 'on'")
        return bool(cursor.fetchone()[0])


class TestInAutocommit:
    def test_the_block_is_a_transaction(self, change):
        """
        In autocommit the block is a transaction; changes before and after it are announced.
        """
        change("before")
        with muted():
            change("in the block")
            assert connection.in_atomic_block
        assert not connection.in_atomic_block
        change("after")
        assert ["before", "after"] == titles()
        assert "after" == Ticket.objects.get().title

    def test_an_exception_undoes_its_changes(self, change):
        """
        The block is rolled back, and later changes are announced.
        """
        with pytest.raises(ZeroDivisionError), muted():
            change("in the block")
            raise ZeroDivisionError
        assert "in the block" != Ticket.objects.get().title
        change("after")
        assert ["after"] == titles()

    def test_a_database_error_undoes_its_changes(self, change):
        """
        An error of the database rolls the block back, too.
        """
        with pytest.raises(DatabaseError), muted():
            change("in the block")
            change(None)
        change("after")
        assert ["after"] == titles()


class TestInATransaction:
    def test_before_and_after_are_announced(self, change):
        """
        Only the block is muted, not the rest of the transaction.
        """
        with transaction.atomic():
            change("before")
            with muted():
                change("in the block")
            change("after")
        assert ["before", "after"] == titles()

    def test_nested_blocks(self, change):
        """
        The end of an inner block leaves the outer one muted.
        """
        with transaction.atomic():
            with muted():
                with muted():
                    change("in both")
                change("in the outer one")
            change("after")
        assert ["after"] == titles()

    def test_savepoints_inside(self, change):
        """
        A savepoint in the block doesn't end the muting, whether rolled back or not.
        """
        with muted():
            with transaction.atomic():
                change("in a savepoint")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                change("rolled back")
                raise ZeroDivisionError
            change("in the block")
        assert [] == titles()

    def test_an_exception_undoes_the_block_and_unmutes(self, change):
        """
        The block is rolled back like a savepoint, and the transaction continues unmuted.
        """
        with transaction.atomic():
            change("before")
            with pytest.raises(ZeroDivisionError), muted():
                change("in the block")
                raise ZeroDivisionError
            assert not is_muted()
            change("after")
        assert ["before", "after"] == titles()

    def test_an_exception_in_a_nested_block(self, change):
        """
        The outer block stays muted and keeps its changes.
        """
        with muted():
            with pytest.raises(ZeroDivisionError), muted():
                change("in the inner one")
                raise ZeroDivisionError
            assert is_muted()
            change("in the outer one")
        assert [] == titles()
        assert "in the outer one" == Ticket.objects.get().title

    def test_a_block_that_has_to_be_rolled_back(self, change):
        """
        If an error was caught without a savepoint, the block is rolled back and unmuted.
        """
        with transaction.atomic():
            change("before")
            with muted():
                change("in the block")
                with pytest.raises(ZeroDivisionError), transaction.atomic(savepoint=False):
                    raise ZeroDivisionError
            assert not is_muted()
            change("after")
        assert ["before", "after"] == titles()

    def test_an_aborted_transaction_raises(self, change, execute):
        """
        If an SQL error was caught without a savepoint, the end of the block raises and rolls back.
        """
        with transaction.atomic():
            change("before")
            with pytest.raises(DatabaseError, match="aborted"), muted(), suppress(DataError):
                execute("SELECT 1 / 0")
            assert not is_muted()
            change("after")
        assert ["before", "after"] == titles()


async def test_async_code(ticket):
    """
    A function run by `sync_to_async` mutes only its own transaction.
    """

    def mute():
        with muted():
            Ticket.objects.update(title="in the block")

    await sync_to_async(mute)()
    await Ticket.objects.aupdate(title="after")
    assert ["after"] == await sync_to_async(titles)()
    await sync_to_async(connections.close_all)()


def test_other_connections_are_not_muted(change):
    """
    The setting belongs to the transaction, so changes of other connections are announced.
    """
    other = connection.copy(DEFAULT_DB_ALIAS)
    try:
        with muted():
            change("in the block")
            with other.cursor() as cursor:
                cursor.execute("UPDATE tickets_project SET name = 'Renamed'")
    finally:
        other.close()
    assert [] == titles()
    assert 1 == NotificationOutbox.objects.filter(event="UPDATE_PROJECT").count()
