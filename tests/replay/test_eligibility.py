"""Eligibility for a replay: announced rows are true, not superseded, and visible to their readers."""

import threading
from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Q
from django.db.models.functions import Now

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.announce import announce
from pillarbox.capture.triggers.installation import install
from pillarbox.models import NotificationOutbox
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.eligibility import ABSENT, MOVED, OLD, PRESENT, STATELESS
from pillarbox.replay.replay import carry_out
from pillarbox.types.registry import register, unregister
from tests.database import wait_for_a_waiting_lock
from tests.registration import registered
from tests.rendering import number_all, render_all
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


@pytest.fixture
def replayed(demo):
    """
    Return a function that replays rows, and returns the numbers announced and superseded, and the
    refusals.
    """

    def replayed(*rows, is_resend=False, **values):
        criteria = Criteria.parse({"pks": [row.pk for row in rows]})
        replay = decide(
            criteria,
            by=demo,
            reason="fixed",
            last=last_pk(using=USING),
            using=USING,
            is_resend=is_resend,
            **values,
        )
        carry_out(replay.pk, using=USING)
        replay.refresh_from_db()
        return replay.announced, replay.superseded, replay.refusals

    return replayed


def settle(state="failed"):
    """Make pending rows failed or published."""
    number_all()
    outcome = (
        {"failed_at": Now(), "error_type": "E"} if state == "failed" else {"published_at": Now()}
    )
    rows = NotificationOutbox.objects.pending()
    pks = list(rows.values_list("pk", flat=True))
    rows.update(**outcome)
    return NotificationOutbox.objects.filter(pk__in=pks).order_by("pk")


def changed(ticket, title="Changed", **values):
    """Change a ticket; return the row of its own stream, as a failed row."""
    ticket.title = title
    for name, value in values.items():
        setattr(ticket, name, value)
    ticket.save()
    return settle().get(stream=f"ticket:{ticket.pk}")


def pending():
    """Return stream, event and title of the pending rows, rendered."""
    render_all()
    rows = NotificationOutbox.objects.pending().exclude(object_type="rights").order_by("pk")
    return [(row.stream, row.event, row.payload.get("title")) for row in rows]


class TestSuperseded:
    @pytest.mark.parametrize("state", ["pending", "unnumbered", "published"])
    def test_by_a_later_row(self, empty_outbox, ticket, replayed, state):
        """
        A row that a newer row of its object follows is left out, unless superseded rows are
        included.
        """
        old = changed(ticket)
        ticket.title = "Newer"
        ticket.save()
        if state != "unnumbered":
            number_all()
        if state == "published":
            settle("published")
        assert (0, 1, {}) == replayed(old)
        assert (1, 0, {}) == replayed(old, with_superseded=True)

    @pytest.mark.parametrize(
        "other",
        [
            {"object_id": "2"},
            {"object_type": "stranger"},
            {"stream": "thing:2"},
            {"failed_at": Now(), "error_type": "E"},
        ],
    )
    def test_not_by_unrelated_rows(self, replayed, other, demo):
        """
        Rows of other objects or streams, and failed rows, supersede nothing.
        """
        old = make(1, stream="thing:1", object_type="thing", failed_at=Now(), error_type="E")
        make(2, **{"stream": "thing:1", "object_type": "thing", **other})
        assert (1, 0, {}) == replayed(old)

    def test_not_by_a_repetition_of_an_older_row(self, empty_outbox, ticket, replayed):
        """
        If the older of two failed rows is replayed first, the newer one is still not superseded.
        """
        older, newer = changed(ticket, "Older"), changed(ticket, "Newer")
        assert (1, 0, {}) == replayed(older)
        assert (1, 0, {}) == replayed(newer)
        third = settle().first()
        assert "Older" == third.payload["title"]
        assert (1, 0, {}) == replayed(third)
        settle("published")
        assert [] == pending()

    def test_by_a_present_state_announced_meanwhile(self, empty_outbox, ticket, replayed):
        """
        A present state announced meanwhile supersedes all recorded states.
        """
        older, newer = changed(ticket, "Older"), changed(ticket, "Newer")
        assert (1, 0, {}) == replayed(older, is_current=True)
        assert (0, 1, {}) == replayed(newer)


