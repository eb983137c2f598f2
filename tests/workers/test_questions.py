"""A question to the database keeps nobody waiting."""

import threading

import pytest
from django.db import OperationalError, connection

from workers import questions
from workers.questions import Question

pytestmark = pytest.mark.django_db(transaction=True)


def test_is_asked_once_for_all_who_come_at_once():
    """
    The answer is good for a moment.
    """
    asked = []

    def ask():
        asked.append(1)
        return len(asked)

    question = Question(ask)
    assert [1, 1] == [question.answer() for _ in range(2)]
    question._stale_at = 0
    assert 2 == question.answer()


def test_who_hangs_is_not_asked_again(monkeypatch):
    """
    Whoever asks gives up; one thread waits, however many asked.
    """
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.05)
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        release.wait(20)

    question = Question(ask)
    for _ in range(3):
        question._stale_at = 0
        with pytest.raises(TimeoutError):
            question.answer()
    release.set()
    assert [1] == asked


def test_a_slow_statement_is_ended(monkeypatch):
    """
    By the database itself, which may be busy for long.
    """
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.5)

    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 100")
            cursor.execute("SELECT pg_sleep(20)")

    with pytest.raises(OperationalError):
        Question(ask).answer()


def test_what_it_raises_is_raised():
    """
    And what is asked next is asked anew.
    """
    answers = iter([ValueError("no"), 7])

    def ask():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    question = Question(ask)
    with pytest.raises(ValueError, match="no"):
        question.answer()
    question._stale_at = 0
    assert 7 == question.answer()
