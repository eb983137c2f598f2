"""What is announced is what reading the row back gives, wherever it comes from."""

import datetime as dt

import pytest
from django.contrib.auth import get_user_model

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from apps.tickets.models import Project, Ticket
from tests.database import payloads
from tests.law import assert_law
from tests.library.models import Item, Label, Sign

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_outbox")]


class _Equal(str):
    """Text that is equal to what is stored, and of another type."""

    __slots__ = ()


class TestPayload:
    """What is announced is what reading the row back would give, wherever it comes from."""

    def test_knows_nothing_of_what_the_instance_remembers(self, ticket, demo, announced):
        """
        Neither a related object, nor a prefetched list, nor an annotation of the instance gets in.
        """
        ticket.assignee = demo
        ticket.save()
        stale = Ticket.objects.select_related("assignee").get()
        get_user_model().objects.filter(pk=demo.pk).update(username="renamed")
        stale.title = "Changed"
        stale.save()
        assert ["renamed"] * 2 == [payload["assignee"] for payload in payloads()[-2:]]
        project = Project.objects.prefetch_related("members").get()
        project.members.clear()
        project = Project.objects.prefetch_related("members").get()
        Project.objects.get().members.add(demo)
        project.name = "Changed"
        project.save()
        assert ["renamed"] == payloads()[-1]["members"]

    @pytest.mark.parametrize(
        ("values", "shown"),
        [
            ({"price": "1.5"}, {"price": "1.50"}),
            ({"price": 2}, {"price": "2.00"}),
            ({"count": "7"}, {"count": 7}),
            ({"notes": {1: (2, 3)}}, {"notes": {"1": [2, 3]}}),
            ({"title": _Equal("x")}, {"title": "x"}),
        ],
        ids=str,
    )
    def test_shows_what_the_column_makes_of_a_value(self, values, shown):
        """
        A value of another type is announced as it is stored.
        """
        item = Item.objects.create(title="a")
        Item(pk=item.pk, **{"title": "a", **values}).save()
        assert shown.items() <= payloads()[-1].items()

    def test_of_a_time_is_in_one_zone(self, project):
        """
        A time of another zone is announced as it comes out of the database.
        """
        east = dt.timezone(dt.timedelta(hours=2))
        Ticket.objects.create(
            project=project, title="a", created=dt.datetime(2026, 1, 1, 1, tzinfo=east)
        )
        assert ["2025-12-31T23:00:00Z"] * 2 == [payload["created"] for payload in payloads()]

    def test_of_an_enumeration_is_its_value(self, ticket):
        """
        Choices are what they stand for, and need no further query.
        """
        ticket.status, ticket.priority = Ticket.Status.CLOSED, Ticket.Priority.HIGH
        ticket.save()
        assert ["closed", 3] == [payloads()[0][name] for name in ("status", "priority")]

    def test_that_cannot_be_made_takes_the_save_back(self, ticket, announced):
        """
        A serializer that raises says which object it was; nothing of the save is committed.
        """
        broken = type("Broken", (TicketType,), {"payload": lambda self, instance: 1 / 0})
        unregister("ticket")
        register(broken)
        try:
            ticket.title = "Changed"
            with pytest.raises(ZeroDivisionError) as caught:
                ticket.save()
        finally:
            unregister("ticket")
            register(TicketType)
        note = f"tickets.Ticket {ticket.pk} is not saved: the payload of 'ticket' can't be made."
        assert [note] == caught.value.__notes__
        assert "The logo is blurred" == Ticket.objects.get().title
        assert [] == announced()

    def test_that_cannot_be_stored_names_field_and_type(self, ticket, announced):
        """
        A payload with a value that is no JSON names the field and the value's type.
        """
        odd = type("Odd", (TicketType,), {"payload": lambda self, row: {"at": {"x": object()}}})
        unregister("ticket")
        register(odd)
        try:
            ticket.title = "Changed"
            with pytest.raises(PayloadError, match=r"ticket\.at\.x: .* got object"):
                ticket.save()
        finally:
            unregister("ticket")
            register(TicketType)
        assert [] == announced()


class TestColumns:
    """Columns that make something else of what they are given."""

    @pytest.fixture(autouse=True)
    def no_signs(self, db):
        """Django's flush doesn't find tables with a schema."""
        yield
        Sign.objects.all()._raw_delete("default")

    def test_that_store_another_value(self):
        """
        What is stored is announced, by a save and in bulk; the same value again is no change.
        """
        values = {"address": "2001:0DB8::0001", "text": "ABC"}
        sign = Sign.objects.create(**values)
        Sign.objects.bulk_create([Sign(**values)])
        shown = {(payload["address"], payload["text"]) for payload in payloads()}
        assert {("2001:db8::1", "abc")} == shown
        assert_law("sign")
        sign.text = "XYZ"
        sign.save()
        assert "xyz" == payloads()[-1]["text"]

    def test_that_make_a_value_of_their_own(self):
        """
        A column that changes with each save is a change.
        """
        sign = Sign.objects.create()
        sign.save()
        assert [1, 2] == [payload["version"] for payload in payloads()]

    @pytest.mark.parametrize(
        ("before", "after", "count"),
        [({"a": 1}, {"a": True}, 1), ({"a": 0}, {"a": False}, 1), ({"a": [1]}, {"a": (1,)}, 0)],
        ids=str,
    )
    def test_of_json_tell_numbers_from_truth(self, before, after, count):
        """
        In JSON 1 and true are two values, and a tuple is a list.
        """
        item = Item.objects.create(title="a", notes=before)
        NotificationOutbox.objects.all().delete()
        item.notes = after
        item.save()
        Item.objects.update(notes=after)
        assert count == NotificationOutbox.objects.count()

    def test_of_json_refuse_what_is_none(self):
        """
        A value that is no JSON is named before any SQL, with its type.
        """
        with pytest.raises(PayloadError, match=r"item\.notes: .*type object"):
            Item(title="a", notes={"x": object()}).save()

    def test_that_the_database_computes(self):
        """
        A computed column that is tracked changes with what it is computed from.
        """
        label = Label.objects.create(title="a")
        label.title = "b"
        label.save()
        label.save()
        Label.objects.update(title="c")
        assert ["A", "B", "C"] == [payload["upper"] for payload in payloads()]

    def test_of_a_table_with_a_schema(self):
        """
        Whatever the table's name, its rows are found.
        """
        sign = Sign.objects.create(text="a")
        Sign.objects.update(text="b")
        sign.delete()
        events = NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
        assert ["CREATE_SIGN", "UPDATE_SIGN", "DELETE_SIGN"] == list(events)