class TestPresence:
    def test_an_object_that_is_gone_is_not_brought_back(self, empty_outbox, ticket, replayed):
        """
        A recorded state of a deleted object is refused, even with superseded rows; its deletion may
        be announced.
        """
        change, pk = changed(ticket), ticket.pk
        ticket.delete()
        deletion = settle().get(stream=f"ticket:{pk}")
        assert (0, 0, {ABSENT: 1}) == replayed(change, with_superseded=True)
        assert (1, 0, {}) == replayed(deletion)
        assert [(f"ticket:{pk}", "DELETE_TICKET", None)] == pending()

    def test_nor_one_that_does_not_fulfil_its_condition(self, empty_outbox, ticket, replayed, demo):
        """
        An object outside of its type's condition counts as deleted.
        """
        with registered(type("Open", (TicketType,), {"where": ~Q(status="closed")})):
            change = changed(ticket)
            ticket.status = "closed"
            ticket.save()
            settle()
            assert (0, 0, {ABSENT: 1}) == replayed(change, with_superseded=True)
            assert (1, 0, {}) == replayed(change, is_current=True)
            assert [(f"ticket:{ticket.pk}", "DELETE_TICKET", None)] == pending()

    def test_nor_one_that_left_a_collection(self, empty_outbox, ticket, replayed, demo):
        """
        A row of a collection is refused after the object left it.
        """
        here = f"project.tickets:{ticket.project_id}"
        ticket.title = "Changed"
        ticket.save()
        change = settle().get(stream=here)
        ticket.project = Project.objects.create(name="Elsewhere")
        ticket.save()
        settle()
        assert (0, 0, {ABSENT: 1}) == replayed(change, with_superseded=True)
        assert (1, 0, {}) == replayed(change, is_current=True)
        assert [(here, "DELETE_TICKET", None)] == pending()

    def test_a_deletion_is_refused_if_the_object_is_back(
        self, empty_outbox, ticket, project, replayed
    ):
        """
        A deletion is refused if the object is in that collection again.
        """
        here = f"project.tickets:{project.pk}"
        ticket.project = Project.objects.create(name="Elsewhere")
        ticket.save()
        left = settle().get(stream=here)
        ticket.project = project
        ticket.save()
        settle()
        assert (0, 0, {PRESENT: 1}) == replayed(left, with_superseded=True)
        assert (1, 0, {}) == replayed(left, is_current=True)
        assert [(here, "CREATE_TICKET", ticket.title)] == pending()


class TestMoves:
    def test_hide_recorded_states(self, empty_outbox, ticket, replayed):
        """
        A state recorded before a move is refused; the present state is announced.
        """
        before = changed(ticket, "Secret of the old project")
        after = changed(ticket, "Moved", project=Project.objects.create(name="Elsewhere"))
        assert (0, 0, {MOVED: 1}) == replayed(before, with_superseded=True)
        assert (1, 0, {}) == replayed(after)
        assert (1, 0, {}) == replayed(before, is_current=True, with_superseded=True)
        own = f"ticket:{ticket.pk}"
        assert [(own, "UPDATE_TICKET", "Moved")] * 2 == pending()

    def test_hide_explicit_notifications(self, empty_outbox, ticket, replayed):
        """
        Explicit notifications about an object from before its move are refused.
        """
        announce(ticket, "COMMENT", {"title": "Secret"})
        words = settle().get()
        changed(ticket, project=Project.objects.create(name="Elsewhere"))
        assert (0, 0, {MOVED: 1}) == replayed(words, with_superseded=True)
        assert (0, 0, {STATELESS: 1}) == replayed(words, is_current=True, with_superseded=True)

    def test_of_the_object_that_grants_access(self, empty_outbox, ticket, replayed):
        """
        If a project's readers changed, recorded states of its tickets are refused.
        """
        change = changed(ticket)
        in_collection = NotificationOutbox.objects.get(
            stream__startswith="project.tickets:", event="UPDATE_TICKET"
        )
        unregister("project")
        register(type("Kind", (ProjectType,), {"visibility_fields": ("name",)}))
        install(using=USING)
        try:
            assert (1, 0, {}) == replayed(changed(ticket, "Twice"))
            project = ticket.project
            project.name = "Others'"
            project.save()
            settle("published")
            assert (0, 0, {MOVED: 2}) == replayed(change, in_collection, with_superseded=True)
        finally:
            unregister("project")
            register(ProjectType)
            install(using=USING)

    def test_are_not_known_of_old_rows(self, empty_outbox, ticket, replayed, settings):
        """
        For rows older than the retention moves are unknown, so only the present state is announced.
        """
        old, project = changed(ticket), ticket.project
        project.name = "Changed"
        project.save()
        cannot_move = settle().get(object_type="project")
        month = timedelta(days=30)
        NotificationOutbox.objects.update(created_at=Now() - month)
        assert (1, 0, {OLD: 1}) == replayed(old, cannot_move)
        assert (1, 0, {}) == replayed(old, is_current=True)

    def test_are_not_known_of_pruned_originals(self, empty_outbox, ticket, replayed):
        """
        A replay is as old as its original; if that is pruned, its age is unknown.
        """
        old = changed(ticket)
        replayed(old)
        again = settle().get()
        NotificationOutbox.objects.filter(pk=old.pk).update(created_at=Now() - timedelta(days=30))
        assert (0, 0, {OLD: 1}) == replayed(again)
        old.delete()
        assert (0, 0, {OLD: 1}) == replayed(again)


