"""The test suite of a project that doesn't know about triggers. `test_suites.py` runs it."""

from django.db import transaction
from django.test import TestCase, TransactionTestCase

from apps.tickets.models import Project
from pillarbox.models import NotificationOutbox


def announced() -> list[str]:
    """Return the rows of the outbox."""
    return list(NotificationOutbox.objects.values_list("event", flat=True))


class InATransaction(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        Project.objects.create(name="Of the class")

    def test_captures(self) -> None:
        """
        The outbox has the changes of `setUpTestData` and of the test.
        """
        Project.objects.create(name="Of the test")
        assert ["CREATE_PROJECT"] * 2 == announced()

    def test_is_rolled_back(self) -> None:
        """
        The outbox has no changes of another test.
        """
        Project.objects.update(name="Changed")
        assert ["CREATE_PROJECT", "UPDATE_PROJECT"] == announced()


class InSeveralTransactions(TransactionTestCase):
    def test_commits(self) -> None:
        """
        After any other test the database is empty and has its triggers.
        """
        with transaction.atomic():
            Project.objects.create(name="Committed")
        assert ["CREATE_PROJECT"] == announced()

    test_after_it_was_flushed = test_commits
