"""Replays in the admin: from the changelist to the confirmation, and on to the progress page."""

import re
import uuid
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.urls import reverse

from pillarbox.capture.muting import muted
from pillarbox.models import RIGHTS, NotificationOutbox, Replay
from pillarbox.replay import preview as previewing
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.eligibility import SUPERSEDED
from pillarbox.replay.preview import preview
from pillarbox.replay.replay import BATCH, MEANWHILE, carry_out_batch
from tests.database import elsewhere
from tests.rows import make, many_failed

pytestmark = pytest.mark.django_db(transaction=True)
LIST = reverse("admin:pillarbox_notificationoutbox_changelist")
CONFIRM = reverse("admin:pillarbox_replay_confirm")
REPLAYS = reverse("admin:pillarbox_replay_changelist")


@pytest.fixture
def console(client, admin):
    with muted():  # the session before the sign-in ends
        client.force_login(admin)
    return client


@pytest.fixture
def operator(client, other):
    """Return a function that gives permissions to a member of staff and returns their client."""

    def operator(*codenames):
        other.is_staff = True
        other.save()
        other.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client.force_login(other)
        return client

    return operator


def failed(offset=1, **values):
    defaults = {"object_type": "thing", "error_type": "E", "error_message": "no row 7"}
    return make(offset, failed_at=Now(), **{**defaults, **values})


def published(offset=1, **values):
    return make(offset, published_at=Now(), object_type="thing", **values)


