"""The bell rings once per transaction that committed something to announce."""

import pytest
from django.db import DEFAULT_DB_ALIAS, transaction

from apps.outbox.bell import ring_on_commit

pytestmark = pytest.mark.django_db(transaction=True)
USING = DEFAULT_DB_ALIAS
rung: list[str] = []


def ring(using):
    """The bell of these tests."""
    rung.append(using)


def broken(using):
    """A bell that raises."""
    raise ConnectionError


@pytest.fixture(autouse=True)
def bell(settings):
    settings.OUTBOX = settings.OUTBOX | {"BELL": "tests.outbox.test_bell.ring"}
    rung.clear()


def test_rings_at_once_without_a_transaction():
    """
    In autocommit the row is committed already.
    """
    ring_on_commit(USING)
    assert rung == [USING]


def test_rings_once_after_the_commit():
    """
    However many rows, one ring, and none before the commit.
    """
    with transaction.atomic():
        ring_on_commit(USING)
        with transaction.atomic():
            ring_on_commit(USING)
        ring_on_commit(USING)
        assert [] == rung
    assert rung == [USING]


def test_a_rolled_back_savepoint_does_not_swallow_it():
    """
    A ring that was asked for outside a rolled-back savepoint, or after it, is not lost with it.
    """
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            ring_on_commit(USING)
            raise ZeroDivisionError
        ring_on_commit(USING)
    assert rung == [USING]


def test_a_rollback_is_silent():
    """
    What is not committed wakes nobody.
    """
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ring_on_commit(USING)
        raise ZeroDivisionError
    assert [] == rung


def test_an_error_is_not_the_saves_fault(settings, caplog):
    """
    A bell that raises doesn't fail what is committed, nor what else waits for the commit.
    """
    settings.OUTBOX = settings.OUTBOX | {"BELL": "tests.outbox.test_bell.broken"}
    with transaction.atomic():
        ring_on_commit(USING)
        transaction.on_commit(lambda: rung.append("later"))
    assert ["later"] == rung


def test_there_need_not_be_one(settings):
    """
    Without a bell the sweep finds the rows.
    """
    settings.OUTBOX = {}
    ring_on_commit(USING)
    assert [] == rung
