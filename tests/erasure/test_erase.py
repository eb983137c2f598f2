"""Erasure: what rows keep of an object is blanked; rows, offsets and other objects stay."""

import logging

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DEFAULT_DB_ALIAS, transaction
from django.db.models.functions import Now

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.erasure.erase import Erasure
from pillarbox.erasure.rows import BATCH, Count, count
from pillarbox.erasure.subject import subject_of
from pillarbox.exceptions import UnknownObjectTypeError
from pillarbox.live import announce, erase
from pillarbox.models import RIGHTS, NotificationOutbox, Stream
from pillarbox.replay.criteria import Criteria
from pillarbox.replay.decisions import decide, last_pk
from pillarbox.replay.eligibility import NOTHING
from pillarbox.replay.replay import carry_out
from pillarbox.types import hashids
from tests.database import elsewhere, row_locks
from tests.registration import registered
from tests.rendering import number_all
from tests.rows import end, make

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = {"title": "secret"}
PUBLISHED = {"published_at": Now(), "claims": 1}
FAILED = {"failed_at": Now(), "error_type": "E"}


def reloaded(row):
    return NotificationOutbox.objects.get(pk=row.pk)


def replayed(row, by, **values):
    """Replay a row; return the numbers announced and refused, and the refusals."""
    replay = decide(
        Criteria.parse({"pks": [row.pk]}),
        by=by,
        reason="fixed",
        last=last_pk(using=DEFAULT_DB_ALIAS),
        using=DEFAULT_DB_ALIAS,
        **values,
    )
    carry_out(replay.pk, using=DEFAULT_DB_ALIAS)
    replay.refresh_from_db()
    return replay.announced, replay.refused, replay.refusals


class TestStates:
    @pytest.mark.parametrize(
        ("values", "before", "after"),
        [
            ({"offset": 1, "payload": SECRET, **PUBLISHED}, "published", "obsolete"),
            ({"offset": 1, "payload": SECRET, **FAILED}, "failed", "failed"),
            ({"offset": 1, "payload": None, "image": SECRET, **FAILED}, "failed", "failed"),
            ({"offset": 1, "payload": SECRET}, "pending", "obsolete"),
            ({"offset": 1, "payload": SECRET, "claims": 2, "attempts": 1}, "pending", "obsolete"),
            ({"payload": SECRET}, "pending", "pending"),
        ],
        ids=["published", "failed", "failed-image", "numbered", "tried", "unnumbered"],
    )
    def test_the_content_goes_and_the_row_stays(self, values, before, after):
        """
        Payload, image and error message go, and subscribers see the offset as skipped.
        """
        values = {"error_message": "secret", "error_traceback": "secret", **values}
        row = make(**values)
        assert before == row.state
        assert (1, 0) == ((done := erase("ticket", 1)).erased, done.left)
        now = reloaded(row)
        assert (None, None, "", "") == (
            now.payload,
            now.image,
            now.error_message,
            now.error_traceback,
        )
        assert after == now.state
        assert now.obsolete_at is not None
        assert (row.offset, row.event_id, row.error_type, row.attempts) == (
            now.offset,
            now.event_id,
            now.error_type,
            now.attempts,
        )
        assert 0 == erase("ticket", 1).erased

    def test_a_time_that_is_recorded_stays(self):
        """
        A published row keeps the time at which it was published, and an obsolete one that of its end.
        """
        rows = [
            make(1, payload=SECRET, **PUBLISHED),
            make(2, payload=None, obsolete_at=Now(), error_message="secret", **PUBLISHED),
        ]
        assert 2 == erase("ticket", 1).erased
        for row in rows:
            assert row.published_at == reloaded(row).published_at
        assert rows[1].obsolete_at == reloaded(rows[1]).obsolete_at

    def test_what_says_only_the_id_stays(self):
        """
        A payload that has only the public id, as deletions have, stays: clients still learn of the
        deletion. The error of such a row goes.
        """
        bare = {"id": hashids.encode("ticket", 1)}
        rows = [
            make(1, payload=bare, **PUBLISHED),
            make(2, payload=bare, error_message="secret"),
            make(3, payload={**bare, **SECRET}),
        ]
        assert 2 == erase("ticket", 1).erased
        assert [
            ("published", bare, ""),
            ("pending", bare, ""),
            ("obsolete", None, ""),
        ] == [(now.state, now.payload, now.error_message) for now in map(reloaded, rows)]

    def test_rows_of_others_stay(self):
        """
        Other objects' rows, also in the same streams, and ends of rights stay.
        """
        rows = [
            make(1, payload=SECRET, object_id="2", **PUBLISHED),
            make(2, payload=SECRET, object_type="project", **PUBLISHED),
            make(3, payload=SECRET, lookup="project__name"),
            end(object_type="ticket"),
        ]
        before = list(NotificationOutbox.objects.order_by("id").values())
        assert 0 == erase("ticket", 1).erased
        assert before == list(NotificationOutbox.objects.order_by("id").values())
        assert 4 == len(rows)


