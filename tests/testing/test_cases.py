"""Tests of the test kit in Django's own test cases."""

from django.test import TestCase, TransactionTestCase

from apps.tickets.models import Project, Ticket
from pillarbox.testing import announced, follow, socket
from tests.testing.stories import Stories, events, user


class TestRolledBack(Stories, TestCase):
    """All of it in the transaction of a TestCase."""


class TestCommitted(Stories, TransactionTestCase):
    """All of it with commits."""


class TestDataOfClass(TestCase):
    """Objects that a TestCase creates once for its tests."""

    @classmethod
    def setUpTestData(cls):
        cls.member = user("member")
        cls.project = Project.objects.create(name="Website")
        cls.project.members.add(cls.member)
        cls.ticket = Ticket.objects.create(project=cls.project, title="The logo is blurred")

    def change(self):
        with announced() as found:
            self.ticket.title = "Sharper"
            self.ticket.save()
        own = f"ticket:{self.ticket.pk}"
        assert [own] == [stream for stream, _ in events(found) if stream == own]

    def test_first(self):
        """
        A test announces changes of them.
        """
        self.change()

    def test_second(self):
        """
        The next test finds them as they were.
        """
        self.change()

    def test_a_follower(self):
        """
        A follower reads its changes.
        """
        follower = follow(self.ticket, self.member)
        self.change()
        assert ["UPDATE_TICKET"] == [frame["type"] for frame in follower.read()]

    async def test_a_socket(self):
        """
        A socket has them.
        """
        async with socket(self.member) as member:
            assert 0 < (await member.subscribe(self.ticket))["offset"]
