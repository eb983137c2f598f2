"""What is announced again is true, newer than what is known, and for those who see it."""

import threading
from datetime import timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models.functions import Now

from apps.outbox.criteria import Criteria
from apps.outbox.models import SHARDS, NotificationOutbox
from apps.outbox.numbering import number
from apps.outbox.replay import carry_out, decide, last_pk
from apps.outbox.verdicts import ABSENT, MOVED, OLD, PRESENT, STATELESS, UNMAKEABLE
from apps.realtime.announce import announce
from apps.realtime.registry import register, unregister
from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from tests.database import wait_for_a_waiting_lock
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


@pytest.fixture
def replayed(demo):
    """Return what a replay of rows came to: announced, superseded, and the reasons of refusals."""

    def replayed(*rows, is_resend=False, **values):
        criteria = Criteria.parse({"pks": [row.pk for row in rows]})
        replay = decide(
            criteria,
            by=demo,
            reason="mended",
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
    """Make what is pending failed, or published."""
    for shard in range(SHARDS):
        number(shard, using=USING)
    outcome = (
        {"failed_at": Now(), "error_type": "E"} if state == "failed" else {"published_at": Now()}
    )
    rows = NotificationOutbox.objects.pending()
    pks = list(rows.values_list("pk", flat=True))
    rows.update(**outcome)
    return NotificationOutbox.objects.filter(pk__in=pks).order_by("pk")


def changed(ticket, title="Changed", **values):
    """Return the row, failed, that a change of a ticket announces on its own stream."""
    ticket.title = title
    for name, value in values.items():
        setattr(ticket, name, value)
    ticket.save()
    return settle().get(stream=f"ticket:{ticket.pk}")


def pending():
    """Return the stream, event and title of what is pending."""
    rows = NotificationOutbox.objects.pending().exclude(object_type="rights").order_by("pk")
    return [(row.stream, row.event, row.payload.get("title")) for row in rows]


class TestSuperseded:
    @pytest.mark.parametrize("state", ["pending", "unnumbered", "published"])
    def test_by_what_came_later(self, empty_outbox, ticket, replayed, state):
        """
        A row that a newer one of its object follows is left out, unless it is asked for.
        """
        old = changed(ticket)
        ticket.title = "Newer"
        ticket.save()
        if state != "unnumbered":
            for shard in range(SHARDS):
                number(shard, using=USING)
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
    def test_not_by_what_is_about_something_else(self, replayed, other, demo):
        """
        Another object's row, one on another stream, or one that failed as well, makes nothing old.
        """
        old = make(1, stream="thing:1", object_type="thing", failed_at=Now(), error_type="E")
        make(2, **{"stream": "thing:1", "object_type": "thing", **other})
        assert (1, 0, {}) == replayed(old)

    def test_not_by_what_repeats_something_older(self, empty_outbox, ticket, replayed):
        """
        The older of two failed rows, replayed first, is still the older one; the newer one stays the newer.
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
        What was announced as it is now is newer than all that was recorded.
        """
        older, newer = changed(ticket, "Older"), changed(ticket, "Newer")
        assert (1, 0, {}) == replayed(older, is_current=True)
        assert (0, 1, {}) == replayed(newer)


class TestPresence:
    def test_an_object_that_is_gone_is_not_brought_back(self, empty_outbox, ticket, replayed):
        """
        As recorded it is refused, also when newer rows don't matter; that it is gone may be said.
        """
        change, pk = changed(ticket), ticket.pk
        ticket.delete()
        deletion = settle().get(stream=f"ticket:{pk}")
        assert (0, 0, {ABSENT: 1}) == replayed(change, with_superseded=True)
        assert (1, 0, {}) == replayed(deletion)
        assert [(f"ticket:{pk}", "DELETE_TICKET", None)] == pending()

    def test_nor_one_that_left_a_collection(self, empty_outbox, ticket, replayed, demo):
        """
        What was announced in a collection is not, once the object is elsewhere.
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

    def test_one_that_came_back_is_not_said_to_be_gone(
        self, empty_outbox, ticket, project, replayed
    ):
        """
        A deletion from a collection where the object is again would be wrong.
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
    def test_hide_what_was_before(self, empty_outbox, ticket, replayed):
        """
        What a ticket was is not announced to those who see it where it is now; what it is, is.
        """
        before = changed(ticket, "Secret of the old project")
        after = changed(ticket, "Moved", project=Project.objects.create(name="Elsewhere"))
        assert (0, 0, {MOVED: 1}) == replayed(before, with_superseded=True)
        assert (1, 0, {}) == replayed(after)
        assert (1, 0, {}) == replayed(before, is_current=True, with_superseded=True)
        own = f"ticket:{ticket.pk}"
        assert [(own, "UPDATE_TICKET", "Moved")] * 2 == pending()

    def test_hide_what_was_announced_by_hand(self, empty_outbox, ticket, replayed):
        """
        The words of others about an object are for those who saw it then.
        """
        announce(ticket, "COMMENT", {"title": "Secret"})
        words = settle().get()
        changed(ticket, project=Project.objects.create(name="Elsewhere"))
        assert (0, 0, {MOVED: 1}) == replayed(words, with_superseded=True)
        assert (0, 0, {STATELESS: 1}) == replayed(words, is_current=True, with_superseded=True)

    def test_of_what_an_object_is_seen_through(self, empty_outbox, ticket, replayed):
        """
        If it is for others to see the project, what its tickets were is not for them.
        """
        change = changed(ticket)
        in_collection = NotificationOutbox.objects.get(
            stream__startswith="project.tickets:", event="UPDATE_TICKET"
        )
        unregister("project")
        register(type("Kind", (ProjectType,), {"deciding": ("name",)}))
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

    def test_are_not_known_of_old_rows(self, empty_outbox, ticket, replayed, settings):
        """
        What moved longer ago than rows are kept nobody knows: what can move shows its present state.
        """
        old, project = changed(ticket), ticket.project
        project.name = "Changed"
        project.save()
        cannot_move = settle().get(object_type="project")
        month = timedelta(days=30)
        NotificationOutbox.objects.update(created_at=Now() - month)
        assert (1, 0, {OLD: 1}) == replayed(old, cannot_move)
        assert (1, 0, {}) == replayed(old, is_current=True)

    def test_are_not_known_of_what_is_repeated(self, empty_outbox, ticket, replayed):
        """
        A replay is as old as what it repeats; if that is pruned, nobody knows how old.
        """
        old = changed(ticket)
        replayed(old)
        again = settle().get()
        NotificationOutbox.objects.filter(pk=old.pk).update(created_at=Now() - timedelta(days=30))
        assert (0, 0, {OLD: 1}) == replayed(again)
        old.delete()
        assert (0, 0, {OLD: 1}) == replayed(again)


class TestPresentState:
    def test_is_what_the_object_is_now(self, empty_outbox, ticket, replayed):
        """
        The newest payload, whatever was recorded; a creation stays one.
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

    def test_of_what_is_gone_is_that_it_is_gone(self, empty_outbox, ticket, replayed):
        """
        A deletion with the id and nothing else.
        """
        change, pk = changed(ticket), ticket.pk
        ticket.delete()
        settle()
        assert (1, 0, {}) == replayed(change, is_current=True)
        new = NotificationOutbox.objects.pending().get()
        assert ("DELETE_TICKET", {"id"}) == (new.event, set(new.payload))
        assert str(pk) == new.object_id

    @pytest.mark.parametrize("object_type", ["thing", "rights", "me"])
    def test_of_no_object_there_is_none(self, replayed, object_type):
        """
        Rows of types that are not registered, or are not objects', have only what was recorded.
        """
        row = make(1, object_type=object_type, failed_at=Now(), error_type="E")
        assert (0, 0, {STATELESS: 1}) == replayed(row, is_current=True)
        assert (1, 0, {}) == replayed(row)

    def test_that_can_not_be_made_holds_up_no_other(self, empty_outbox, ticket, replayed):
        """
        A serializer that raises, or a key that is none, is a reason, and the other rows are announced.
        """
        good = changed(ticket)
        bad = Ticket.objects.create(project=ticket.project, title="bad")
        broken = settle().get(stream=f"ticket:{bad.pk}")
        alien = make(9, object_id="x", event="UPDATE_TICKET", failed_at=Now(), error_type="E")
        unregister("ticket")
        register(type("Kind", (TicketType,), {"payload": _payload}))
        try:
            announced, _, refusals = replayed(good, broken, alien, is_current=True)
        finally:
            unregister("ticket")
            register(TicketType)
        assert (1, 2) == (announced, sum(refusals.values()))
        assert any("ZeroDivisionError" in reason for reason in refusals)

    def test_that_asks_the_database_for_nonsense_holds_up_no_other(
        self, empty_outbox, ticket, replayed
    ):
        """
        PostgreSQL goes on with nothing in a transaction in which something failed; the replay does.
        """
        good = changed(ticket)
        bad = Ticket.objects.create(project=ticket.project, title="bad")
        broken = settle().get(stream=f"ticket:{bad.pk}")
        unregister("ticket")
        register(type("Kind", (TicketType,), {"payload": _asked}))
        try:
            found = replayed(good, broken, is_current=True)
        finally:
            unregister("ticket")
            register(TicketType)
        assert (1, 0, {f"{UNMAKEABLE} DataError.": 1}) == found


def _payload(self, instance):
    return {"title": 1 // (instance.title != "bad")}


def _asked(self, instance):
    if instance.title == "bad":
        Ticket.objects.extra(where=["1 / 0 = 1"]).exists()
    return {"title": instance.title}


def test_a_change_that_is_not_committed_yet_is_waited_for(empty_outbox, ticket, replayed):
    """
    What it announces and what is announced again come in one order: the replay comes second, and sees it.
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
