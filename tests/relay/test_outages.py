"""Tests of outages of the channel layer and the database, and of locked shards: rows wait, unharmed."""

import select
from functools import partial

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections

from pillarbox.models import Claim, NotificationOutbox, Stream, shard_of
from pillarbox.relay.breaker import LoggedBreaker
from pillarbox.relay.drained import Drained
from tests.announcing import announce, backlog, of_one_shard, offsets
from tests.database import elsewhere, row_locks
from tests.layers import BlockingLayer, CountingAwayLayer
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent")]
USING = DEFAULT_DB_ALIAS


class TestOutage:
    @pytest.mark.parametrize("layer", ["AwayLayer", "HangingLayer"])
    def test_burns_no_attempt(self, settings, relay, sent, caplog, layer):
        """
        Rows stay due while the layer is away, without an attempt, and are published afterwards.
        """
        back, unhurried = settings.CHANNEL_LAYERS, settings.PILLARBOX
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
        settings.PILLARBOX = unhurried | {"PUBLISH_SECONDS": 0.05}
        announce(count=2)
        relay.breaker = LoggedBreaker("The channel layer", jitter=lambda: 0)
        for _ in range(3):
            assert 0 == relay.drain().published
        row = NotificationOutbox.objects.order_by("id").first()
        assert ("pending", 0, 0, 1) == (row.state, row.attempts, row.claims, row.offset)
        assert 1 == caplog.text.count("The channel layer is away")
        settings.CHANNEL_LAYERS, settings.PILLARBOX = back, unhurried
        assert 2 == relay.drain().published
        assert 1 == caplog.text.count("The channel layer is back")
        assert [1, 2] == offsets(sent, 1)

    def test_does_not_stop_the_numbering(self, settings, relay):
        """
        Rows of every shard are numbered during an outage, and not claimed.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        for pk in range(1, 11):
            announce(pk)
        assert 10 == relay.drain().numbered
        assert {(1, 0)} == set(NotificationOutbox.objects.values_list("offset", "claims"))

    def test_is_probed_with_one_row(self, settings, relay):
        """
        A layer that is away is probed with a single row, however many wait.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.CountingAwayLayer"}}
        relay.breaker = LoggedBreaker("The channel layer", jitter=lambda: 0)
        for _ in range(100):
            announce()
        offered = CountingAwayLayer.offered
        offered.clear()
        relay.drain()
        assert [100, 1] == offered  # a batch, and then a probe
        for _ in range(2):
            relay.drain()
        assert [100, 1, 1, 1, 1, 1] == offered

    def test_is_left_alone_between_the_probes(self, settings, relay):
        """
        Between two probes nothing is sent; new rows are numbered.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.CountingAwayLayer"}}
        relay.breaker = LoggedBreaker("The channel layer", clock=lambda: 0.0, jitter=lambda: 1)
        CountingAwayLayer.offered.clear()
        for _ in range(3):
            announce()
            assert 1 == relay.drain().numbered
        assert [1, 1] == CountingAwayLayer.offered

    def test_of_half_an_hour_with_ten_thousand_rows(self, settings, relay, sent, caplog):
        """
        In a long outage no row fails, no attempt counts, and the log has six lines; then all is published.
        """
        back = settings.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.CountingAwayLayer"}}
        CountingAwayLayer.offered.clear()
        now = 0.0
        relay.breaker = LoggedBreaker("The channel layer", clock=lambda: now)
        backlog(10_000, streams=100)
        while now < 1800:
            relay.drain()
            now += 10
        assert len(CountingAwayLayer.offered) <= 2 * 180
        assert 6 == caplog.text.count("The channel layer is away")
        facts = NotificationOutbox.objects.values_list("attempts", "claims", "failed_at")
        assert [(0, 0, None)] == list(facts.distinct())
        assert not NotificationOutbox.objects.filter(offset=None).exists()

        settings.CHANNEL_LAYERS = back
        announce(1000)
        relay.drain()
        places = [message["stream"] for _, message in sent]
        assert 10_001 == len(places)
        assert all(list(range(1, 101)) == offsets(sent, pk) for pk in range(100))

    def test_is_followed_by_the_oldest_rows_first(self, settings, relay, sent):
        """
        After an outage rows are published in the order of their numbering, not of their offsets.
        """
        back = settings.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        settings.PILLARBOX = settings.PILLARBOX | {"BATCH_ROWS": 4}
        relay.breaker = LoggedBreaker("The channel layer", jitter=lambda: 0)
        busy, *others = of_one_shard(21)
        Stream.objects.create(name=f"ticket:{busy}", shard=shard_of("ticket:1"), head=1_000_000)
        for pks in (others[:10], [busy], others[10:]):
            for pk in pks:
                announce(pk)
            relay.drain()
        settings.CHANNEL_LAYERS = back
        relay.drain()
        streams = [message["stream"] for _, message in sent]
        assert [f"ticket:{busy}"] == streams[10:11]
        assert 21 == len(streams)

    def test_leaves_no_claimed_rows(self, settings, relay):
        """
        After a failed drain no rows stay claimed, so no death is counted.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        announce()
        relay.drain()
        assert [[]] == list(Claim.objects.values_list("rows", flat=True))