@contextmanager
def table_lock():
    """Lock the outbox's table, so that no other connection can read it."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {NotificationOutbox._meta.db_table}")
        yield


def act(client, action, rows, query="", **data):
    """Run an action of the changelist; return the page to which it leads."""
    data |= {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(LIST + query, data, follow=True)


def decision(answer, **values):
    """Return the form data that a confirmation page sends."""
    form = answer.context["form"]
    hidden = {"key": str(form.initial["key"]), "last": form.initial["last"]}
    return {**hidden, "payload": "recorded", "reason": "fixed", **values}


def decide(client, query="", **values):
    """Confirm a replay of the rows that a query matches; return the resulting page."""
    answer = client.get(CONFIRM + query)
    return client.post(CONFIRM + query, decision(answer, **values), follow=True)


def messages(answer):
    return [str(message) for message in answer.context["messages"]]


def text(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.content.decode()))


class TestFromTheList:
    def test_a_selection_is_confirmed_and_announced_at_once(self, console, admin):
        """
        Failed rows of a mixed selection are announced, and the page says how many others there
        were.
        """
        rows = [failed(1), failed(2, object_id="2"), published(3, object_id="3")]
        answer = act(console, "replay_failed", rows)
        assert "2 failed rows match" in text(answer)
        assert "1 of the selected rows is in another state, or gone." in text(answer)
        query = "?" + answer.request["QUERY_STRING"]
        page = console.post(CONFIRM + query, decision(answer), follow=True)
        assert "Finished" in text(page)
        assert 2 == page.context["replay"].announced
        assert 2 == NotificationOutbox.objects.pending().count()
        logged = LogEntry.objects.filter(user=admin, change_message="Replay: fixed")
        assert {str(row.pk) for row in rows[:2]} == set(logged.values_list("object_id", flat=True))

    def test_all_that_matches_filters_and_search(self, console):
        """
        "Select all" across pages replays all rows that match the filters and the search.
        """
        rows = [failed(n, object_id=str(n), event="AB"[n % 2]) for n in range(1, 6)]
        failed(6, object_id="6", event="A", error_message="other")
        query = "?state=failed&event=A&q=row&o=1"
        answer = act(console, "replay_failed", rows[:1], query, select_across="1")
        assert {"state": "failed", "event": "A", "q": "row"} == answer.context["criteria"].as_json()
        assert 2 == answer.context["preview"].total

    def test_an_unknown_filter_is_refused(self, console):
        """
        A filter that a replay doesn't know is refused, not ignored.
        """
        answer = act(console, "replay_failed", [failed(1)], "?attempts__gt=0", select_across="1")
        assert ["These rows can't be selected: attempts__gt: no such filter."] == [
            message.partition(" Expected")[0] for message in messages(answer)
        ]

    def test_resend_of_published_rows(self, console):
        """
        A separate action resends published rows.
        """
        answer = act(console, "resend_published", [published(1), failed(2)])
        assert "1 published row matches" in text(answer)
        query = "?" + answer.request["QUERY_STRING"]
        page = console.post(CONFIRM + query, decision(answer), follow=True)
        assert (True, 1) == (page.context["replay"].is_resend, page.context["replay"].announced)

    @pytest.mark.parametrize(("make_row", "word"), [(failed, "Replay…"), (published, "Resend…")])
    def test_from_a_rows_page(self, console, make_row, word):
        """
        A row's page links only to confirmations that are possible for its state.
        """
        row = make_row(1)
        page = console.get(reverse("admin:pillarbox_notificationoutbox_change", args=[row.pk]))
        assert word in text(page)
        assert 1 == len(re.findall(f'href="{CONFIRM}', page.content.decode()))


class TestConfirmation:
    def test_shows_rows_causes_and_events(self, console):
        """
        The page shows rows, causes, events, rows replayed before and superseded rows.
        """
        old = failed(1, event="OLD", error_fingerprint="f")
        failed(2, event="NEW", object_id="2", error_fingerprint="f")
        before = failed(3, object_id="3")
        decide(console, f"?pks={before.pk}")
        published(4)
        found = console.get(CONFIRM, {"state": "failed"})
        preview = found.context["preview"]
        assert (3, 1, 2) == (preview.total, preview.replayed, preview.tried)
        assert [("f", "E", "no row 7", 2)] == preview.causes
        assert {("OLD", "thing", 1), ("NEW", "thing", 1), ("X", "thing", 1)} == set(preview.events)
        superseded = SUPERSEDED
        assert {"": 1, superseded: 1} == preview.recorded
        assert [(old.pk, superseded)] == [(s.row.pk, s.recorded) for s in preview.shown[:1]]
        assert "1 of them was replayed before" in text(found)

    def test_of_one_cause(self, console):
        """
        Rows that failed of one cause are replayed together.
        """
        failed(1, error_fingerprint="a"), failed(2, error_fingerprint="b", object_id="2")
        page = decide(console, "?cause=a")
        assert 1 == page.context["replay"].total

    def test_of_nothing(self, console):
        """
        If no row matches, the page says so and has no form.
        """
        answer = console.get(CONFIRM, {"pks": "77"})
        assert "No failed row matches: pks 77" in text(answer)
        assert '<input type="submit"' not in answer.content.decode()

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("?state=odd", "state: expected one of failed, obsolete, pending, published"),
            ("?pks=x", "pks: expected the primary key of a row"),
            ("?since=yesterday", "since: expected a time such as"),
            ("?colour=red", "colour: no such filter"),
        ],
    )
    def test_of_invalid_filters(self, console, query, words):
        """
        Invalid filters are named, and the user returns to the list.
        """
        answer = console.get(CONFIRM + query, follow=True)
        assert words in messages(answer)[0]
        assert LIST == answer.request["PATH_INFO"]

    def test_of_more_than_can_be_counted(self, console, monkeypatch):
        """
        Counting that takes too long is cancelled, with a message.
        """
        monkeypatch.setattr(previewing, "COUNTING_SECONDS", 0.1)
        with elsewhere(table_lock()):
            console.get(CONFIRM)
        answer = console.get(LIST)
        assert ["These rows can't be selected: rows: too many to count. Add filters."] == (
            messages(answer)
        )

    def test_while_the_database_fails(self, admin):
        """
        Other errors of the database are not reported as a slow count.
        """
        with elsewhere(table_lock()), connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = 50")
            try:
                with pytest.raises(OperationalError, match="lock timeout"):
                    preview(Criteria(), is_resend=False, using="default")
            finally:
                cursor.execute("RESET lock_timeout")

    @pytest.mark.parametrize(
        ("field", "value"),
        [("reason", ""), ("reason", "x" * 501), ("payload", "odd"), ("key", "x"), ("last", "-1")],
    )
    def test_of_a_form_that_is_not_filled_in(self, console, field, value):
        """
        A reason is required; without it nothing is decided, and the form names the missing field.
        """
        failed(1)
        answer = console.post(
            CONFIRM, decision(console.get(CONFIRM), **{field: value}), follow=True
        )
        assert field in answer.context["form"].errors
        assert "Please correct the error below." in text(answer)
        assert not Replay.objects.exists()

    def test_sent_twice_decides_once(self, console):
        """
        A form sent twice leads to the page of the first decision.
        """
        failed(1)
        values = decision(console.get(CONFIRM))
        pages = [console.post(CONFIRM, values, follow=True) for _ in range(2)]
        assert pages[0].context["replay"] == pages[1].context["replay"]
        assert 1 == NotificationOutbox.objects.pending().count()

    def test_of_rows_replayed_meanwhile(self, console):
        """
        If two operators confirm the same rows, these are announced once, and the second sees why.
        """
        row = failed(1)
        first, second = (console.get(CONFIRM, {"pks": row.pk}) for _ in range(2))
        query = f"?pks={row.pk}"
        pages = [
            console.post(CONFIRM + query, decision(answer), follow=True)
            for answer in (first, second)
        ]
        assert [1, 0] == [page.context["replay"].announced for page in pages]
        assert MEANWHILE in text(pages[1])

    def test_of_rows_pruned_meanwhile(self, console):
        """
        Rows pruned before the confirmation are not announced, and cause no error.
        """
        row = published(1)
        query = f"?pks={row.pk}&resend=1"
        values = decision(console.get(CONFIRM + query))
        row.delete()
        page = console.post(CONFIRM + query, values, follow=True)
        assert ("Finished" in text(page), 0) == (True, page.context["replay"].total)

    def test_chooses_payload_and_superseded_rows(self, console):
        """
        The form's choices are recorded in the decision.
        """
        failed(1)
        page = decide(console, payload="current", with_superseded="on")
        replay = page.context["replay"]
        assert (True, True) == (replay.is_current, replay.with_superseded)
        assert "current state, also superseded rows" in text(page)


class TestProgress:
    @pytest.fixture
    def page(self, console):
        """Return the progress page of a replay that is too large to be announced at once."""
        many_failed(BATCH + 1)
        return decide(console)

    def test_of_many_rows_waits_for_a_worker(self, page):
        """
        The page refreshes itself, with or without scripts, and says that it waits for a worker.
        """
        content = page.content.decode()
        assert '<noscript><meta http-equiv="refresh"' in content
        assert 'type="module" src="/static/pillarbox/replay.js"' in content
        assert "Waiting for a worker" in text(page)
        assert f'<progress value="0" max="{BATCH + 1}">' in content
        assert 0 == NotificationOutbox.objects.pending().count()

    def test_says_when_no_worker_begins(self, console, page):
        """
        After a while the page suggests that no worker runs.
        """
        url = page.request["PATH_INFO"]
        assert "No worker has begun yet." not in text(page)
        Replay.objects.update(created_at=Now() - timedelta(minutes=1))
        assert "No worker has begun yet." in text(console.get(url))

    def test_goes_on_and_ends(self, console, page):
        """
        The page shows the progress, then the outcome, and then stops refreshing.
        """
        url, replay = page.request["PATH_INFO"], page.context["replay"]
        carry_out_batch(replay.pk, using="default")
        assert f'<progress value="{BATCH}"' in console.get(url).content.decode()
        Replay.objects.update(blocked_reason="OperationalError: lock")
        assert "It can't continue at the moment" in text(console.get(url))
        for _ in range(2):
            carry_out_batch(replay.pk, using="default")
        content = console.get(url).content.decode()
        assert "Finished" in content
        assert not re.search(
            "noscript|data-refresh|replay.js|<form method=.post. action=./admin/pillarbox/", content
        )

    def test_is_cancelled_and_continued(self, console, page):
        """
        One click cancels a replay; another leads to the confirmation for the remaining rows.
        """
        replay = page.context["replay"]
        carry_out_batch(replay.pk, using="default")
        url = reverse("admin:pillarbox_replay_cancel", args=[replay.pk])
        answer = console.post(url, follow=True)
        assert ["Cancelled. Rows announced so far stay announced."] == messages(answer)
        (rest,) = re.findall(r'<a href="([^"]+)" class="button">Continue', answer.content.decode())
        again = console.get(rest.replace("&amp;", "&"))
        assert 1 == again.context["preview"].total
        assert ["The replay had already ended."] == messages(console.post(url, follow=True))
        assert 405 == console.get(url).status_code

    @pytest.mark.parametrize("key", [uuid.uuid4(), "x"])
    def test_of_an_unknown_replay(self, console, key):
        """
        An unknown replay is not found.
        """
        url = reverse("admin:pillarbox_replay_change", args=[key])
        assert 404 == console.get(url).status_code
        url = reverse("admin:pillarbox_replay_cancel", args=[uuid.uuid4()])
        assert 403 == console.post(url).status_code


def test_the_list_of_replays_is_a_log(console):
    """
    The list shows operator, reason and progress; entries can't be changed or deleted.
    """
    many_failed(BATCH + 1)
    running, cancelled = (decide(console).context["replay"] for _ in range(2))
    done = decide(console, "?pks=1&resend=1").context["replay"]
    carry_out_batch(running.pk, using="default")
    console.post(reverse("admin:pillarbox_replay_cancel", args=[cancelled.pk]))
    page = text(console.get(REPLAYS))
    for words in ("0 announced", "99 %", "cancelled at 0 %", "fixed", "Resend, as recorded"):
        assert words in page
    assert 403 == console.get(reverse("admin:pillarbox_replay_add")).status_code
    url = reverse("admin:pillarbox_replay_delete", args=[done.pk])
    assert 403 == console.post(url, {"post": "yes"}).status_code


VIEW, REPLAY, RESEND = (f"{verb}_notificationoutbox" for verb in ("view", "replay", "resend"))
#: Permissions → may see rows, replay, resend, see replays, cancel one.
MATRIX = {
    (): (False, False, False, False, False),
    (VIEW,): (True, False, False, False, False),
    (REPLAY,): (False, False, False, False, False),
    (RESEND,): (False, False, False, False, False),
    (VIEW, REPLAY): (True, True, False, True, True),
    (VIEW, RESEND): (True, False, True, True, False),
    (VIEW, REPLAY, RESEND): (True, True, True, True, True),
    ("view_replay",): (False, False, False, True, False),
    ("change_replay", "delete_replay", "add_replay"): (False, False, False, True, False),
}


@pytest.mark.parametrize("permissions", MATRIX, ids=" ".join)
def test_permissions(operator, admin, permissions):
    """
    Viewing, replaying and resending need separate permissions; other requests are refused.
    """
    sees, replays, resends, sees_replays, cancels = MATRIX[permissions]
    row, other = failed(1), published(2, object_id="2")
    replay = Replay.objects.create(
        criteria={}, last_pk=0, total=1, by=admin, by_name="admin", reason="fixed"
    )
    client = operator(*permissions)

    def is_allowed(answer):
        assert answer.status_code in (200, 302, 403)
        return answer.status_code != 403

    assert sees is is_allowed(client.get(LIST))
    for allowed, action, pk, query in (
        (replays, "replay_failed", row.pk, ""),
        (resends, "resend_published", other.pk, "&resend=1"),
    ):
        if sees:
            assert allowed is (f'value="{action}"' in client.get(LIST).content.decode())
        url = f"{CONFIRM}?pks={pk}{query}"
        assert allowed is is_allowed(client.get(url))
        values = {"key": uuid.uuid4(), "last": pk, "payload": "recorded", "reason": "x"}
        assert allowed is is_allowed(client.post(url, values))
    page = reverse("admin:pillarbox_replay_change", args=[replay.pk])
    assert sees_replays is is_allowed(client.get(page))
    assert sees_replays is is_allowed(client.get(REPLAYS))
    if sees_replays:
        assert cancels is ("Cancel the rest" in client.get(page).content.decode())
    url = reverse("admin:pillarbox_replay_cancel", args=[replay.pk])
    assert cancels is is_allowed(client.post(url))
    assert replays + resends == NotificationOutbox.objects.pending().exclude(stream=RIGHTS).count()
