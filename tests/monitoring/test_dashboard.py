"""The dashboard in the admin, and the filters of the list."""

import re
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models.functions import Now
from django.urls import reverse

from pillarbox.admin import filters as admin_filters
from pillarbox.capture.muting import muted
from pillarbox.models import MinuteCounts, NotificationOutbox, Process
from pillarbox.monitoring import dashboard
from pillarbox.monitoring.processes import report
from pillarbox.stream.attempts import fingerprint
from tests.database import elsewhere
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("changelist", "panel", "charts", "causes")
LIST, PANEL, CHARTS, CAUSES = (
    reverse(f"admin:pillarbox_notificationoutbox_{name}") for name in NAMES
)
TYPE, MESSAGE = "a.b.BrokenError", "<i>no</i> row 7"
CAUSE = fingerprint(TYPE, MESSAGE)


@pytest.fixture
def console(client, admin):
    with muted():  # the session before the sign-in ends
        client.force_login(admin)
    return client


@pytest.fixture
def well():
    """Make each process report itself."""
    facts = {"worker": {"drained_at": None}, "beat": {"swept_at": None}, "daphne": {"sockets": 3}}
    for kind, said in facts.items():
        report(f"{kind}@host:1", kind, said, using=DEFAULT_DB_ALIAS)


@pytest.fixture
def failed(well):
    """Return two rows of one cause, one replayed row of another, and rows without a cause."""
    values = {"failed_at": Now(), "error_type": TYPE, "error_fingerprint": CAUSE}
    rows = [make(offset, error_message=MESSAGE, **values) for offset in (1, 2)]
    other = {**values, "error_fingerprint": "f" * 16, "replayed_at": Now()}
    make(3, error_message="replayed", **other)
    make(4, claims=1, attempts=1, error_fingerprint=CAUSE, available_at=Now() + timedelta(hours=1))
    make(5, published_at=Now())
    make()
    NotificationOutbox.objects.filter(offset=5).update(event="Y", object_type="project")
    return rows


def text(client, url, query=""):
    answer = client.get(url + query)
    assert 200 == answer.status_code
    return answer.content.decode()


def filters(client, query=""):
    """Return the list's filters, a `search` element since Django 6.0 and a `nav` before."""
    page = text(client, LIST, query)
    return re.search(r'<(search|nav) id="changelist-filter".*?</\1>', page, re.DOTALL)[0]


def listed(client, query):
    return {row.pk for row in client.get(LIST + query).context["cl"].result_list}


class TestPanel:
    def test_stands_above_the_list(self, console, well):
        """
        Status, figures and charts are in the page, even without scripts.
        """
        page = text(console, LIST)
        for part in (
            'pillarbox-state">OK<',
            "No notification waits.",
            "Last good drain",
            "Last hour as a table",
        ):
            assert part in page
        assert page.index("pillarbox-state") < page.index('id="changelist"')

    def test_says_what_is_wrong(self, console, failed):
        """
        The panel shows state, reasons and causes, with links to their rows, all escaped.
        """
        panel = text(console, PANEL)
        assert 'pillarbox-state">DEGRADED<' in panel
        assert "2 notifications failed in the last 24 hours" in panel
        assert f'href="{LIST}?cause={CAUSE}">BrokenError: &lt;i&gt;no&lt;/i&gt; row 7</a>' in panel
        assert "<html" not in panel

    def test_names_processes_that_are_gone(self, console, well):
        """
        A killed process is listed among the others.
        """
        Process.objects.filter(kind="daphne").update(seen_at=Now() - timedelta(minutes=5))
        panel = text(console, PANEL)
        assert "daphne@host:1" in panel
        assert "5 min ago: killed, frozen, or cut off from the database" in panel
        assert "No Daphne runs" in panel

    def test_on_a_site_where_nothing_runs(self, console):
        """
        The panel says that no process has reported.
        """
        panel = text(console, PANEL)
        assert "No process has reported in the last hour." in panel
        assert "No worker runs" in panel

    def test_a_database_that_does_not_answer_takes_the_panel_only(self, console, well, monkeypatch):
        """
        Slow queries are cancelled in each part, and the list still appears.
        """
        monkeypatch.setattr(dashboard, "READ_SECONDS", 0.1)
        with elsewhere(locked()):
            page = text(console, LIST)
            assert "The figures can't be read now: canceling statement" in page
            assert "The charts can't be read now: canceling statement" in page
            assert 'id="changelist"' in page


