"""A failed attempt is counted, its cause kept; after the last one the row is failed."""

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from apps.outbox.attempts import LONGEST_ERROR, retry
from apps.outbox.models import NotificationOutbox
from tests.outbox.rows import make

pytestmark = pytest.mark.django_db
USING = DEFAULT_DB_ALIAS


def raised(message):
    try:
        raise LookupError(message)
    except LookupError as error:
        return error


def test_waits_and_keeps_the_cause():
    """
    A row is due again after the backoff; type, message and traceback are kept.
    """
    row = make(1)
    assert [(row.pk, 1, False)] == retry([(row.pk, 0, raised("no such type"))], using=USING)
    row.refresh_from_db()
    assert ("pending", 1, 1) == (row.state, row.attempts, row.claims)
    assert row.available_at > timezone.now()
    assert ("builtins.LookupError", "no such type") == (row.error_type, row.error_message)
    assert "in raised" in row.error_traceback


def test_fails_after_the_last_attempt(settings):
    """
    Each of several rows has its own count and its own cause.
    """
    settings.OUTBOX = {"MAX_ATTEMPTS": 2}
    last, first = make(1, attempts=1, claims=1), make(2)
    outcomes = retry([(last.pk, 1, raised("again")), (first.pk, 0, raised("new"))], using=USING)
    assert [(last.pk, 2, True), (first.pk, 1, False)] == sorted(outcomes)
    assert {"failed": "again", "pending": "new"} == {
        row.state: row.error_message for row in NotificationOutbox.objects.all()
    }


def test_bounds_what_it_keeps():
    """
    However long an error's text, a row keeps a readable part: the traceback's end.
    """
    row = make(1)
    retry([(row.pk, 0, raised("x" * 100_000))], using=USING)
    row.refresh_from_db()
    assert len(row.error_message) == LONGEST_ERROR
    assert len(row.error_traceback) == LONGEST_ERROR


def test_keeps_whatever_an_error_says():
    """
    A text that PostgreSQL refuses must not keep the outcome from being recorded.
    """
    row = make(1)
    retry([(row.pk, 0, raised("a\0b\ud800c"))], using=USING)
    row.refresh_from_db()
    assert "a\N{SYMBOL FOR NULL}b?c" == row.error_message


def test_an_outcome_is_not_changed():
    """
    A row that was published meanwhile stays so.
    """
    row = make(1, published_at=timezone.now())
    assert [] == retry([(row.pk, 0, raised("late"))], using=USING)
