"""Rows of a batch whose process died."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models.functions import Now

from pillarbox.exceptions import LockLostError
from pillarbox.models import NotificationOutbox, Rendering
from pillarbox.stream.locks import bounded_transaction, numbering_lock
from pillarbox.stream.rendering.batches.due_shards import shards_to_render
from pillarbox.stream.rendering.batches.settling import settle
from pillarbox.stream.rendering.batches.taking import take
from pillarbox.stream.rendering.render import render
from pillarbox.stream.rendering.renderer import render_batch
from tests.database import elsewhere, row_locks
from tests.metrics import Metric
from tests.rendering import USING
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class TestDeaths:
    @pytest.fixture
    def shard(self, item, execute):
        """Return the shard of three unrendered rows in three streams."""
        execute(
            "INSERT INTO library_item (title, count, price, notes) SELECT 'x', 0, 0, '{}'"
            " FROM generate_series(1, 3)"
        )
        NotificationOutbox.objects.exclude(object_type="item").delete()
        NotificationOutbox.objects.update(shard=3)
        assert 3 == NotificationOutbox.objects.count()
        return 3

    def die(self, shard):
        """Take a batch, and make its record so old that the process counts as dead."""
        batch = take(shard, **USING)
        Rendering.objects.update(seen_at="2020-01-01T00:00Z")
        return batch

    def test_a_batch_is_exclusive(self, shard):
        """
        While a process renders a shard, no other process takes its rows.
        """
        assert 3 == len(take(shard, **USING).rows)
        assert take(shard, **USING) is None

    def test_where_the_clock_was_set_back(self, shard):
        """
        A record from the future counts as outdated, and new rows from the future are taken at once.
        """
        NotificationOutbox.objects.update(available_at=Now() + timedelta(hours=1))
        assert [shard] == shards_to_render(**USING)
        take(shard, **USING)
        Rendering.objects.update(seen_at=Now() + timedelta(hours=1))
        assert take(shard, untried_only=True, **USING) is not None

    def test_a_locked_record_is_skipped(self, shard, execute):
        """
        A shard whose record is locked is left for the next time.
        """
        take(shard, **USING)
        with elsewhere(row_locks(Rendering.objects.filter(shard=shard))):
            assert take(shard, **USING) is None

    def test_batches_have_so_many_bytes(self, shard, settings):
        """
        The images of a batch have at most BATCH_BYTES together, or there is only one.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "BATCH_BYTES": 1}
        assert [1, 1, 1, 0] == [render_batch(shard, **USING) for _ in range(4)]

    def test_batches_shrink_until_the_row_is_alone(self, shard, settings):
        """
        Each death makes the batch smaller, until each row is alone.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "BATCH_ROWS": 8}
        assert [3, 2, 1] == [len(self.die(shard).rows) for _ in range(3)]

    def test_a_row_that_is_always_alone_fails(self, shard, settings, caplog):
        """
        After many deaths each further one counts as an attempt. At last the row fails, with a log line and a
        metric.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "MAX_ATTEMPTS": 1}
        NotificationOutbox.objects.filter(
            pk__gt=NotificationOutbox.objects.earliest("id").pk
        ).delete()
        NotificationOutbox.objects.update(claims=12)
        counted = Metric("notifier_rows_failed_total")
        (row,) = self.die(shard).rows
        assert [] == self.die(shard).rows
        assert 1 == counted.grown
        assert ["Row failed"] == [record.message for record in caplog.records]
        failed = NotificationOutbox.objects.get(pk=row.pk)
        assert "pillarbox.exceptions.WorkerDiedError" == failed.error_type

    def test_a_shard_that_is_busy(self, shard, settings):
        """
        A batch that can't be recorded in time is rendered the next time, and no death is counted.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": PATIENCE}
        with elsewhere(numbering_lock(shard, **USING)):
            settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": 1}
            assert 0 == render_batch(shard, **USING)
        assert not NotificationOutbox.objects.filter(payload__isnull=False).exists()
        settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": PATIENCE}
        assert 3 == render_batch(shard, **USING)
        assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))

    def test_rows_that_are_locked(self, shard, settings):
        """
        A death that can't be counted in time is counted the next time.
        """
        self.die(shard)
        settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": 1}
        with elsewhere(row_locks(NotificationOutbox.objects.all())):
            assert 0 == render_batch(shard, **USING)
        settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": PATIENCE}
        assert render_batch(shard, **USING)

    def test_a_process_that_is_stopped_while_it_takes_rows(self, shard, settings):
        """
        PostgreSQL ends its transaction, and other processes take the rows.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": 1}

        def take_elsewhere():
            wait_until(lambda: take(shard, **USING), "the rows can be taken")
            connections.close_all()

        Rendering.objects.create(shard=shard, rows=[], seen_at="2020-01-01T00:00Z")
        with (
            ThreadPoolExecutor() as threads,
            pytest.raises(LockLostError),
            bounded_transaction(shard, **USING),
        ):
            settings.PILLARBOX = {**settings.PILLARBOX, "LOCK_IDLE_SECONDS": PATIENCE}
            assert list(Rendering.objects.select_for_update())
            threads.submit(take_elsewhere).result()
            Rendering.objects.exists()

    def test_a_batch_that_was_taken_over(self, shard):
        """
        A stopped process that continues doesn't settle a batch that another process has taken over.
        """
        late = self.die(shard)
        results = render(late.rows, **USING)
        assert take(shard, **USING)
        assert settle(late, results, then=lambda shard: None, **USING) is None
        assert not NotificationOutbox.objects.filter(payload__isnull=False).exists()

    def test_slow_code_is_waited_for(self, shard, item_type, settings):
        """
        Code may run longer than UNRENEWED_SECONDS. No death is counted, because the batch is renewed.
        """
        seen = []

        def payload(self, instance):
            before = Rendering.objects.get(shard=3).seen_at
            while Rendering.objects.get(shard=3).seen_at == before and len(seen) < 2:
                pass
            seen.append(take(3, **USING))
            return {}

        item_type(payload=payload)
        assert 3 == render_batch(shard, **USING)
        assert [None] * 3 == seen
        assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))

    def test_endless_code_is_left(self, shard, item_type, settings):
        """
        After RENDER_SECONDS the batch isn't renewed any more.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "RENDER_SECONDS": 0}

        def payload(self, instance):
            Rendering.objects.update(seen_at="2020-01-01T00:00Z")
            assert take(3, **USING)
            return {}

        item_type(payload=payload)
        assert 0 == render_batch(shard, **USING)

    def test_hanging_code_is_logged(self, shard, item_type, settings, caplog):
        """
        In a process that must not end, the log has the hanging batch and a stack trace.
        """
        settings.PILLARBOX = {**settings.PILLARBOX, "RENDER_SECONDS": 0}

        def payload(self, instance):
            wait_until(lambda: "Rendering hangs" in caplog.text, "it is said")
            return {}

        item_type(payload=payload)
        assert 3 == render_batch(shard, **USING)  # no other process has taken it
        (record,) = caplog.records
        assert ("ERROR", ["item"], 3) == (
            record.levelname,
            record.pillarbox_object_types,
            record.pillarbox_rows,
        )
        assert set(NotificationOutbox.objects.values_list("pk", flat=True)) == {
            *record.pillarbox_outbox_ids
        }
        assert "in payload" in record.pillarbox_stack

    def test_a_lost_connection_is_replaced(self, shard, item_type, execute):
        """
        The watchdog opens a new connection after the database has closed the old one.
        """
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        seen = []

        def is_stayed_with():
            before, seen[:] = seen[:], [Rendering.objects.get(shard=3).seen_at]
            return before not in ([], seen)

        def payload(self, instance):
            wait_until(is_stayed_with, "it is stayed with")
            execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
            seen.clear()
            wait_until(is_stayed_with, "it is stayed with again")
            return {}

        item_type(payload=payload)
        assert 3 == render_batch(shard, **USING)

    def test_rows_of_deaths_are_left_to_workers(self, shard):
        """
        A process that takes only untried rows counts the deaths of others, and takes other rows.
        """
        (first, *others) = NotificationOutbox.objects.order_by("id")
        NotificationOutbox.objects.filter(pk__in=[row.pk for row in others]).update(object_type="x")
        assert [first.pk] == [row.pk for row in self.die(shard).rows]
        NotificationOutbox.objects.update(object_type="item")
        batch = take(shard, untried_only=True, **USING)
        assert {row.pk for row in others} == {row.pk for row in batch.rows}
        assert [1, 0, 0] == list(
            NotificationOutbox.objects.order_by("id").values_list("claims", flat=True)
        )
        assert take(shard, untried_only=True, **USING) is None
