"""Tests of the fixtures, in tests of pytest-django that roll back and in ones that commit."""

import subprocess
import sys

import pytest
from asgiref.sync import sync_to_async

from pillarbox.pytest_plugin import announced, drain, follow, socket  # noqa: F401
from pillarbox.testing import NotDrainedError

BOTH = pytest.mark.parametrize(
    "case",
    [
        pytest.param("rolled back", marks=pytest.mark.django_db),
        pytest.param("committed", marks=pytest.mark.django_db(transaction=True)),
    ],
)


def rename(ticket, title):
    ticket.title = title
    ticket.save()


@BOTH
def test_synchronous_ones(case, ticket, demo, announced, drain, follow):  # noqa: F811
    """
    A test announces, drains and follows.
    """
    follower = follow(ticket, demo)
    with announced() as found:
        rename(ticket, "Sharper")
    drain()
    assert {"UPDATE_TICKET"} == {one.event for one in found}
    assert ["UPDATE_TICKET"] == [frame["type"] for frame in follower.read()]


@pytest.mark.django_db(transaction=True)
async def test_a_socket_of_a_test_that_commits(ticket, demo, socket):  # noqa: F811
    """
    An asynchronous test of pytest-asyncio has sockets, if it commits.
    """
    async with socket(demo) as member:
        await member.subscribe(ticket)
        await sync_to_async(rename)(ticket, "Sharper")
        assert "UPDATE_TICKET" == (await member.receive())["type"]


@pytest.mark.django_db
async def test_no_socket_of_a_test_that_rolls_back(demo, socket):  # noqa: F811
    """
    pytest-asyncio's event loop runs in the thread with the transaction, so nothing could read it.
    """
    with pytest.raises(NotDrainedError, match=r"mark it with `django_db\(transaction=True\)`"):
        await socket(demo).__aenter__()


def test_the_plugin_imports_nothing():
    """
    pytest loads the plugin in each project, which may have no Django.
    """
    seen = (
        "import sys, pillarbox.pytest_plugin as p; print(*{n.split('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert "pillarbox" in done.stdout.split()
    assert set() == {"django", "channels", "asgiref", "rest_framework"} & {*done.stdout.split()}
