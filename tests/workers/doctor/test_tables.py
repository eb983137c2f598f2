"""What the doctor says of indexes, constraints and vacuum."""

import re
import threading
from contextlib import contextmanager, suppress

import pytest
from django.db import DatabaseError, connection, transaction

from tests.database import alter_system, elsewhere, wait_for_a_waiting_lock
from tests.waiting import wait_until
from tests.workers.announcing import announce
from workers.doctor import tables

from .asking import OUTBOX, found, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("mended")
class TestIndexes:
    @pytest.mark.parametrize("name", ["outbox_untried", "outbox_position"])
    def test_a_dropped_index(self, name):
        """
        An index that is missing is named, whether it is a model's index or a constraint's.
        """
        sql(f"DROP INDEX {name}")
        finding = one(tables.are_whole())
        assert f"{name} of {OUTBOX} is missing." == finding.what
        assert finding.is_grave

    def test_a_dropped_constraint(self):
        """
        A constraint that is missing is named.
        """
        sql(f"ALTER TABLE {OUTBOX} DROP CONSTRAINT outbox_one_outcome")
        assert [f"outbox_one_outcome of {OUTBOX} is missing."] == found(tables.are_whole())

    def test_a_constraint_that_was_never_validated(self):
        """
        A constraint that doesn't hold for old rows is named.
        """
        sql(f"ALTER TABLE {OUTBOX} DROP CONSTRAINT outbox_shard")
        sql(f"ALTER TABLE {OUTBOX} ADD CONSTRAINT outbox_shard CHECK (shard < 16) NOT VALID")
        assert [f"outbox_shard of {OUTBOX} is not valid."] == found(tables.are_whole())

    @pytest.mark.parametrize(
        ("name", "is_grave"), [("outbox_failed", True), ("outbox_failed_ccnew", False)]
    )
    def test_an_index_whose_building_was_interrupted(self, name, is_grave):
        """
        What an interrupted CREATE INDEX CONCURRENTLY left is named; it matters more if queries need it.
        """
        if is_grave:
            sql(f"DROP INDEX {name}")
        with (
            elsewhere(_writing()),
            _running(f"CREATE INDEX CONCURRENTLY {name} ON {OUTBOX} (failed_at)"),
        ):
            wait_for_a_waiting_lock()
        finding = one(tables.are_whole())
        assert (f"{name} of {OUTBOX} is not valid.", is_grave) == (finding.what, finding.is_grave)


@contextmanager
def _writing():
    """A transaction that has written to the outbox, and does nothing."""
    with transaction.atomic():
        announce()
        yield


@contextmanager
def _running(statement):
    """Another connection's statement, which takes longer than the block, and is cancelled at its end."""

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
        As migrated, nothing is found.
        """
        assert [] == found(tables.are_vacuumed())
        assert [] == found(tables.are_not_held_back())

    def test_off_for_a_table(self):
        """
        A table that is not vacuumed is named, and how it will be.
        """
        sql("ALTER TABLE outbox_stream SET (autovacuum_enabled = false)")
        finding = one(tables.are_vacuumed())
        sql(finding.cure)
        assert "Autovacuum is off for outbox_stream." == finding.what
        assert [] == found(tables.are_vacuumed())

    def test_off(self):
        """
        Where nothing is vacuumed it is said.
        """
        alter_system("autovacuum = off")
        try:
            assert ["Autovacuum is off."] == found(tables.are_vacuumed())
        finally:
            alter_system("autovacuum = on")

    def test_late(self):
        """
        Many dead rows are found.
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
        assert re.match(r"The outbox has \d{5} dead rows", finding.what)

    def test_a_transaction_that_does_nothing(self):
        """
        A transaction that is open and idle is found, with what ends it.
        """
        with elsewhere(_writing()):
            finding = one(tables.are_not_held_back(idle=0.0))
            assert "idle in transaction" in finding.what
            (ending,) = re.findall(r"SELECT pg_terminate_backend\(\d+\)", finding.cure)
        assert [] == found(tables.are_not_held_back(idle=0.0))
        assert ending

    def test_a_statement_that_takes_long(self):
        """
        A statement that takes longer than it may is found.
        """
        with _running("SELECT pg_sleep(3600)"):
            seen = wait_until(
                lambda: found(tables.are_not_held_back(working=0.2)), "the statement is found"
            )
        assert ["A transaction has been active for"] == [words[:33] for words in seen]

    def test_a_replication_slot_of_nobody(self):
        """
        WAL that is kept for nobody is found.
        """
        sql("SELECT pg_create_physical_replication_slot('gone', true)")
        try:
            assert (
                "Replication slot 'gone' is used by nobody" in one(tables.are_not_held_back()).what
            )
        finally:
            sql("SELECT pg_drop_replication_slot('gone')")
