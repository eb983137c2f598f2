"""What is away: the channel layer, the database, a lock. Rows wait, unharmed."""

import select

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection

from apps.outbox.models import Claim, NotificationOutbox, Stream, shard_of
from tests.database import elsewhere, row_locks
from tests.layers import CountingAwayLayer
from tests.rig.processes import wait_until
from tests.workers.announcing import announce, backlog, of_one_shard, offsets
from workers.breaker import Breaker
from workers.relay import Drained

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("sent")]
USING = DEFAULT_DB_ALIAS


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
        relay.breaker = Breaker("The channel layer", jitter=lambda: 0)
        for _ in range(3):
            assert 0 == relay.drain().published
        row = NotificationOutbox.objects.order_by("id").first()
        assert ("pending", 0, 0, 1) == (row.state, row.attempts, row.claims, row.offset)
        assert 1 == caplog.text.count("The channel layer is away")
        settings.CHANNEL_LAYERS = back
        assert 2 == relay.drain().published
        assert 1 == caplog.text.count("The channel layer is back")
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

    def test_is_probed_with_one_row(self, settings, relay):
        """
        However many wait, an absent layer is offered one of them, now and then.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.CountingAwayLayer"}}
        relay.breaker = Breaker("The channel layer", jitter=lambda: 0)
        for _ in range(100):
            announce()
        offered = CountingAwayLayer.offered
        offered.clear()
        relay.drain()
        assert [100, 1] == offered  # a batch, and then whether anything goes at all
        for _ in range(2):
            relay.drain()
        assert [100, 1, 1, 1, 1, 1] == offered

    def test_is_left_alone_between_the_probes(self, settings, relay):
        """
        Before the next probe's time nothing is offered; what is committed meanwhile gets its number.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.CountingAwayLayer"}}
        relay.breaker = Breaker("The channel layer", clock=lambda: 0.0, jitter=lambda: 1)
        CountingAwayLayer.offered.clear()
        for _ in range(3):
            announce()
            assert 1 == relay.drain().numbered
        assert [1, 1] == CountingAwayLayer.offered

    def test_of_half_an_hour_with_fifty_thousand_rows(self, settings, relay, sent, caplog):
        """
        Nothing fails, no attempt is counted, the log has a handful of lines; and when the layer is back,
        all is published.
        """
        back = settings.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.CountingAwayLayer"}}
        CountingAwayLayer.offered.clear()
        now = 0.0
        relay.breaker = Breaker("The channel layer", clock=lambda: now)
        backlog(50_000, streams=500)
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
        assert 50_001 == len(places)
        assert all(list(range(1, 101)) == offsets(sent, pk) for pk in range(500))

    def test_is_over_for_whoever_waited_longest_first(self, settings, relay, sent):
        """
        What was numbered first is published first: no stream waits because its offsets are higher.
        """
        back = settings.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        settings.OUTBOX = {"BATCH_ROWS": 4}
        relay.breaker = Breaker("The channel layer", jitter=lambda: 0)
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

    def test_leaves_nothing_in_hand(self, settings, relay):
        """
        What was not tried is nobody's death.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        announce()
        relay.drain()
        assert [[]] == list(Claim.objects.values_list("rows", flat=True))


class TestDatabaseAway:
    def test_is_said_once(self, relay, monkeypatch, caplog):
        """
        A database that can't be reached is a line in the log, not one for each drain; so is its return.
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

    def test_a_lock_that_was_lost_is_a_line_in_the_log(self, settings, relay, sent, caplog):
        """
        A worker that was frozen while it published goes on; what it had in hand is somebody's by then.
        """
        settings.OUTBOX = {"LOCK_IDLE_SECONDS": 0.2}
        back = settings.CHANNEL_LAYERS
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.FrozenLayer"}}
        announce()
        assert Drained(numbered=1) == relay.try_to_drain()
        assert "Shard 3 is left for later: this process lost its lock" in caplog.text
        assert "away" not in caplog.text
        settings.CHANNEL_LAYERS = back
        Claim.objects.update(claimed_at="2026-01-01T00:00:00Z")
        assert 1 == relay.try_to_drain().published

    def test_a_lost_connection_is_made_again(self, relay):
        """
        A restart of PostgreSQL between two drains costs neither of them.
        """
        announce()
        with connection.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = 1")
        wait_until(is_gone, "PostgreSQL has ended the connection")
        assert 1 == relay.try_to_drain().published

    def test_raises_when_asked_to(self, relay):
        """
        Who wants to know is told.
        """
        with connection.cursor() as cursor:
            cursor.execute("SET idle_session_timeout = 1")
        wait_until(is_gone, "PostgreSQL has ended the connection")
        with pytest.raises(OperationalError):
            relay.drain()
        connection.close()


class TestLocked:
    """Somebody else's transaction holds what numbering needs: its shard waits, and no other."""

    @pytest.fixture
    def locked(self, settings):
        """The row of a stream, locked as long as the test takes."""
        settings.OUTBOX = {"LOCK_IDLE_SECONDS": 0.2}
        settings.REALTIME = {"PUBLISH_SECONDS": 0.1}
        Stream.objects.create(name="ticket:1", shard=shard_of("ticket:1"))
        with elsewhere(row_locks(Stream.objects.filter(name="ticket:1"))):
            yield

    def test_others_are_published(self, relay, sent, locked, caplog):
        """
        The drain returns, and says which shard is busy.
        """
        announce(1)
        announce(2)
        assert 1 == relay.drain().published
        assert [1] == offsets(sent, 2)
        assert "Shard 3 is left for later: another" in caplog.text

    def test_others_are_numbered(self, settings, relay, locked):
        """
        With the layer away, too.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        announce(1)
        announce(2)
        assert 1 == relay.drain().numbered


def is_gone():
    """Whether the other end of this thread's connection is closed, without trying to use it."""
    ready, _, _ = select.select([connection.connection.fileno()], [], [], 0)
    return bool(ready)
