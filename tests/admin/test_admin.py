"""The outbox in the admin: staff can read and search rows, and replay failed ones with permission."""

import pytest
from django.db.models.functions import Now
from django.urls import reverse

from apps.tickets.live import TicketType
from pillarbox.capture.muting import muted
from pillarbox.models import NotificationOutbox
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.replay import carry_out
from pillarbox.types.registry import register, unregister
from tests.rendering import render_all
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
LIST = reverse("admin:pillarbox_notificationoutbox_changelist")


@pytest.fixture
def failed(settings, published, ticket, relay):
    """Return rows that failed after rendering, because their type was no longer registered."""
    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
    ticket.title = "<b>Changed</b>"
    ticket.save()
    render_all()
    unregister("ticket")
    try:
        relay.drain()
    finally:
        register(TicketType)
    return list(NotificationOutbox.objects.failed().order_by("id"))


@pytest.fixture
def console(client, admin):
    with muted():  # the session before the sign-in ends
        client.force_login(admin)
    return client


def page(row):
    return reverse("admin:pillarbox_notificationoutbox_change", args=[row.pk])


class TestList:
    @pytest.mark.parametrize(
        ("expected", "state"), [(0, "pending"), (4, "published"), (2, "failed"), (6, "")]
    )
    def test_filters_by_state(self, console, failed, expected, state):
        """
        Rows can be filtered by state; the list shows stream, state, attempts and error.
        """
        answer = console.get(LIST, {"state": state} if state else {})
        assert expected == answer.context["cl"].result_count
        if state == "failed":
            assert "UnknownObjectTypeError: The object type" in answer.content.decode()

    @pytest.mark.parametrize("words", ["ticket:", "UPDATE_TICKET", "not registered"])
    def test_finds(self, console, failed, words):
        """
        The search finds a row by its stream, its event or the words of its error.
        """
        found = console.get(LIST, {"q": words}).context["cl"].queryset
        assert set(failed) & set(found)

    def test_finds_an_event(self, console, failed):
        """
        The search finds all rows of one change by its event id, or by the beginning of that id.
        """
        event_id = str(failed[0].event_id)
        for words in (event_id, event_id[:13]):  # which is the mark of a request
            found = console.get(LIST, {"q": words}).context["cl"].queryset
            assert set(failed) == set(found)

    @pytest.mark.parametrize(
        "lookup",
        [
            *("payload__token__startswith", "payload__contains", "payload__token"),
            *("payload__regex", "image__contains", "image__password__startswith", "image"),
        ],
    )
    def test_urls_cannot_filter_by_content(self, console, lookup):
        """
        No URL filters rows by the content of their payloads.
        """
        make(1, payload={"token": "s3cr3t"})
        make(2, payload=None, image={"password": "s3cr3t"})
        assert 400 == console.get(LIST, {lookup: "s"}).status_code
        assert 400 == console.get(LIST, {lookup: "x"}).status_code


class TestPage:
    def test_shows_no_secrets(self, console):
        """
        The page doesn't show the parts of a payload that redaction removes.
        """
        row = make(payload={"password": "hunter2", "title": "Login"})
        text = console.get(page(row)).content.decode()
        assert "hunter2" not in text
        assert "[redacted]" in text
        assert "Login" in text

    @pytest.mark.parametrize(
        ("words", "values"),
        [
            ("Not rendered yet.", {"image": {"note": "hunter2"}}),
            ("Obsolete: the object was deleted", {"obsolete_at": Now()}),
            (
                "Rendering failed",
                {"image": {"note": "hunter2"}, "failed_at": Now(), "error_type": "E"},
            ),
        ],
    )
    def test_says_why_the_payload_is_missing(self, console, words, values):
        """
        Page and list say why a payload is missing, and never show the image.
        """
        row = make(payload=None, **values)
        text = console.get(page(row)).content.decode()
        assert words in text
        assert "hunter2" not in text + console.get(LIST).content.decode()

    def test_shows_payload_and_error_and_changes_nothing(self, console, failed):
        """
        The payload is indented and escaped, and the traceback is shown; nothing can be saved.
        """
        text = console.get(page(failed[0])).content.decode()
        assert "&quot;title&quot;: &quot;&lt;b&gt;Changed&lt;/b&gt;&quot;" in text
        assert "Traceback (most recent call last)" in text
        assert 'name="_save"' not in text
        assert 403 == console.post(page(failed[0]), {"event": "X"}).status_code

    def test_shows_what_it_replays(self, console, admin, failed):
        """
        The new row links to the old one, and the old one to the new.
        """
        criteria = Criteria.parse({"pks": [failed[0].pk]})
        replay = decide(
            criteria, by=admin, reason="fixed", last=last_pk(using="default"), using="default"
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
        Rows can't be added or deleted in the admin.
        """
        args = [failed[0].pk] if name == "delete" else []
        url = reverse(f"admin:pillarbox_notificationoutbox_{name}", args=args)
        assert 403 == console.get(url).status_code
