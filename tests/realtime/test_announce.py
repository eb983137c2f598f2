"""What is not a save: in the caller's transaction, to an object's subscribers or to oneself."""

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import transaction
from django.utils.functional import SimpleLazyObject

from apps.outbox.exceptions import PayloadError
from apps.outbox.models import NotificationOutbox
from apps.realtime.announce import announce
from apps.realtime.exceptions import AnnouncementError
from apps.realtime.registry import ObjectType, register, unregister
from apps.tickets.models import Ticket
from apps.tickets.serializers import TicketSerializer
from tests.library.models import Card, Tag
from tests.sockets import drain, in_thread, signed_in, subject

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

ME = {"object_type": "me", "id": "me"}


class TestWhatIsWritten:
    @pytest.fixture(autouse=True)
    def nothing_else(self, empty_outbox):
        """Only what the test announces is there."""

    def test_about_an_object(self, ticket, announced):
        """
        It goes to the object's own stream, with the payload as it is.
        """
        announce(ticket, "EXPORT_DONE", {"rows": 7})
        assert [(f"ticket:{ticket.pk}", "EXPORT_DONE")] == announced()
        row = NotificationOutbox.objects.get()
        assert ({"rows": 7}, str(ticket.pk)) == (row.payload, row.object_id)

    def test_to_a_user(self, demo, announced):
        """
        A user is addressed on the stream that only this user reads.
        """
        announce(demo, "EXPORT_DONE", {})
        assert [(f"me:{demo.pk}", "EXPORT_DONE")] == announced()

    def test_to_the_user_of_a_request(self, demo, announced):
        """
        What stands for a user until it is looked at is that user.
        """
        announce(SimpleLazyObject(lambda: demo), "EXPORT_DONE", {})
        assert [(f"me:{demo.pk}", "EXPORT_DONE")] == announced()

    def test_is_part_of_the_transaction(self, ticket, announced):
        """
        What is rolled back is announced to nobody.
        """
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            announce(ticket, "EXPORT_DONE", {})
            raise ZeroDivisionError
        assert [] == announced()

    def test_of_one_type_of_several(self, ticket, announced):
        """
        Where a model is of several object types, the caller chooses.
        """
        kind = type("Kind", (ObjectType,), {"name": "x", "serializer_class": TicketSerializer})
        register(kind)
        try:
            with pytest.raises(AnnouncementError, match="it is of ticket, x"):
                announce(ticket, "EXPORT_DONE", {})
            announce(ticket, "EXPORT_DONE", {}, object_type="x")
        finally:
            unregister("x")
        assert [(f"x:{ticket.pk}", "EXPORT_DONE")] == announced()

    @pytest.mark.parametrize(
        "event", ["", "export", "EXPORT DONE", "1ST", "E" * 101, "UPDATE_TICKET", "DELETE_PROJECT"]
    )
    def test_refuses_other_events(self, ticket, announced, event):
        """
        An event is in upper case, and not one by which a change is announced.
        """
        with pytest.raises(AnnouncementError, match="Expected an event"):
            announce(ticket, event, {})
        assert [] == announced()

    def test_refuses_what_has_no_subscribers(self, announced):
        """
        An object of no registered type, or not saved yet, can't be announced about.
        """
        with pytest.raises(AnnouncementError, match="it is of none"):
            announce(Tag(pk=1), "EXPORT_DONE", {})
        for about in (Ticket(), Card(number=7)):
            with pytest.raises(AnnouncementError, match="a saved"):
                announce(about, "EXPORT_DONE", {})
        with pytest.raises(AnnouncementError, match="AnonymousUser: it is of none"):
            announce(AnonymousUser(), "EXPORT_DONE", {})
        assert [] == announced()

    def test_refuses_other_payloads(self, ticket, announced):
        """
        A payload is a mapping of what JSON can say.
        """
        with pytest.raises(AnnouncementError, match="got list"):
            announce(ticket, "EXPORT_DONE", [])
        with pytest.raises(PayloadError, match=r"EXPORT_DONE\.at"):
            announce(ticket, "EXPORT_DONE", {"at": object()})
        assert [] == announced()

    def test_about_an_object_with_a_uuid(self, announced):
        """
        The key may be a UUID.
        """
        card = Card.objects.create(number=1)
        NotificationOutbox.objects.all().delete()
        announce(card, "LENT", {})
        assert [(f"card:{card.pk}", "LENT")] == announced()


class TestSockets:
    async def test_of_the_user_get_it(self, demo):
        """
        Who subscribes to "me" gets what is announced to that user.
        """
        async with signed_in(demo) as socket:
            assert "subscribed" == (await socket.ask(ME))["type"]
            await in_thread(announce, demo, "EXPORT_DONE", {"url": "/exports/7/"})
            await drain()
            frame = await socket.receive()
            answer = await socket.ask({**ME, "action": "unsubscribe"})
        assert ("EXPORT_DONE", {"url": "/exports/7/"}) == (frame["type"], frame["payload"])
        assert ("me", "me", 1) == (frame["object_type"], frame["id"], frame["offset"])
        assert ("unsubscribed", "me", "me") == (answer["type"], answer["object_type"], answer["id"])

    async def test_of_others_do_not(self, demo, other):
        """
        "me" is whoever asks; nobody else's stream can be named.
        """
        async with signed_in(other) as socket:
            await socket.ask(ME)
            for pk in (str(demo.pk), "", "ME"):
                refusal = await socket.ask({"object_type": "me", "id": pk})
                assert "invalid" == refusal["code"]
            await in_thread(announce, demo, "EXPORT_DONE", {})
            await drain()
            assert {"type": "pong"} == await socket.ask({"action": "ping"})

    async def test_of_the_object_get_it_and_stay(self, demo, ticket):
        """
        An event that sounds like a deletion ends no subscription.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(announce, ticket, "DELETE_REQUESTED", {"by": "kim"})
            await drain()
            assert "DELETE_REQUESTED" == (await socket.receive())["type"]
            assert {"type": "pong"} == await socket.ask({"action": "ping"})
