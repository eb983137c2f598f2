"""The relay: every committed row is published, in order, or kept until it can be."""

import select
import threading
import tracemalloc
from itertools import islice

import pytest
from django.db import DEFAULT_DB_ALIAS, OperationalError, connection, connections, transaction

from apps.outbox.capture import Notification, capture
from apps.outbox.claim import FORGIVEN_DEATHS, claim
from apps.outbox.locks import publishing_lock
from apps.outbox.models import Claim, NotificationOutbox, Stream, shard_of
from apps.outbox.numbering import number
from tests.layers import CountingAwayLayer, RecordingLayer
from tests.processes import wait_until
from workers.breaker import Breaker
from workers.relay import Drained, Relay

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS


@pytest.fixture(autouse=True)
def sent(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.RecordingLayer"}}
    RecordingLayer.sent.clear()
    return RecordingLayer.sent


def announce(pk=1, count=1, object_type="ticket", payload="{}"):
    for _ in range(count):
        capture(
            [
                Notification(
                    stream=f"ticket:{pk}",
                    event="UPDATE_TICKET",
                    object_type=object_type,
                    object_id=str(pk),
                    payload=payload,
                )
            ],
            using=USING,
        )


def of_one_shard(count):
    """Return primary keys of tickets whose streams are in the shard of ticket 1."""
    pks = (pk for pk in range(1, 10_000) if shard_of(f"ticket:{pk}") == shard_of("ticket:1"))
    return list(islice(pks, count))


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
    assert Drained() == relay.drain()


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


class TestTooMuch:
    def test_for_a_slow_layer_batches_become_smaller(self, settings, relay, sent, caplog):
        """
        A layer that is there, and takes its time, is not away: it gets what it can take.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SlowLayer"}}
        announce(count=600)
        assert 600 == relay.drain().published
        assert list(range(1, 601)) == sorted(set(offsets(sent, 1)))
        assert len(sent) < 1500
        assert "away" not in caplog.text

    @pytest.mark.parametrize("layer", ["FastidiousLayer", "StumblingLayer"])
    def test_a_row_that_the_layer_refuses_is_found(self, settings, relay, sent, layer):
        """
        Among many, one that it won't take, or hangs on, fails after its attempts; the others don't.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": f"tests.layers.{layer}"}}
        settings.REALTIME = {"PUBLISH_SECONDS": 0.1}
        settings.OUTBOX = {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
        bad, *others = of_one_shard(41)
        for pk in (*others[:20], bad, *others[20:]):
            announce(pk, payload='"refused"' if pk == bad else "{}")
        announce(bad)
        drained = relay.drain()
        assert (41, 1, 1) == (drained.published, drained.retried, drained.failed)
        assert [2] == offsets(sent, bad)
        assert not relay.breaker.is_open

    def test_payloads_that_are_small_only_when_stored(self, settings, relay):
        """
        What is loaded is bounded, and so is what PostgreSQL unpacks for it: claims become smaller.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SwallowingLayer"}}
        settings.OUTBOX = {"BATCH_BYTES": 100_000}
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
        settings.OUTBOX = {"MAX_ATTEMPTS": 1}
        announce()
        number(shard_of("ticket:1"), using=USING)
        NotificationOutbox.objects.update(claims=FORGIVEN_DEATHS)
        pks = list(NotificationOutbox.objects.values_list("pk", flat=True))
        Claim.objects.create(
            shard=shard_of("ticket:1"), rows=pks, claimed_at="2026-01-01T00:00:00Z"
        )
        assert (1, 0) == (relay.drain().failed, relay.drain().failed)
        assert 1 == caplog.text.count("Row failed: it kills its worker")


class TestLocked:
    """Somebody else's transaction holds what numbering needs: its shard waits, and no other."""

    @pytest.fixture
    def locked(self, settings):
        """The row of a stream, locked as long as the test takes."""
        settings.OUTBOX = {"LOCK_IDLE_SECONDS": 0.2}
        settings.REALTIME = {"PUBLISH_SECONDS": 0.1}
        Stream.objects.create(name="ticket:1", shard=shard_of("ticket:1"))
        taken, release = threading.Event(), threading.Event()

        def hold():
            with transaction.atomic():
                Stream.objects.select_for_update().get(name="ticket:1")
                taken.set()
                release.wait()
            connections.close_all()

        thread = threading.Thread(target=hold)
        thread.start()
        taken.wait()
        yield
        release.set()
        thread.join()

    def test_others_are_published(self, relay, sent, locked, caplog):
        """
        The drain returns, and says which shard is busy.
        """
        announce(1)
        announce(2)
        assert 1 == relay.drain().published
        assert [1] == offsets(sent, 2)
        assert "Shard 3 can't be numbered" in caplog.text

    def test_others_are_numbered(self, settings, relay, locked):
        """
        With the layer away, too.
        """
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.AwayLayer"}}
        announce(1)
        announce(2)
        assert 1 == relay.drain().numbered


def test_numbering_can_be_cut_short_too(settings, relay):
    """
    While the layer is away a drain ends when its time is over, however much there is to number.
    """
    relay.breaker = Breaker("The channel layer", clock=lambda: 0.0, jitter=lambda: 1)
    relay.breaker.fail(ConnectionError())
    announce()
    assert Drained(is_cut_short=True) == relay.drain(seconds=0)


def test_a_drain_can_be_cut_short(settings, relay):
    """
    When its time is over it stops after the batch in hand, says so, and goes on the next time.
    """
    settings.OUTBOX = {"BATCH_ROWS": 1}
    announce(count=3)
    assert relay.drain(seconds=0).is_cut_short
    drained = relay.drain()
    assert (3, False) == (drained.published, drained.is_cut_short)


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
        assert Drained() == relay.try_to_drain()
        assert "idle-in-transaction timeout" in caplog.text
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

    def test_a_thousand_of_them_take_nobodys_place(self, settings, relay, sent):
        """
        However many are due again, what is good goes first, in the same drain.
        """
        settings.OUTBOX = {"BATCH_ROWS": 100, "BACKOFF_BASE_SECONDS": 0, "MAX_ATTEMPTS": 3}
        for pk in range(1, 1001):
            announce(pk, object_type="ghost")
        assert (1000, True) == (relay.drain().failed, sent == [])
        NotificationOutbox.objects.update(failed_at=None, attempts=1, claims=1)
        for pk in range(2001, 2101):
            announce(pk)
        relay.drain(seconds=0.0)
        assert [] == sent
        while NotificationOutbox.objects.published().count() != 100:
            relay.drain(seconds=0.02)
        assert not NotificationOutbox.objects.failed().exists()
        relay.drain()
        assert 1000 == NotificationOutbox.objects.failed().count()


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
        However many drain together, while rows are written: each offset once, in order; and none takes
        another for dead.
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
        A worker that was stopped between its claim and the lock finds another publishing, and leaves.
        """
        announce()
        shard = shard_of("ticket:1")
        pks = claim(shard, using=USING).rows
        outcome = []

        def come_late():
            with Relay(using=USING) as late:
                outcome.append(late.publish_held(shard, pks, Drained()))
            connections.close_all()

        with publishing_lock(shard, using=USING):
            thread = threading.Thread(target=come_late)
            thread.start()
            thread.join()
        assert ([False], []) == (outcome, sent)
        assert relay.publish_held(shard, pks, Drained())
        assert [1] == offsets(sent, 1)
        assert not relay.publish_held(shard, pks, Drained())  # somebody has done it

    def test_a_claim_without_outcome_is_counted(self, relay):
        """
        What a dead worker left has a claim more when it is published at last.
        """
        announce()
        claim(shard_of("ticket:1"), using=USING)
        Claim.objects.update(claimed_at="2026-01-01T00:00:00Z")
        relay.drain()
        assert 2 == NotificationOutbox.objects.get().claims


def backlog(rows, *, streams, payload="{}"):
    """Insert many rows at once."""
    capture(
        [
            Notification(
                stream=f"ticket:{number % streams}",
                event="UPDATE_TICKET",
                object_type="ticket",
                object_id="1",
                payload=payload,
            )
            for number in range(rows)
        ],
        using=USING,
    )


def test_a_huge_payload_is_not_loaded(settings, relay, sent):
    """
    What goes as a hint doesn't pass through the worker.
    """
    settings.REALTIME = {"FRAME_BYTES": 1000}
    backlog(1, streams=1, payload=f'"{"x" * 20_000_000}"')
    tracemalloc.start()
    relay.drain()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [""] == [message["frame"] for _, message in sent]
    assert peak < 5_000_000


def test_memory_does_not_depend_on_the_backlog(settings, relay):
    """
    Twenty megabytes that wait take no more memory than two: a batch at a time is in hand.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layers.SwallowingLayer"}}
    settings.OUTBOX = {"BATCH_ROWS": 50}
    peaks = []
    for rows in (200, 2000, 20_000):  # the first one warms up
        backlog(rows, streams=40, payload=f'"{"x" * 1000}"')
        tracemalloc.start()
        relay.drain()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 2_000_000


def _drain():
    try:
        with Relay(using=USING) as relay:
            relay.drain()
    finally:
        connections.close_all()


def is_gone():
    """Whether the other end of this thread's connection is closed, without trying to use it."""
    ready, _, _ = select.select([connection.connection.fileno()], [], [], 0)
    return bool(ready)
