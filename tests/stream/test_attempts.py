"""A failed attempt is counted and its error recorded; after the last one the row is failed."""

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from pillarbox.models import NotificationOutbox
from pillarbox.stream.attempts import LONGEST_ERROR, FailedAttempt, fingerprint, record
from tests.rows import make

pytestmark = pytest.mark.django_db
USING = DEFAULT_DB_ALIAS


def raised(message):
    try:
        raise LookupError(message)
    except LookupError as error:
        return error


def test_waits_and_keeps_the_cause():
    """
    A row is due again after the backoff; it keeps type, message and traceback of the error.
    """
    row = make(1)
    assert [(row.pk, 1, False)] == record(
        [FailedAttempt(row.pk, 0, raised("no such type"))], using=USING
    )
    row.refresh_from_db()
    assert ("pending", 1, 1) == (row.state, row.attempts, row.claims)
    assert row.available_at > timezone.now()
    assert ("builtins.LookupError", "no such type") == (row.error_type, row.error_message)
    assert "in raised" in row.error_traceback


def test_fails_after_the_last_attempt(settings):
    """
    Each of several rows has its own number of attempts and its own error.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 2}
    last, first = make(1, attempts=1, claims=1), make(2)
    outcomes = record(
        [FailedAttempt(last.pk, 1, raised("again")), FailedAttempt(first.pk, 0, raised("new"))],
        using=USING,
    )
    assert [(last.pk, 2, True), (first.pk, 1, False)] == sorted(outcomes)
    assert {"failed": "again", "pending": "new"} == {
        row.state: row.error_message for row in NotificationOutbox.objects.all()
    }


def test_bounds_the_recorded_text():
    """
    Of a long traceback a row keeps the end.
    """
    row = make(1)
    record([FailedAttempt(row.pk, 0, raised("x" * 100_000))], using=USING)
    row.refresh_from_db()
    assert len(row.error_message) == LONGEST_ERROR
    assert len(row.error_traceback) == LONGEST_ERROR


def test_records_any_text_of_an_error():
    """
    A text that PostgreSQL can't store doesn't prevent recording the failure.
    """
    row = make(1)
    record([FailedAttempt(row.pk, 0, raised("a\0b\ud800c"))], using=USING)
    row.refresh_from_db()
    assert "a\N{SYMBOL FOR NULL}b?c" == row.error_message


def test_an_outcome_is_not_changed():
    """
    A row that was published meanwhile stays published.
    """
    row = make(1, published_at=timezone.now())
    assert [] == record([FailedAttempt(row.pk, 0, raised("late"))], using=USING)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("No row 17.", "No row 4711."),
        ("Key 'a' is gone", "Key 'b c' is gone"),
        ('"x" has no serializer', '"y" has no serializer'),
        ("<Ticket at 0x7f00ab>", "<Ticket at 0x7fcdef01>"),
        (
            "event 6f1e0c52-5f39-4a1c-9d0f-1f6f3f1a7f10 refused",
            "event 00000000-0000-4000-8000-000000000001 refused",
        ),
        ("refused\nof ticket a", "refused\nof ticket b"),
    ],
)
def test_errors_of_one_cause_have_one_fingerprint(one, other):
    """
    The parts that vary from row to row don't change the fingerprint.
    """
    assert fingerprint("E", one) == fingerprint("E", other)


@pytest.mark.parametrize(
    ("kind", "message"), [("F", "no such type"), ("E", "no such field"), ("E", "")]
)
def test_other_causes_have_others(kind, message):
    """
    Other types and other messages have other fingerprints.
    """
    assert fingerprint("E", "no such type") != fingerprint(kind, message)


def test_a_failed_attempt_keeps_the_fingerprint():
    """
    The row stores the fingerprint, so that rows can be grouped without reading messages.
    """
    row = make(1)
    record([FailedAttempt(row.pk, 0, raised("no row 7"))], using=USING)
    row.refresh_from_db()
    assert fingerprint("builtins.LookupError", "no row 9") == row.error_fingerprint
