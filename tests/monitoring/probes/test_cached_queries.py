"""Tests of database queries with a time limit."""

import threading

import pytest
from django.db import OperationalError, connection

from pillarbox.monitoring.probes.cached_queries import CachedQuery
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_callers_share_a_result():
    """
    Callers within a short time share one result.
    """
    asked = []
    query = CachedQuery(lambda: asked.append(1), fresh=3600)
    for _ in range(2):
        query.result()
    assert [1] == asked


def test_a_hung_query_is_not_repeated():
    """
    While a query hangs, callers time out, and no second query is started.
    """
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        release.wait(PATIENCE)

    query = CachedQuery(ask, limit=0.05, fresh=0)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            query.result()
    release.set()
    assert [1] == asked


def test_a_slow_statement_is_ended():
    """
    PostgreSQL ends a slow statement by its own timeout.
    """
    ended = []

    def ask():
        with connection.cursor() as cursor:
            try:
                cursor.execute("SELECT pg_sleep(3600)")
            except OperationalError as error:
                ended.append(error)
                raise

    query = CachedQuery(ask, limit=0.2)
    with pytest.raises((TimeoutError, OperationalError)):
        query.result()
    wait_until(lambda: ended, "it is ended")
    assert "statement timeout" in str(ended[0])


def test_an_error_is_raised():
    """
    The query's error is raised, and the next call queries again.
    """
    answers = iter([ValueError("no"), 7])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    query = CachedQuery(ask, fresh=0)
    with pytest.raises(ValueError, match="no"):
        query.result()
    assert 7 == query.result()
