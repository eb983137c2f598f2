"""The relay: every committed row is published, in order, or kept until it can be."""

import threading

import pytest
from django.db import DEFAULT_DB_ALIAS, connections

from apps.outbox.capture import Notification, capture
from apps.outbox.locks import publishing_lock
from apps.outbox.models import NotificationOutbox, shard_of
from apps.outbox.numbering import number
from tests.layers import RecordingLayer
from workers.relay import Relay

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


@pytest.fixture(autouse=True)
def sent(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent


def announce(pk=1, count=1, object_type="ticket"):
    for _ in range(count):
        capture(
            [
                Notification(
                    stream=f"ticket:{pk}",
                    event="UPDATE_TICKET",
                    object_type=object_type,
                    object_id=str(pk),
                    payload="{}",
                )
            ],
            using=USING,
        )


def offsets(sent, pk):
    return [message["offset"] for _, message in sent if message["stream"] == f"ticket:{pk}"]


def test_drains_everything_in_order(settings, relay, sent):
    """
    Rows of many streams and batches are numbered, published in order, and settled.
    """
    settings.OUTBOX = {"BATCH_ROWS": 2}
    for pk in range(1, 21):
        announce(pk, count=3)
    drained = relay.drain()
    assert (60, 60, 0, 0) == (drained.numbered, drained.published, drained.retried, drained.failed)
    assert all([1, 2, 3] == offsets(sent, pk) for pk in range(1, 21))
    assert {"published"} == {row.state for row in NotificationOutbox.objects.all()}
    assert 0 == relay.drain().rows


def test_a_plain_layer_will_do(relay, sent):
    """
    A channel layer without group_send_many gets one message after the other.
    """
    announce()
    assert 1 == relay.drain().published


class TestOutage:
    @pytest.mark.parametrize("layer", ["AwayLayer", "HangingLayer"])
    def test_burns_no_attempt(self, settings, relay, sent, caplog, layer):
        """
        While the layer is away the rows stay due, unharmed; when it is back they are published.
        """
        back = settings.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
        settings.REALTIME = {"PUBLISH_SECONDS": 0.05}
        announce(count=2)
        for _ in range(3):
            assert 0 == relay.drain().published
        row = NotificationOutbox.objects.order_by("id").first()
        assert ("pending", 0, 0, 1) == (row.state, row.attempts, row.claims, row.offset)
        assert 1 == caplog.text.count("The channel layer is away")
        settings.CHANNEL_LAYERS = back
        assert 2 == relay.drain().published
        assert [1, 2] == offsets(sent, 1)

    def test_does_not_stop_the_numbering(self, settings, relay):
        """
        What can't be published has its offset all the same, in every shard, and no claim.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        for pk in range(1, 11):
            announce(pk)
        assert 10 == relay.drain().numbered
        assert {(1, 0)} == set(NotificationOutbox.objects.values_list("offset", "claims"))


class TestPoison:
    def test_fails_after_its_attempts_and_delays_nobody_else(self, settings, relay, sent):
        """
        A row that can't be published fails with its cause; only its own stream waits for it.
        """
        settings.OUTBOX = {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 60}
        announce(1, object_type="ghost")
        announce(1)
        announce(2)
        drained = relay.drain()
        assert (1, 1) == (drained.published, drained.retried)
        assert ([], [1]) == (offsets(sent, 1), offsets(sent, 2))
        NotificationOutbox.objects.update(available_at="2026-01-01T00:00:00Z")
        assert 1 == relay.drain().failed
        assert [2] == offsets(sent, 1)
        poison = NotificationOutbox.objects.failed().get()
        assert ("apps.realtime.exceptions.UnknownObjectTypeError", 2) == (
            poison.error_type,
            poison.attempts,
        )


class TestExclusiveness:
    def test_a_taken_shard_is_left_to_its_holder(self, relay, sent):
        """
        Who finds a shard taken numbers, and leaves; nothing is published twice.
        """
        announce()
        shard = shard_of("ticket:1")
        with publishing_lock(shard, using=USING):
            thread = threading.Thread(target=_drain)
            thread.start()
            thread.join()
        assert [] == sent
        row = NotificationOutbox.objects.get()
        assert (1, 0) == (row.offset, row.claims)  # who only numbers claims nothing
        relay.drain()
        assert [1] == offsets(sent, 1)

    def test_several_at_once_publish_each_row_once(self, sent):
        """
        However many drain together, while rows are written: each offset once, in order.
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

    def test_a_claim_without_outcome_is_counted(self, relay):
        """
        What a dead worker left has a claim more when it is published at last.
        """
        announce()
        number(shard_of("ticket:1"), using=USING, claiming=True)
        relay.drain()
        assert 2 == NotificationOutbox.objects.get().claims


def _drain():
    try:
        with Relay(using=USING) as relay:
            relay.drain()
    finally:
        connections.close_all()
