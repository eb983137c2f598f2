"""The time limit of statements."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction

from pillarbox.database import CONNECTION_ERRORS, is_statement_cancelled, limit_statements


@pytest.mark.django_db(transaction=True)
def test_slow_statements_are_cancelled():
    """
    PostgreSQL cancels a statement that takes longer than the limit, until the transaction ends.
    """
    with connection.cursor() as cursor:
        with pytest.raises(CONNECTION_ERRORS) as cancelled, transaction.atomic():
            limit_statements(0.05, using=DEFAULT_DB_ALIAS)
            cursor.execute("SELECT pg_sleep(60)")
        assert is_statement_cancelled(cancelled.value)
        cursor.execute("SHOW statement_timeout")
        assert ("0",) == cursor.fetchone()
