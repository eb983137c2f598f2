"""Tests of the doctor's checks of indexes, constraints and vacuum."""

import re
import threading
from contextlib import contextmanager, suppress

import pytest
from django.db import DatabaseError, connection, transaction

from pillarbox.models import SHARDS
from pillarbox.monitoring.doctor import tables
from tests.announcing import announce
from tests.database import alter_system, elsewhere, wait_for_a_waiting_lock
from tests.waiting import wait_until

from .situations import OUTBOX, found, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("mended")
class TestIndexes:
    @pytest.mark.parametrize("name", ["pillarbox_untried", "pillarbox_position"])
    def test_a_dropped_index(self, name):
        """
        A missing index is named, whether it belongs to the model's indexes or its constraints.
        """
        sql(f"DROP INDEX {name}")
        finding = one(tables.are_complete())
        assert f"{name} of {OUTBOX} is missing." == finding.what
        assert finding.is_grave

    def test_a_dropped_constraint(self):
        """
        A missing constraint is named.
        """
        sql(f"ALTER TABLE {OUTBOX} DROP CONSTRAINT pillarbox_published_is_whole")
        assert [f"pillarbox_published_is_whole of {OUTBOX} is missing."] == found(
            tables.are_complete()
        )

    def test_a_constraint_that_was_never_validated(self):
        """
        A constraint that wasn't validated for old rows is named.
        """
        sql(f"ALTER TABLE {OUTBOX} DROP CONSTRAINT pillarbox_shard")
        sql(
            f"ALTER TABLE {OUTBOX} ADD CONSTRAINT pillarbox_shard CHECK (shard < {SHARDS}) NOT VALID"
        )
        assert [f"pillarbox_shard of {OUTBOX} is not valid."] == found(tables.are_complete())

    @pytest.mark.parametrize(
        ("name", "is_grave"), [("pillarbox_failed", True), ("pillarbox_failed_ccnew", False)]
    )
    def test_an_index_whose_building_was_interrupted(self, name, is_grave):
        """
        An invalid index is named; it is grave if queries need the index.
        """
        if is_grave:
            sql(f"DROP INDEX {name}")
        with (
            elsewhere(_writing()),
            _running(f"CREATE INDEX CONCURRENTLY {name} ON {OUTBOX} (failed_at)"),
        ):
            wait_for_a_waiting_lock()
        finding = one(tables.are_complete())
        assert (f"{name} of {OUTBOX} is not valid.", is_grave) == (finding.what, finding.is_grave)


@contextmanager
def _writing():
    """A transaction that has written to the outbox, and stays idle."""
    with transaction.atomic():
        announce()
        yield


@contextmanager
def _running(statement):
    """Run a long statement on another connection during the block, and cancel it afterwards."""

    def run():
        try:
            with suppress(DatabaseError):
                sql(statement)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = %s"
    try:
        yield
    finally:
        wait_until(lambda: sql(cancel, statement) or not thread.is_alive(), "it can be cancelled")
        thread.join()


class TestVacuum:
    def test_sound(self):
        """
        A freshly migrated database gives no findings.
        """
        assert [] == found(tables.are_vacuumed())
        assert [] == found(tables.no_transaction_or_slot_is_stale())

    def test_off_for_a_table(self):
        """
        A table without autovacuum is named, and the finding's remedy turns it on.
        """
        sql("ALTER TABLE pillarbox_stream SET (autovacuum_enabled = false)")
        finding = one(tables.are_vacuumed())
        sql(finding.cure)
        assert "Autovacuum is off for pillarbox_stream." == finding.what
        assert [] == found(tables.are_vacuumed())

    def test_off(self):
        """
        Autovacuum that is off altogether is a finding.
        """
        alter_system("autovacuum = off")
        try:
            assert ["Autovacuum is off."] == found(tables.are_vacuumed())
        finally:
            alter_system("autovacuum = on")

    def test_late(self):
        """
        Many dead rows are a finding.
        """
        alter_system("autovacuum_naptime = '1h'")
        try:
            sql(
                f"INSERT INTO {OUTBOX} (stream, shard, event_id, event, object_type, object_id, payload)"
                " SELECT 'ticket:1', 1, gen_random_uuid(), 'UPDATE_TICKET', 'ticket', '1', '{}'"
                " FROM generate_series(1, 25000)"
            )
            sql(f"DELETE FROM {OUTBOX}")
            sql("SELECT pg_stat_force_next_flush()")
            finding = one(tables.are_vacuumed())
        finally:
            sql(f"VACUUM {OUTBOX}")
            alter_system("autovacuum_naptime = '1min'")
        assert re.match(r"The outbox has \d\d\xa0\d{3} dead rows", finding.what)

    def test_an_idle_transaction(self):
        """
        An idle transaction is a finding, with the statement that ends it.
        """
        with elsewhere(_writing()):
            finding = one(tables.no_transaction_or_slot_is_stale(idle=0.0))
            assert "idle in transaction" in finding.what
            (ending,) = re.findall(r"SELECT pg_terminate_backend\(\d+\)", finding.cure)
        assert [] == found(tables.no_transaction_or_slot_is_stale(idle=0.0))
        assert ending

    def test_a_long_statement(self):
        """
        A statement that runs too long is a finding.
        """
        with _running("SELECT pg_sleep(3600)"):
            seen = wait_until(
                lambda: found(tables.no_transaction_or_slot_is_stale(working=0.2)),
                "the statement is found",
            )
        assert ["A transaction has been active for"] == [words[:33] for words in seen]

    def test_an_unused_replication_slot(self):
        """
        An unused replication slot is a finding.
        """
        sql("SELECT pg_create_physical_replication_slot('gone', true)")
        try:
            assert (
                "Replication slot 'gone' is unused"
                in one(tables.no_transaction_or_slot_is_stale()).what
            )
        finally:
            sql("SELECT pg_drop_replication_slot('gone')")
