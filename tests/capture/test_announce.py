"""Announcements by the project's code, and the ends of rights that it reports itself."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.utils.functional import SimpleLazyObject

from apps.tickets.models import Ticket
from apps.tickets.serializers import TicketSerializer
from pillarbox.capture.announce import announce, rights_changed
from pillarbox.exceptions import AnnouncementError, PayloadError
from pillarbox.models import RIGHTS, NotificationOutbox
from pillarbox.types.registry import ObjectType, register, unregister
from tests.communicators import drain, in_thread, signed_in, subject
from tests.library.models import Card, Tag

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("published")]

ME = {"object_type": "me", "id": "me"}


class TestWhatIsWritten:
    @pytest.fixture(autouse=True)
    def nothing_else(self, empty_outbox):
        """Empty the outbox before the test."""

    def test_about_an_object(self, ticket, announced):
        """
        An announcement goes to the object's own stream, with its payload unchanged.
        """
        announce(ticket, "EXPORT_DONE", {"rows": 7})
        assert [(f"ticket:{ticket.pk}", "EXPORT_DONE")] == announced()
        row = NotificationOutbox.objects.get()
        assert ({"rows": 7}, str(ticket.pk)) == (row.payload, row.object_id)

    def test_to_a_user(self, demo, announced):
        """
        An announcement about a user goes to the stream that only this user can read.
        """
        announce(demo, "EXPORT_DONE", {})
        assert [(f"me:{demo.pk}", "EXPORT_DONE")] == announced()

    def test_to_the_user_of_a_request(self, demo, announced):
        """
        A request's lazy user counts as a user.
        """
        announce(SimpleLazyObject(lambda: demo), "EXPORT_DONE", {})
        assert [(f"me:{demo.pk}", "EXPORT_DONE")] == announced()

    def test_is_part_of_the_transaction(self, ticket, announced):
        """
        A rolled-back announcement leaves no row.
        """
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            announce(ticket, "EXPORT_DONE", {})
            raise ZeroDivisionError
        assert [] == announced()

    def test_of_one_type_of_several(self, ticket, announced):
        """
        If a model has several object types, the caller chooses one.
        """
        kind = type("Kind", (ObjectType,), {"name": "x", "serializer_class": TicketSerializer})
        register(kind)
        try:
            with pytest.raises(AnnouncementError, match="got ticket, x"):
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
        An event is in upper case, and not one of a change.
        """
        with pytest.raises(AnnouncementError, match="Expected an event"):
            announce(ticket, event, {})
        assert [] == announced()

    def test_refuses_other_objects(self, announced):
        """
        An object that has no registered type, or isn't saved yet, is refused.
        """
        with pytest.raises(AnnouncementError, match="object type of Tag, got none"):
            announce(Tag(pk=1), "EXPORT_DONE", {})
        for about in (Ticket(), Card(number=7)):
            with pytest.raises(AnnouncementError, match="a saved"):
                announce(about, "EXPORT_DONE", {})
        with pytest.raises(AnnouncementError, match="AnonymousUser, got none"):
            announce(AnonymousUser(), "EXPORT_DONE", {})
        assert [] == announced()

    def test_refuses_other_payloads(self, ticket, announced):
        """
        A payload is a mapping of values that JSON can represent.
        """
        with pytest.raises(AnnouncementError, match="got list"):
            announce(ticket, "EXPORT_DONE", [])
        with pytest.raises(PayloadError, match=r"EXPORT_DONE\.at"):
            announce(ticket, "EXPORT_DONE", {"at": object()})
        assert [] == announced()

    def test_about_an_object_with_a_uuid(self, announced):
        """
        The object's primary key may be a UUID.
        """
        card = Card.objects.create(number=1)
        NotificationOutbox.objects.all().delete()
        announce(card, "LENT", {})
        assert [(f"card:{card.pk}", "LENT")] == announced()


class TestSockets:
    async def test_of_the_user_get_it(self, demo):
        """
        A socket that subscribes to "me" gets the announcements to its user.
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
        "me" is the socket's own user. No request can name another user's stream.
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
        An event that looks like a deletion ends no subscription.
        """
        async with signed_in(demo) as socket:
            await socket.ask(subject(ticket))
            await in_thread(announce, ticket, "DELETE_REQUESTED", {"by": "kim"})
            await drain()
            assert "DELETE_REQUESTED" == (await socket.receive())["type"]
            assert {"type": "pong"} == await socket.ask({"action": "ping"})


class TestRightsChanged:
    """A project reports a change of a user's rights."""

    def test_is_an_end_of_a_right(self, demo):
        """
        The call writes a complete row into the stream of all ends of rights.
        """
        rights_changed(demo)
        row = NotificationOutbox.objects.get(stream=RIGHTS, event="UPDATE_RIGHTS")
        assert ("rights", str(demo.pk), {}) == (row.object_type, row.object_id, row.payload)

    @pytest.mark.parametrize("about", [AnonymousUser(), User(username="new")], ids=str)
    def test_is_about_a_saved_user(self, about):
        """
        Anything but a saved user is refused.
        """
        with pytest.raises(AnnouncementError, match="Expected a saved user"):
            rights_changed(about)