class TestDatabaseAway:
    def test_is_logged_once(self, relay, monkeypatch, caplog):
        """
        An outage of the database is logged once, not once per drain; so is its end.
        """
        announce()
        with monkeypatch.context() as patched:
            patched.setitem(connection.settings_dict, "HOST", "/nowhere")
            connection.close()
            for _ in range(2):
                assert Drained() == relay.try_to_drain()
        assert 1 == caplog.text.count("The database is away")
        assert 1 == relay.try_to_drain().published
        assert 1 == caplog.text.count("The database is back")

    def test_a_lost_lock_is_logged(self, settings, relay, sent, caplog, monkeypatch):
        """
        A worker that was frozen while publishing loses its lock, logs it, and goes on.
        """
        back, unhurried = settings.CHANNEL_LAYERS, settings.PILLARBOX
        settings.PILLARBOX = unhurried | {"LOCK_IDLE_SECONDS": 0.2}
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.BlockingLayer"}}
        announce()
        monkeypatch.setattr(BlockingLayer, "until", partial(is_gone, connections[USING]))
        assert Drained(numbered=1) == relay.try_to_drain()
        assert "Shard 3 is left for later: this process lost its lock" in caplog.text
        assert "away" not in caplog.text
        settings.CHANNEL_LAYERS, settings.PILLARBOX = back, unhurried
        Claim.objects.update(claimed_at="2026-01-01T00:00:00Z")
        assert 1 == relay.try_to_drain().published

    def test_a_lost_connection_is_made_again(self, relay):
        """
        A restart of PostgreSQL between two drains doesn't fail the second one.
        """
        announce()
        with connection.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = 1")
        wait_until(partial(is_gone, connection), "PostgreSQL has ended the connection")
        assert 1 == relay.try_to_drain().published

    def test_drain_raises(self, relay):
        """
        `drain` raises the database's error, unlike `try_to_drain`.
        """
        with connection.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = 1")
        wait_until(partial(is_gone, connection), "PostgreSQL has ended the connection")
        with pytest.raises(OperationalError):
            relay.drain()
        connection.close()


class TestLocked:
    """Another transaction locks rows that numbering needs: only that shard waits."""

    @pytest.fixture
    def locked(self, settings):
        """Lock the row of a stream for the duration of the test."""
        settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.2}
        Stream.objects.create(name="ticket:1", shard=shard_of("ticket:1"))
        with elsewhere(row_locks(Stream.objects.filter(name="ticket:1"))):
            yield

    def test_others_are_published(self, relay, sent, locked, caplog):
        """
        Other shards are published, and the log names the busy one.
        """
        announce(1)
        announce(2)
        drain_until(relay, lambda: offsets(sent, 2))
        assert ([], [1]) == (offsets(sent, 1), offsets(sent, 2))
        assert "Shard 3 is left for later: another" in caplog.text

    def test_others_are_numbered(self, settings, relay, locked):
        """
        Other shards are numbered, even if the layer is away.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        announce(1)
        announce(2)
        numbered = NotificationOutbox.objects.exclude(offset=None)
        drain_until(relay, numbered.exists)
        assert ["ticket:2"] == [row.stream for row in numbered]


def drain_until(relay, condition):
    """Drain until the condition is true. On a slow machine a drain may lose its short-lived lock."""
    wait_until(lambda: relay.try_to_drain() and condition(), "unlocked rows are drained")


def is_gone(opened):
    """True if the other end has closed the connection; doesn't use the connection."""
    ready, _, _ = select.select([opened.connection.fileno()], [], [], 0)
    return bool(ready)