class TestSubjects:
    def test_an_object_in_all_its_streams(self, ticket):
        """
        Rows in the object's own stream and in collections are erased, and so are announcements.
        """
        announce(ticket, "EXPORT_DONE", SECRET)
        number_all()
        rows = NotificationOutbox.objects.exclude(stream=RIGHTS).filter(object_type="ticket")
        assert {f"ticket:{ticket.pk}", f"project.tickets:{ticket.project_id}"} == {
            row.stream for row in rows
        }
        assert 3 == erase("ticket", ticket.pk).erased
        assert {None} == {row.payload for row in rows.all()}
        others = NotificationOutbox.objects.filter(object_type="project")
        assert all(row.payload for row in others)

    def test_a_user(self, demo, other):
        """
        The rows of a user's own stream are erased, and those of other users stay.
        """
        for user in (demo, other):
            announce(user, "HELLO", SECRET)
        assert 1 == erase("me", demo.pk, by=other).erased
        assert [None, SECRET] == [row.payload for row in NotificationOutbox.objects.order_by("id")]

    def test_a_deleted_user(self, demo):
        """
        The rows of a user that was deleted are erased by the key.
        """
        announce(demo, "HELLO", SECRET)
        pk = demo.pk
        demo.delete()
        assert 1 == erase("me", pk).erased

    def test_an_object_of_several_types(self, ticket, empty_outbox):
        """
        The rows of all types of the object's model are erased.
        """

        class Brief(TicketType):
            name = "ticket.brief"
            collections = {}

        with registered(Brief):
            Ticket.objects.update(title="secret")
            number_all()
            assert 3 == erase("ticket", ticket.pk).erased
        assert {None} == {row.payload for row in NotificationOutbox.objects.all()}

    @pytest.mark.parametrize("key", [None, "1x", "8Kx2Q"])
    def test_a_key_that_is_none(self, key):
        """
        A key that no object can have is refused, such as that of an instance that was deleted.
        """
        with pytest.raises(UnknownObjectTypeError, match="No ticket has the primary key"):
            erase("ticket", key)

    def test_an_unknown_type(self):
        """
        A type that isn't registered is refused.
        """
        with pytest.raises(UnknownObjectTypeError, match="'ghost' is not registered"):
            erase("ghost", 1)

    def test_in_a_transaction(self):
        """
        A call in a transaction is refused, whether there are rows or not.
        """
        with pytest.raises(RuntimeError), transaction.atomic():
            erase("ticket", 1)


