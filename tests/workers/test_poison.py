"""What can't be published, whatever the reason: it fails alone, and delays nobody else."""

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Max, Min

from apps.outbox.claim import FORGIVEN_DEATHS, claim
from apps.outbox.models import SHARDS, Claim, NotificationOutbox, shard_of
from apps.outbox.numbering import number
from tests.workers.announcing import announce, backlog, of_one_shard, offsets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent")]
USING = DEFAULT_DB_ALIAS


class TestPoison:
    def test_fails_after_its_attempts_and_delays_nobody_else(self, settings, relay, sent):
        """
        A row that can't be published fails with its cause; only its own stream waits for it.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 60}
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

    def test_keeps_its_secrets(self, settings, relay, sent, caplog):
        """
        An error that quotes what it failed at shows nothing of it that operators mustn't see.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.TalkativeLayer"}}
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
        announce(payload='{"title": "Login", "password": "hunter2"}')
        while NotificationOutbox.objects.pending().exists():
            relay.drain()
        poison = NotificationOutbox.objects.failed().get()
        lines = [record.error for record in caplog.records if hasattr(record, "outbox_id")]
        assert 2 == len(lines)
        for text in (poison.error_message, poison.error_traceback, *lines):
            assert "It refuses" in text
            assert "Login" in text
        assert (
            "hunter2" not in f"{poison.error_message}{poison.error_traceback}{lines}{caplog.text}"
        )

    def test_a_thousand_of_them_take_nobodys_place(self, settings, relay, sent):
        """
        However many are due again, what is good goes first, in the same drain.
        """
        settings.OUTBOX = settings.OUTBOX | {
            "BATCH_ROWS": 100,
            "BACKOFF_BASE_SECONDS": 0,
            "MAX_ATTEMPTS": 3,
        }
        for pk in range(1, 1001):
            announce(pk, object_type="ghost")
        assert (1000, True) == (relay.drain().failed, sent == [])
        NotificationOutbox.objects.update(failed_at=None, attempts=2, claims=2)
        for pk in range(2001, 2101):
            announce(pk)
        drained = relay.drain()
        assert (100, 1000) == (drained.published, drained.failed)
        times = NotificationOutbox.objects.values_list("shard").annotate(
            Max("published_at"), Min("failed_at")
        )
        assert SHARDS == len(times)
        assert all(published <= failed for _, published, failed in times)


class TestTooMuch:
    def test_for_a_slow_layer_batches_become_smaller(self, settings, relay, sent, caplog):
        """
        A layer that is there, and takes its time, is not away: it gets what it can take.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SlowLayer"}}
        settings.REALTIME = settings.REALTIME | {"PUBLISH_SECONDS": 0.8}
        announce(count=600)
        assert 600 == relay.drain().published
        assert list(range(1, 601)) == sorted(set(offsets(sent, 1)))
        assert 600 < len(sent) < 1500
        assert "away" not in caplog.text

    @pytest.mark.parametrize(
        ("layer", "seconds"), [("FastidiousLayer", 1000), ("StumblingLayer", 0.1)]
    )
    def test_a_row_that_the_layer_refuses_is_found(self, settings, relay, sent, layer, seconds):
        """
        Among many, one that it won't take, or hangs on, fails after its attempts; the others don't.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
        settings.REALTIME = settings.REALTIME | {"PUBLISH_SECONDS": seconds}
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 4, "BACKOFF_BASE_SECONDS": 0}
        bad, *others = of_one_shard(41)
        for pk in (*others[:20], bad, *others[20:]):
            announce(pk, payload='"refused"' if pk == bad else "{}")
        announce(bad)
        while NotificationOutbox.objects.pending().exists():
            relay.drain()
        failed = NotificationOutbox.objects.failed().get()
        assert (f"ticket:{bad}", 1, 4) == (failed.stream, failed.offset, failed.attempts)
        assert [2] == offsets(sent, bad)
        assert all({1} == set(offsets(sent, pk)) for pk in others)
        assert not relay.breaker.is_open

    def test_payloads_that_are_small_only_when_stored(self, settings, relay):
        """
        What is loaded is bounded, and so is what PostgreSQL unpacks for it: claims become smaller.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SwallowingLayer"}}
        settings.OUTBOX = settings.OUTBOX | {"BATCH_BYTES": 100_000}
        backlog(100, streams=1, payload=f'"{"x" * 20_000}"')
        assert 100 == relay.drain().published
        assert {1} == set(NotificationOutbox.objects.values_list("claims", flat=True))


class TestDeath:
    def test_is_said(self, relay, caplog):
        """
        That a worker died with rows in hand is in the log, and so is the row that fails for it.
        """
        announce(count=2)
        claim(shard_of("ticket:1"), using=USING)
        Claim.objects.update(claimed_at="2026-01-01T00:00:00Z")
        relay.drain()
        assert 1 == caplog.text.count("A worker died")

    def test_of_the_row_that_causes_it_is_said_too(self, settings, relay, caplog):
        """
        A row that fails because it kills its worker is counted and named.
        """
        settings.OUTBOX = settings.OUTBOX | {"MAX_ATTEMPTS": 1}
        announce()
        number(shard_of("ticket:1"), using=USING)
        NotificationOutbox.objects.update(claims=FORGIVEN_DEATHS)
        pks = list(NotificationOutbox.objects.values_list("pk", flat=True))
        Claim.objects.create(
            shard=shard_of("ticket:1"), rows=pks, claimed_at="2026-01-01T00:00:00Z"
        )
        assert (1, 0) == (relay.drain().failed, relay.drain().failed)
        assert 1 == caplog.text.count("Row failed: it kills its worker")
