"""Snapshots of committed transactions."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from pillarbox.stream.commit_snapshots import CommitSnapshot

USING = {"using": DEFAULT_DB_ALIAS}

pytestmark = pytest.mark.django_db


class TestSnapshot:
    @pytest.mark.django_db(transaction=True)
    def test_includes_committed_transactions(self):
        """
        Open and later transactions are not included, whatever their outcome.
        """
        before = transaction_id()
        with transaction.atomic():
            running = transaction_id()
            other = connections.create_connection(DEFAULT_DB_ALIAS)
            try:
                with other.cursor() as cursor:
                    cursor.execute("SELECT pg_current_snapshot()::text")
                    snapshot = CommitSnapshot(cursor.fetchone()[0], "")
            finally:
                other.close()
        after = transaction_id()
        assert [True, False, False] == [
            snapshot.includes(number_of, "") for number_of in (before, running, after)
        ]

    def test_of_a_row_without_transaction(self):
        """
        A row without a transaction counts if it may have been committed before.
        """
        now = CommitSnapshot.now(**USING)
        assert now.includes(None, now.at)
        assert not now.includes(None, "9999")


def transaction_id():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_xact_id()::text::bigint")
        return cursor.fetchone()[0]
