"""The outbox in the admin: readable, searchable, and failed rows can be replayed by whoever may."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from apps.outbox.admin import MOST_REASONS
from apps.outbox.models import NotificationOutbox
from apps.realtime.registry import register, unregister
from apps.tickets.live import TicketType
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
LIST = reverse("admin:outbox_notificationoutbox_changelist")


@pytest.fixture
def failed(settings, published, ticket, relay):
    """Rows that failed because their type was no longer registered."""
    settings.OUTBOX = {"MAX_ATTEMPTS": 1}
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


def replay(client, rows):
    data = {"action": "replay_failed", "_selected_action": [row.pk for row in rows]}
    answer = client.post(LIST, data, follow=True)
    return [str(message) for message in answer.context["messages"]]


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

    def test_shows_what_it_replays(self, console, failed):
        """
        The new row names the old one, and the old one the new.
        """
        replay(console, failed[:1])
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


class TestReplay:
    def test_announces_again_and_is_logged(self, console, admin, failed):
        """
        Each failed row is announced anew, and the log says by whom.
        """
        assert ["Replayed: 2."] == replay(console, failed)
        assert 2 == NotificationOutbox.objects.pending().count()
        assert {admin} == {row.replayed_by for row in NotificationOutbox.objects.failed()}
        assert {str(row.pk) for row in failed} == set(
            LogEntry.objects.filter(user=admin).values_list("object_id", flat=True)
        )

    def test_refuses_the_others_and_says_why(self, console, failed):
        """
        Of a mixed selection the failed rows are replayed, and each other one has its reason.
        """
        replay(console, failed[:1])
        fine = NotificationOutbox.objects.published().first()
        messages = replay(console, [*failed, fine])
        assert "Replayed: 1." in messages
        assert f"Row {fine.pk} is not a failed row." in messages
        assert any("was replayed before" in message for message in messages)

    def test_does_not_flood_the_page(self, console, failed):
        """
        Of very many reasons the first are shown, and how many more there are.
        """
        NotificationOutbox.objects.bulk_create(
            NotificationOutbox(stream="a:1", shard=0, event="X", object_id="1", payload={})
            for _ in range(MOST_REASONS + 3)
        )
        messages = replay(console, NotificationOutbox.objects.pending())
        assert "Refused besides: 3." == messages[-1]
        assert MOST_REASONS + 1 == len(messages)

    def test_needs_its_own_permission(self, client, other, failed):
        """
        Who may look need not be allowed to replay.
        """
        other.is_staff = True
        other.save()
        other.user_permissions.add(Permission.objects.get(codename="view_notificationoutbox"))
        client.force_login(other)
        assert "replay_failed" not in client.get(LIST).content.decode()
        replay(client, failed)
        assert not NotificationOutbox.objects.pending().exclude(object_type="rights").exists()
        other.user_permissions.add(Permission.objects.get(codename="replay_notificationoutbox"))
        assert ["Replayed: 2."] == replay(client, failed)