class TestPasses:
    def test_many_rows(self):
        """
        Many rows are blanked in batches, with the progress after each.
        """
        NotificationOutbox.objects.bulk_create(
            NotificationOutbox(
                stream="ticket:1",
                shard=3,
                offset=n + 1,
                object_type="ticket",
                object_id="1",
                payload=SECRET,
                published_at=Now(),
            )
            for n in range(BATCH + 1)
        )
        subject = subject_of("ticket", 1)
        assert Count(BATCH + 1, 0, 0) == count(subject)
        assert [BATCH, BATCH + 1] == list(Erasure(subject).carry_out())
        assert Count(0, 0, 0) == count(subject)

    def test_a_locked_row_is_waited_for(self, settings):
        """
        A row that another transaction has locked is erased as soon as it is free.
        """
        _, second = (make(n, payload=SECRET, **PUBLISHED) for n in (1, 2))
        erasure = Erasure(subject_of("ticket", 1))
        steps = erasure.carry_out()
        with elsewhere(row_locks(NotificationOutbox.objects.filter(pk=second.pk))):
            assert [1, 1] == [next(steps), next(steps)]
        assert 2 == list(steps)[-1]
        assert 0 == erasure.left

    def test_a_row_that_stays_locked_is_left(self, settings):
        """
        After a while the erasure ends without the row.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.1}
        first, second = (make(n, payload=SECRET, **PUBLISHED) for n in (1, 2))
        with elsewhere(row_locks(NotificationOutbox.objects.filter(pk=second.pk))):
            done = erase("ticket", 1)
        assert (1, 1) == (done.erased, done.left)
        assert [None, SECRET] == [reloaded(row).payload for row in (first, second)]

    def test_a_copy_made_by_a_replay_meanwhile(self, demo):
        """
        If a replay copies a row before it is blanked, the copy is blanked, too.
        """
        row = make(1, payload=SECRET, object_id="1", event="X", **FAILED)
        steps = Erasure(subject_of("ticket", 1)).carry_out()
        with elsewhere(row_locks(NotificationOutbox.objects.filter(pk=row.pk))):
            assert 0 == next(steps)
        assert 1 == replayed(row, demo)[0]
        assert 2 == list(steps)[-1]
        assert {None} == {row.payload for row in NotificationOutbox.objects.all()}

    def test_a_change_captured_meanwhile_stays(self, ticket, empty_outbox):
        """
        Changes after the beginning aren't erased, so an erasure of a busy object ends.
        """
        make(1, payload=SECRET, object_id=str(ticket.pk), **PUBLISHED)
        steps = Erasure(subject_of("ticket", ticket.pk)).carry_out()
        assert 1 == next(steps)
        make(2, payload={"title": "new"}, object_id=str(ticket.pk))
        assert [] == list(steps)
        assert {"title": "new"} == NotificationOutbox.objects.get(offset=2).payload


class TestReplays:
    def test_an_erased_row_is_not_replayed_as_recorded(self, ticket, empty_outbox, demo):
        """
        A replay as recorded refuses the row with a reason. One of the current state announces it.
        """
        row = make(
            1,
            stream=f"ticket:{ticket.pk}",
            object_id=str(ticket.pk),
            event="UPDATE_TICKET",
            payload=SECRET,
            **FAILED,
        )
        erase("ticket", ticket.pk)
        assert (0, 1, {NOTHING: 1}) == replayed(row, demo)
        assert (1, 0, {}) == replayed(row, demo, is_current=True)
        number_all()
        assert (
            ticket.title == NotificationOutbox.objects.get(repeats=None, offset=2).payload["title"]
        )

    def test_an_erased_row_is_not_sent_again(self, demo):
        """
        A resend leaves the row out.
        """
        row = make(1, payload=SECRET, **PUBLISHED)
        erase("ticket", 1)
        assert (0, 0, {}) == replayed(row, demo, is_resend=True)


class TestAudit:
    def test_the_admins_log_says_who_and_why(self, admin, caplog):
        """
        Begin and end are in the admin's log, on the object's stream, in the operator's name.
        """
        caplog.set_level(logging.INFO, "pillarbox.erasure")
        make(1, payload=SECRET, **PUBLISHED)
        erase("ticket", 1, by=admin, reason="request 4711")
        assert [
            ("ticket:1", "ticket:1", "Erasure begun: request 4711", admin.pk),
            ("ticket:1", "ticket:1", "Erasure ended: 1 rows erased in all, 0 left.", admin.pk),
        ] == [
            (entry.object_id, entry.object_repr, entry.get_change_message(), entry.user_id)
            for entry in LogEntry.objects.order_by("id")
        ]
        assert {Stream} == {entry.content_type.model_class() for entry in LogEntry.objects.all()}
        assert [(0, 0), (1, 0)] == [
            (line.pillarbox_rows, line.pillarbox_left)
            for line in caplog.records
            if line.name.startswith("pillarbox.e")
        ]

    def test_without_a_user_there_is_a_log_line_only(self):
        """
        A call without a user writes nothing into the admin's log.
        """
        erase("ticket", 1)
        assert not LogEntry.objects.exists()


@pytest.mark.parametrize("name", ["item", "book"])
def test_all_tables_of_an_object(name):
    """
    With multi-table inheritance, the rows of an object's other types are erased with it, but no other rows.
    """
    assert {"item:1", "book:1"} == {*subject_of(name, 1).names}
    assert ["ticket:1"] == subject_of("ticket", 1).names
