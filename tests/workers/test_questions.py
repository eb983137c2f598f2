"""A question to the database keeps nobody waiting."""

import threading

import pytest
from django.db import OperationalError, connection

from tests.rig.processes import wait_until
from workers.questions import Question

pytestmark = pytest.mark.django_db(transaction=True)


def test_is_asked_once_for_all_who_come_at_once():
    """
    The answer is good for a moment.
    """
    asked = []
    question = Question(lambda: asked.append(1), fresh=3600)
    for _ in range(2):
        question.answer()
    assert [1] == asked


def test_who_hangs_is_not_asked_again():
    """
    Whoever asks gives up; one thread waits, however many asked.
    """
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        release.wait(20)

    question = Question(ask, patience=0.05, fresh=0)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            question.answer()
    release.set()
    assert [1] == asked


def test_a_slow_statement_is_ended():
    """
    By the database itself: nobody else waits for it any more.
    """
    ended = []

    def ask():
        with connection.cursor() as cursor:
            try:
                cursor.execute("SELECT pg_sleep(20)")
            except OperationalError as error:
                ended.append(error)
                raise

    question = Question(ask, patience=0.2)
    with pytest.raises((TimeoutError, OperationalError)):
        question.answer()
    wait_until(lambda: ended, "it is ended")
    assert "statement timeout" in str(ended[0])


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

    question = Question(ask, fresh=0)
    with pytest.raises(ValueError, match="no"):
        question.answer()
    assert 7 == question.answer()
