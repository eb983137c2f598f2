"""Tests of rows that can't be published: they fail alone, and delay no other stream."""

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models import Max, Min

from pillarbox.models import SHARDS, Claim, NotificationOutbox, shard_of
from pillarbox.relay.claim import claim
from pillarbox.stream.batch_sizes import FORGIVEN_DEATHS
from pillarbox.stream.numbering import number
from tests.announcing import announce, backlog, of_one_shard, offsets

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent")]
USING = DEFAULT_DB_ALIAS


class TestPoison:
    def test_fails_after_its_attempts_and_delays_no_other_stream(self, settings, relay, sent):
        """
        A bad row fails after its attempts, with its cause; only its own stream waits for it.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 60}
        announce(1, object_type="gadget")
        announce(1)
        announce(2)
        drained = relay.drain()
        assert (1, 1) == (drained.published, drained.retried)
        assert ([], [1]) == (offsets(sent, 1), offsets(sent, 2))
        NotificationOutbox.objects.update(available_at="2026-01-01T00:00:00Z")
        assert 1 == relay.drain().failed
        assert [2] == offsets(sent, 1)
        poison = NotificationOutbox.objects.failed().get()
        assert ("pillarbox.exceptions.UnknownObjectTypeError", 2) == (
            poison.error_type,
            poison.attempts,
        )

    def test_keeps_its_secrets(self, settings, relay, sent, caplog):
        """
        Secrets that an error quotes are redacted in the stored error and the log.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.FrameInErrorLayer"}}
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
        announce(payload='{"title": "Login", "password": "hunter2"}')
        while NotificationOutbox.objects.pending().exists():
            relay.drain()
        poison = NotificationOutbox.objects.failed().get()
        lines = [
            record.pillarbox_error
            for record in caplog.records
            if hasattr(record, "pillarbox_outbox_id")
        ]
        assert 2 == len(lines)
        for text in (poison.error_message, poison.error_traceback, *lines):
            assert "It refuses" in text
            assert "Login" in text
        assert (
            "hunter2" not in f"{poison.error_message}{poison.error_traceback}{lines}{caplog.text}"
        )

    def test_a_thousand_of_them_delay_no_good_row(self, settings, relay, sent):
        """
        Good rows are published before many bad rows that are due again, in the same drain.
        """
        settings.PILLARBOX = settings.PILLARBOX | {
            "BATCH_ROWS": 100,
            "BACKOFF_BASE_SECONDS": 0,
            "MAX_ATTEMPTS": 3,
        }
        for pk in range(1, 1001):
            announce(pk, object_type="gadget")
        assert (1000, True) == (relay.drain().failed, sent == [])
        NotificationOutbox.objects.update(failed_at=None, attempts=2, claims=2)
        for pk in range(2001, 2101):
            announce(pk)
        drained = relay.drain()
        assert (100, 1000) == (drained.published, drained.failed)
        times = NotificationOutbox.objects.values_list("shard").annotate(
            Max("published_at"), Min("failed_at")
        )
        # The last shard contains only ends of rights.
        assert SHARDS - 1 == len(times)
        assert all(published <= failed for _, published, failed in times)


class TestTooMuch:
    def test_for_a_slow_layer_batches_become_smaller(self, settings, relay, sent, caplog):
        """
        A slow layer doesn't count as away; it gets smaller batches.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SlowLayer"}}
        settings.PILLARBOX = settings.PILLARBOX | {"PUBLISH_SECONDS": 0.8}
        announce(count=600)
        assert 600 == relay.drain().published
        assert list(range(1, 601)) == sorted(set(offsets(sent, 1)))
        assert 600 < len(sent) < 1500
        assert "away" not in caplog.text

    @pytest.mark.parametrize(
        ("layer", "seconds"), [("RefusingLayer", 1000), ("PartlyHangingLayer", 0.1)]
    )
    def test_a_row_that_the_layer_refuses_is_found(self, settings, relay, sent, layer, seconds):
        """
        Of many rows, only the one that the layer refuses, or hangs on, fails.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
        settings.PILLARBOX = settings.PILLARBOX | {"PUBLISH_SECONDS": seconds}
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 4, "BACKOFF_BASE_SECONDS": 0}
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
        Claims become smaller if their payloads are large when decompressed.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.DroppingLayer"}}
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_BYTES": 100_000}
        backlog(100, streams=1, payload=f'"{"x" * 20_000}"')
        assert 100 == relay.drain().published
        assert {1} == set(NotificationOutbox.objects.values_list("claims", flat=True))


class TestDeath:
    def test_is_logged(self, relay, caplog):
        """
        A claim that a dead worker left is logged.
        """
        announce(count=2)
        claim(shard_of("ticket:1"), using=USING)
        Claim.objects.update(claimed_at="2026-01-01T00:00:00Z")
        relay.drain()
        assert 1 == caplog.text.count("A worker died")

    def test_a_row_that_kills_its_workers_is_logged(self, settings, relay, caplog):
        """
        A row that fails because it kills its workers is counted and logged.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
        announce()
        number(shard_of("ticket:1"), using=USING)
        NotificationOutbox.objects.update(claims=FORGIVEN_DEATHS)
        pks = list(NotificationOutbox.objects.values_list("pk", flat=True))
        Claim.objects.create(
            shard=shard_of("ticket:1"), rows=pks, claimed_at="2026-01-01T00:00:00Z"
        )
        assert (1, 0) == (relay.drain().failed, relay.drain().failed)
        assert 1 == caplog.text.count("Row failed: it kills its worker")
