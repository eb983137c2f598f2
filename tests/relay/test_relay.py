"""Tests of the relay: every committed row is published, once, in order."""

import threading
import tracemalloc

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from pillarbox.exceptions import ClaimLostError
from pillarbox.models import Claim, NotificationOutbox, shard_of
from pillarbox.relay.breaker import LoggedBreaker
from pillarbox.relay.claim import claim
from pillarbox.relay.drained import Drained
from pillarbox.relay.relay import Relay
from pillarbox.stream.locks import publishing_lock
from tests.announcing import announce, backlog, offsets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent")]
USING = DEFAULT_DB_ALIAS


def test_drains_everything_in_order(settings, relay, sent):
    """
    Rows of many streams and batches are numbered, published in order, and settled.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 2}
    for pk in range(1, 21):
        announce(pk, count=3)
    drained = relay.drain()
    assert (60, 60, 0, 0) == (drained.numbered, drained.published, drained.retried, drained.failed)
    assert all([1, 2, 3] == offsets(sent, pk) for pk in range(1, 21))
    assert {"published"} == {row.state for row in NotificationOutbox.objects.all()}
    assert Drained() == relay.drain()


def test_publishes_through_a_plain_layer(relay, sent):
    """
    A channel layer without group_send_many gets one message after the other.
    """
    announce()
    assert 1 == relay.drain().published


def test_numbering_can_be_cut_short_too(settings, relay):
    """
    While the layer is away, a drain ends in time, however many rows lack an offset.
    """
    relay.breaker = LoggedBreaker("The channel layer", clock=lambda: 0.0, jitter=lambda: 1)
    relay.breaker.fail(ConnectionError())
    announce()
    assert Drained(is_cut_short=True) == relay.drain(seconds=0)


def test_a_drain_can_be_cut_short(settings, relay):
    """
    A drain whose time is over stops after the current batch and says so; the next one goes on.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 1}
    announce(count=3)
    assert relay.drain(seconds=0).is_cut_short
    drained = relay.drain()
    assert (3, False) == (drained.published, drained.is_cut_short)


class TestExclusiveness:
    def test_a_locked_shard_is_skipped(self, relay, sent):
        """
        A relay that finds a shard locked numbers its rows, but publishes nothing.
        """
        announce()
        shard = shard_of("ticket:1")
        with publishing_lock(shard, using=USING):
            thread = threading.Thread(target=_drain)
            thread.start()
            thread.join()
        assert [] == sent
        row = NotificationOutbox.objects.get()
        assert (1, 0) == (row.offset, row.claims)  # numbering claims nothing
        relay.drain()
        assert [1] == offsets(sent, 1)

    def test_several_at_once_publish_each_row_once(self, sent):
        """
        Concurrent drains publish each offset once, in order, and never take each other for dead.
        """
        stop = threading.Event()

        def write():
            for turn in range(40):
                announce(turn % 4 + 1)
            connections.close_all()

        def keep_draining():
            while not stop.is_set():
                _drain()

        writers = [threading.Thread(target=write) for _ in range(2)]
        drainers = [threading.Thread(target=keep_draining) for _ in range(3)]
        for thread in writers + drainers:
            thread.start()
        for thread in writers:
            thread.join()
        stop.set()
        for thread in drainers:
            thread.join()
        _drain()
        assert [list(range(1, 21))] * 4 == [offsets(sent, pk) for pk in range(1, 5)]
        assert {1} == set(NotificationOutbox.objects.values_list("claims", flat=True))

    def test_the_lock_decides_and_not_the_claim(self, relay, sent):
        """
        A worker that was stopped after its claim doesn't publish while another one holds the lock.
        """
        announce()
        shard = shard_of("ticket:1")
        pks = claim(shard, using=USING).rows
        outcome = []

        def come_late():
            with Relay(using=USING) as late, pytest.raises(ClaimLostError) as lost:
                late.publisher.publish(shard, pks)
            outcome.append(str(lost.value))
            connections.close_all()

        with publishing_lock(shard, using=USING):
            thread = threading.Thread(target=come_late)
            thread.start()
            thread.join()
        assert (1, []) == (len(outcome), sent)
        assert relay.publisher.publish(shard, pks)
        assert [1] == offsets(sent, 1)
        with pytest.raises(ClaimLostError):  # it is published already
            relay.publisher.publish(shard, pks)

    def test_a_claim_without_outcome_is_counted(self, relay):
        """
        A row that a dead worker had claimed has two claims when it is published.
        """
        announce()
        claim(shard_of("ticket:1"), using=USING)
        Claim.objects.update(claimed_at="2026-01-01T00:00:00Z")
        relay.drain()
        assert 2 == NotificationOutbox.objects.get().claims


def test_a_huge_payload_is_not_loaded(settings, relay, sent):
    """
    A payload that is too long for a frame isn't loaded into the worker.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"FRAME_BYTES": 1000}
    backlog(1, streams=1, payload=f'"{"x" * 20_000_000}"')
    tracemalloc.start()
    relay.drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [""] == [message["frame"] for _, message in sent]
    assert peak < 5_000_000


def test_memory_does_not_depend_on_the_backlog(settings, relay):
    """
    A backlog of eight megabytes takes no more memory than one of one, since batches are loaded singly.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.DroppingLayer"}}
    settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 50}
    peaks = []
    for rows in (200, 1000, 8000):  # the first one warms up
        backlog(rows, streams=40, payload=f'"{"x" * 1000}"')
        tracemalloc.start()
        relay.drain()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 1_000_000


def _drain():
    try:
        with Relay(using=USING) as relay:
            relay.drain()
    finally:
        connections.close_all()