@contextmanager
def locked():
    """Lock the tables of per-minute counts and processes, so that they can't be read."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {MinuteCounts._meta.db_table}, {Process._meta.db_table}")
        yield


class TestCharts:
    def test_are_drawn_with_a_table_beside_them(self, console):
        """
        Charts of the last hour and day have titles, descriptions and a table.
        """
        with connection.cursor() as cursor:
            cursor.execute("SELECT date_trunc('minute', now() - interval '10 minutes')")
            (moment,) = cursor.fetchone()
        MinuteCounts.objects.create(starts_at=moment, captured=9, published=7, failed=1, lag=0.25)
        charts = text(console, CHARTS)
        assert 6 == charts.count("<svg") == charts.count("<desc")
        assert f"<title>{moment:%H:%M}: 7</title>" in charts
        assert f"At most 250 ms, at {moment:%H:%M}" in charts
        assert "not counted" in charts
        assert "style=" not in charts
        row = f'<th scope="row">{moment:%H:%M}</th><td class="pillarbox-number">9</td>'
        assert row in charts


class TestCauses:
    def test_have_a_page(self, console, failed):
        """
        All causes are listed, those with rows to replay first.
        """
        page = text(console, CAUSES)
        assert page.index("BrokenError: &lt;i&gt;") < page.index("BrokenError: replayed")

    def test_none(self, console):
        """
        Without failures there are no causes.
        """
        assert "No notification has failed." in text(console, CAUSES)

    def test_more_than_are_shown(self, console, failed, monkeypatch):
        """
        The panel links to all causes, and their page says if there are even more.
        """
        monkeypatch.setattr(dashboard, "FIRST_CAUSES", 1)
        assert CAUSES in text(console, PANEL)
        monkeypatch.setattr(dashboard, "MOST_CAUSES", 1)
        assert "There are more" in text(console, CAUSES)

    def test_replay_is_offered_with_permission(self, client, console, other, failed):
        """
        Only causes with rows to replay have the link.
        """
        page = reverse("admin:pillarbox_replay_confirm")
        assert f"{page}?cause={CAUSE}" in text(console, PANEL)
        assert f"{page}?cause=ffff" not in text(console, PANEL)
        client.force_login(viewer(other))
        assert "Replay…" not in text(client, PANEL)


class TestFilters:
    @pytest.mark.parametrize(
        ("offsets", "query"),
        [
            ({4, None}, "?state=pending"),
            ({4}, "?state=retrying"),
            ({5}, "?state=published"),
            ({1, 2, 3}, "?state=failed"),
            ({1, 2}, "?state=unreplayed"),
            ({1, 2}, f"?cause={CAUSE}"),
            ({3}, "?cause=ffffffffffffffff"),
            (set(), "?cause=0000000000000000"),
            (set(), "?cause=%00"),
            ({1, 2}, f"?cause={CAUSE}&state=failed&object_type=ticket"),
            ({5}, "?event=Y"),
            ({5}, "?object_type=project"),
            (set(), "?object_type=gone"),
            (set(), "?event=%00"),
            ({1, 2, 3, 4, 5, None}, "?state=unheard-of"),
        ],
    )
    def test_show_their_rows(self, console, failed, offsets, query):
        """
        A filter shows its rows and no others; invalid values cause no error.
        """
        found = NotificationOutbox.objects.filter(pk__in=listed(console, query), stream="ticket:1")
        assert offsets == set(found.values_list("offset", flat=True))

    def test_offer_causes_and_recent_values(self, console, failed, monkeypatch):
        """
        The filter offers the first causes by name, and the requested one.
        """
        monkeypatch.setattr(admin_filters, "MOST_CAUSES", 1)
        assert "BrokenError: replayed" not in filters(console)
        assert "BrokenError: replayed" in filters(console, "?cause=ffffffffffffffff")
        assert "unknown" in filters(console, "?cause=nothing")


def viewer(user):
    user.is_staff = True
    user.save()
    user.user_permissions.add(Permission.objects.get(codename="view_notificationoutbox"))
    return type(user).objects.get(pk=user.pk)


class TestPermissions:
    @pytest.mark.parametrize("url", [LIST, PANEL, CHARTS, CAUSES])
    def test_needs_the_permission_to_view_rows(self, client, other, well, url):
        """
        Anonymous users are sent to the login; staff without the permission are refused.
        """
        assert 302 == client.get(url).status_code
        client.force_login(other)
        assert 302 == client.get(url).status_code
        other.is_staff = True
        other.save()
        assert 403 == client.get(url).status_code
        client.force_login(viewer(other))
        assert 200 == client.get(url).status_code

    @pytest.mark.parametrize("url", [PANEL, CHARTS, CAUSES])
    def test_is_read_only(self, console, url):
        """
        Other methods than GET are refused.
        """
        assert 405 == console.post(url).status_code
