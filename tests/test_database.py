"""The time limit of statements, and connections to a server that has become read-only."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connection, transaction

from pillarbox.database import (
    CONNECTION_ERRORS,
    close_stale_connections,
    is_read_only,
    is_statement_cancelled,
    limit_statements,
)
from tests.database import on_sqlite


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


@pytest.fixture(params=["a connection", "a pool"])
def kept_connection(request, monkeypatch):
    """Make Django keep its connection after use, by itself or in a pool of psycopg."""
    connection.close()
    if request.param == "a connection":
        monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    else:
        pool = {"min_size": 1, "max_size": 1}
        options = connection.settings_dict["OPTIONS"] | {"pool": pool}
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    yield
    connection.close()
    connection.close_pool()


@pytest.mark.django_db(transaction=True)
def test_a_connection_to_a_read_only_server_is_closed(kept_connection):
    """
    Whether it takes writes is known without a query. It is not kept, and a pool doesn't give it out again.
    """
    with connection.cursor() as cursor:
        assert not is_read_only(using=DEFAULT_DB_ALIAS)
        first = connection.connection
        cursor.execute("SET default_transaction_read_only = on")
    close_stale_connections()
    assert first.closed
    with connection.cursor():
        assert first is not connection.connection
        assert not is_read_only(using=DEFAULT_DB_ALIAS)


@pytest.mark.django_db(transaction=True)
def test_other_databases_are_left_alone():
    """
    Nothing is asked of a database that isn't PostgreSQL.
    """
    with on_sqlite():
        connection.ensure_connection()
        assert not is_read_only(using=DEFAULT_DB_ALIAS)