class TestPresentState:
    def test_is_rendered_from_the_object(self, empty_outbox, ticket, replayed):
        """
        The newest payload is announced, whatever was recorded; a creation stays a creation.
        """
        new = Ticket.objects.create(project=ticket.project, title="New")
        created = settle().get(stream=f"ticket:{new.pk}")
        Ticket.objects.filter(pk=new.pk).update(title="Renamed")
        settle("published")
        assert (1, 0, {}) == replayed(created, is_current=True, with_superseded=True)
        assert [(f"ticket:{new.pk}", "CREATE_TICKET", "Renamed")] == pending()
        assert [None] == list(
            NotificationOutbox.objects.pending().values_list("repeats", flat=True)
        )

    def test_of_a_deleted_object_is_its_deletion(self, empty_outbox, ticket, replayed):
        """
        The present state of a deleted object is a deletion with the id only.
        """
        change, pk = changed(ticket), ticket.pk
        ticket.delete()
        settle()
        assert (1, 0, {}) == replayed(change, is_current=True)
        render_all()
        new = NotificationOutbox.objects.pending().get()
        assert ("DELETE_TICKET", {"id"}) == (new.event, set(new.payload))
        assert str(pk) == new.object_id

    @pytest.mark.parametrize("object_type", ["thing", "rights", "me"])
    def test_of_other_rows_does_not_exist(self, replayed, object_type):
        """
        Rows of unregistered types, and rows that aren't changes of objects, have only a recorded
        state.
        """
        row = make(1, object_type=object_type, failed_at=Now(), error_type="E")
        assert (0, 0, {STATELESS: 1}) == replayed(row, is_current=True)
        assert (1, 0, {}) == replayed(row)

    def test_of_an_invalid_key_does_not_exist(self, empty_outbox, ticket, replayed):
        """
        A row with a key of another type is refused; the other rows are announced.
        """
        alien = make(9, object_id="x", event="UPDATE_TICKET", failed_at=Now(), error_type="E")
        assert (1, 0, {STATELESS: 1}) == replayed(changed(ticket), alien, is_current=True)

    def test_that_can_not_be_rendered_fails_its_own_row(
        self, empty_outbox, ticket, replayed, settings
    ):
        """
        The new row is rendered like any row, so no project code runs while the objects are locked.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
        good = changed(ticket)
        bad = Ticket.objects.create(project=ticket.project, title="bad")
        broken = settle().get(stream=f"ticket:{bad.pk}")
        last = NotificationOutbox.objects.latest("pk").pk
        with registered(type("Kind", (TicketType,), {"payload": _payload})):
            assert (2, 0, {}) == replayed(good, broken, is_current=True, with_superseded=True)
            render_all()
        new, failed = NotificationOutbox.objects.filter(repeats=None, pk__gt=last).order_by("pk")
        assert ({"title": 1}, None) == (new.payload, failed.payload)
        assert "builtins.ZeroDivisionError" == failed.error_type


def _payload(self, instance):
    return {"title": 1 // (instance.title != "bad")}


def test_a_change_that_is_not_committed_yet_is_waited_for(empty_outbox, ticket, replayed):
    """
    A replay waits for an open change of the object, and is assessed after it.
    """
    change, found = changed(ticket), []

    def work():
        try:
            found.append(replayed(change))
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        ticket.title = "Newer"
        ticket.save()
        thread.start()
        wait_for_a_waiting_lock()
    thread.join()
    assert [(0, 1, {})] == found
