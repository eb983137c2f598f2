"""Erasure beside workers that render, claim and publish: none brings an erased payload back."""

import threading

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from apps.tickets.live import TicketType
from apps.tickets.models import Ticket
from pillarbox.erasure.rows import blank_pending
from pillarbox.erasure.subject import subject_of
from pillarbox.live import erase
from pillarbox.models import Claim, NotificationOutbox, Rendering
from pillarbox.relay import claim, claimed_rows
from pillarbox.stream.locks import numbering_lock, publishing_lock
from pillarbox.stream.rendering.batches.batch import release
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.batches.taking import take
from pillarbox.stream.rendering.renderer import render_batch
from tests.database import elsewhere
from tests.registration import registered
from tests.rendering import number_all
from tests.rows import make
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS
SECRET = {"title": "secret"}


def blank(*rows):
    return blank_pending(subject_of("ticket", 1), 3, [row.pk for row in rows])


def contents():
    """Return the payloads and error messages in the outbox, as text."""
    rows = NotificationOutbox.objects.values_list("payload", "image", "error_message")
    return str(list(rows))


class TestClaimed:
    def test_rows_that_a_worker_has_just_claimed_are_left(self):
        """
        A worker may have loaded the rows, so they are left until it has published them. Others aren't.
        """
        claimed, other = make(1, payload=SECRET), make(2, payload=SECRET)
        pks = claim.claim(3, using=USING, limit=1).rows
        assert ([claimed.pk], 1) == (pks, blank(claimed, other))
        assert 0 == blank(claimed)
        assert claimed_rows.is_still_claimed(3, pks, using=USING)

    def test_rows_that_are_published_now_are_left(self):
        """
        While a worker publishes, its rows are left, however old its claim is.
        """
        row = make(1, payload=SECRET)
        claim.claim(3, using=USING)
        Claim.objects.update(claimed_at="2020-01-01T00:00Z")
        with elsewhere(publishing_lock(3, using=USING)):
            assert 0 == blank(row)
        assert 1 == blank(row)

    def test_a_dead_workers_claim_is_cleared(self):
        """
        If the worker had only been stopped, it finds that its claim is gone, and publishes nothing. No later
        claim equals it.
        """
        row, other = make(1, payload=SECRET), make(2, payload={}, object_id="2")
        pks = claim.claim(3, using=USING).rows
        (loaded, _) = claimed_rows.load(pks, using=USING, longest=1000)
        assert "secret" in loaded.payload
        Claim.objects.update(claimed_at="2020-01-01T00:00Z")
        assert 1 == blank(row)
        assert not claimed_rows.is_still_claimed(3, pks, using=USING)
        assert [other.pk] == claim.claim(3, using=USING).rows

    def test_a_busy_shard_is_left(self, settings):
        """
        If another process keeps the shard's lock, its rows are left.
        """
        row, conf = make(1, payload=SECRET), settings.PILLARBOX
        settings.PILLARBOX = conf | {"LOCK_IDLE_SECONDS": PATIENCE}
        with elsewhere(numbering_lock(3, using=USING)):
            settings.PILLARBOX = conf | {"LOCK_IDLE_SECONDS": 0.1}
            assert 0 == blank(row)

    def test_the_relay_goes_on(self, ticket, relay, sent):
        """
        The rest of the stream is published in order, and the erased offset isn't claimed any more.
        """
        NotificationOutbox.objects.all().delete()
        for title in ("secret", "also secret"):
            Ticket.objects.update(title=title)
        number_all()
        assert 4 == erase("ticket", ticket.pk).erased
        Ticket.objects.update(title="new")
        relay.drain()
        assert [3, 3] == [message["offset"] for _, message in sent]
        assert "secret" not in str(sent)

    def test_an_unnumbered_row_is_published_as_skipped(self, relay, sent):
        """
        A row without an offset gets one, and is published like other obsolete rows.
        """
        make(payload=SECRET)
        assert 1 == erase("ticket", 1).erased
        relay.drain()
        ((_, message),) = sent
        assert (1, True, False) == (
            message["offset"],
            "skipped" in message["frame"],
            "secret" in message["frame"],
        )


@pytest.mark.usefixtures("empty_outbox")
class TestUnrendered:
    @pytest.fixture
    def secret(self, ticket):
        """Commit a change of the ticket whose rows have images."""
        Ticket.objects.update(title="secret")
        assert NotificationOutbox.objects.filter(image__isnull=False).exists()

    def test_of_an_object_that_was_changed(self, ticket, secret, execute):
        """
        The image goes, and the row is rendered as the object is now.
        """
        execute("SET session_replication_role = replica")
        Ticket.objects.update(title="anonymous")
        execute("RESET session_replication_role")
        assert 2 == erase("ticket", ticket.pk).erased
        number_all()
        titles = {row.payload["title"] for row in NotificationOutbox.objects.all()}
        assert {"anonymous"} == titles

    def test_of_an_object_that_was_deleted(self, ticket, secret):
        """
        The row goes as if it had been rendered late, and the deletion is announced.
        """
        pk = ticket.pk
        ticket.delete()
        assert 2 == erase("ticket", pk).erased
        number_all()
        own = NotificationOutbox.objects.filter(stream=f"ticket:{pk}").order_by("offset")
        assert [(1, "DELETE_TICKET")] == [(row.offset, row.event) for row in own]
        assert "secret" not in contents()

    @pytest.mark.parametrize("has_image", [True, False])
    @pytest.mark.parametrize("raises", [True, False])
    def test_that_a_worker_renders_now(self, ticket, secret, has_image, raises):
        """
        The worker's result is dropped, be it a payload or an error that quotes it. No death is counted.
        """
        if not has_image:
            NotificationOutbox.objects.update(image=None)
        pk = ticket.pk

        def forget():
            Ticket.objects.all().delete()
            erase("ticket", pk)
            connections.close_all()

        class Slow(TicketType):
            def payload(self, instance):
                thread = threading.Thread(target=forget)
                thread.start()
                thread.join()
                if raises:
                    raise ValueError(instance.title)
                return super().payload(instance)

        with registered(Slow):
            shards = shards_to_render(using=USING)
            assert 0 == render_batch(shards[0], using=USING)
            assert "secret" not in contents()
            number_all()
        assert "secret" not in contents()
        assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))

    def test_others_that_a_worker_renders_now(self, ticket, secret):
        """
        A batch without the object's rows goes on.
        """
        (shard, *_) = shards_to_render(using=USING)
        batch = take(shard, using=USING)
        row = make(payload=None, image=SECRET, stream="ticket:0", object_id="0", shard=shard)
        assert 1 == erase("ticket", 0).erased
        assert None is NotificationOutbox.objects.get(pk=row.pk).image
        assert release(batch, using=USING)

    def test_that_a_worker_takes_meanwhile(self):
        """
        A batch that was taken after the beginning is cancelled with the image. The turn counts without a
        batch, too, because a worker may be about to take one that it has read with the image.
        """
        row = make(payload=None, image=SECRET)
        batch = take(3, using=USING)
        assert [row.pk] == [one.pk for one in batch.rows]
        assert 1 == blank(row)
        assert not release(batch, using=USING)
        turn = Rendering.objects.get(shard=3).turn
        assert 1 == blank(make(payload=None, image=SECRET))
        assert turn < Rendering.objects.get(shard=3).turn
