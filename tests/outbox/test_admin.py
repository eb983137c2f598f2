"""The outbox in the admin: readable, searchable, and failed rows can be replayed by whoever may."""

import pytest
from django.urls import reverse

from apps.outbox.criteria import Criteria
from apps.outbox.models import NotificationOutbox
from apps.outbox.replay import carry_out, decide, last_pk
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
LIST = reverse("admin:outbox_notificationoutbox_changelist")


@pytest.fixture
def failed(settings, published, ticket, relay):
    """Rows that failed because their type was no longer registered."""
    settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 1}
    ticket.title = "<b>Changed</b>"
    ticket.save()
    unregister("ticket")
    try:
        relay.drain()
    finally:
        register(TicketType)
    return list(NotificationOutbox.objects.failed().order_by("id"))


@pytest.fixture
def console(client, admin):
    client.force_login(admin)
    return client


def page(row):
    return reverse("admin:outbox_notificationoutbox_change", args=[row.pk])


class TestList:
    @pytest.mark.parametrize(
        ("expected", "state"), [(0, "pending"), (4, "published"), (2, "failed"), (6, "")]
    )
    def test_filters_by_state(self, console, failed, expected, state):
        """
        Rows can be looked at by their state; the list says stream, state, attempts and error.
        """
        answer = console.get(LIST, {"state": state} if state else {})
        assert expected == answer.context["cl"].result_count
        if state == "failed":
            assert "UnknownObjectTypeError: The object type" in answer.content.decode()

    @pytest.mark.parametrize("words", ["ticket:", "UPDATE_TICKET", "not registered"])
    def test_finds(self, console, failed, words):
        """
        A row is found by its stream, its event or its error's words.
        """
        found = console.get(LIST, {"q": words}).context["cl"].queryset
        assert set(failed) & set(found)

    def test_finds_an_event(self, console, failed):
        """
        All rows of one change are found by its id, or by how that begins.
        """
        event_id = str(failed[0].event_id)
        for words in (event_id, event_id[:13]):  # which is the mark of a request
            found = console.get(LIST, {"q": words}).context["cl"].queryset
            assert set(failed) == set(found)

    @pytest.mark.parametrize(
        "lookup",
        ["payload__token__startswith", "payload__contains", "payload__token", "payload__regex"],
    )
    def test_is_no_way_to_guess_a_secret(self, console, lookup):
        """
        No address finds rows by what is in their payloads.
        """
        make(1, payload={"token": "s3cr3t"})
        assert 400 == console.get(LIST, {lookup: "s"}).status_code
        assert 400 == console.get(LIST, {lookup: "x"}).status_code


class TestPage:
    def test_shows_no_secrets(self, console):
        """
        What redaction takes from a payload is not on the page.
        """
        row = make(payload={"password": "hunter2", "title": "Login"})
        text = console.get(page(row)).content.decode()
        assert "hunter2" not in text
        assert "[redacted]" in text
        assert "Login" in text

    def test_shows_payload_and_error_and_changes_nothing(self, console, failed):
        """
        The payload is laid out and escaped, the traceback kept; there is nothing to save.
        """
        text = console.get(page(failed[0])).content.decode()
        assert "&quot;title&quot;: &quot;&lt;b&gt;Changed&lt;/b&gt;&quot;" in text
        assert "Traceback (most recent call last)" in text
        assert 'name="_save"' not in text
        assert 403 == console.post(page(failed[0]), {"event": "X"}).status_code

    def test_shows_what_it_replays(self, console, admin, failed):
        """
        The new row names the old one, and the old one the new.
        """
        criteria = Criteria.parse({"pks": [failed[0].pk]})
        replay = decide(
            criteria, by=admin, reason="mended", last=last_pk(using="default"), using="default"
        )
        carry_out(replay.pk, using="default")
        old = NotificationOutbox.objects.get(pk=failed[0].pk)
        assert f"row {old.pk}" in console.get(page(old.replayed_as)).content.decode()
        text = console.get(page(old)).content.decode()
        assert f"/{old.replayed_as.pk}/change/" in text
        assert "failed, replayed" in text

    @pytest.mark.parametrize("name", ["add", "delete"])
    def test_rows_are_neither_made_nor_deleted_by_hand(self, console, failed, name):
        """
        The outbox is written by saves, and pruned by retention.
        """
        args = [failed[0].pk] if name == "delete" else []
        url = reverse(f"admin:outbox_notificationoutbox_{name}", args=args)
        assert 403 == console.get(url).status_code
