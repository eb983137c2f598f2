"""The names that a link listens to: what is subscribed, confirmed, and may have missed messages."""

import asyncio

import pytest

from pillarbox.layer.names import Names
from tests.waiting import PATIENCE


@pytest.fixture
def missed():
    return []


@pytest.fixture
def names(missed):
    return Names(lambda some: missed.append(set(some)))


async def test_each_change_is_made_once(names):
    """
    Each change is subscribed to once on a connection, and all wanted names on the next one.
    """
    names.add("a")
    names.add("b")
    new, gone = await names.changes()
    assert ({"a", "b"}, []) == (set(new), gone)
    names.discard("a")
    names.add("c")
    assert (["c"], ["a"]) == await names.changes()
    names.forget_connection()
    new, gone = await names.changes()
    assert ({"b", "c"}, []) == (set(new), gone)
    names.clear()
    assert ([], []) == await names.changes()


async def test_an_outdated_confirmation_is_ignored(names, missed):
    """
    A channel that left and joined again waits for a new confirmation.
    """
    names.confirm("left")
    assert not names.is_confirmed("left")
    assert [] == missed


async def test_an_outdated_confirmation_delays_no_report(names, missed):
    """
    If the last name to be confirmed isn't wanted any more, those before it are reported.
    """
    names.add("stays")
    names.add("leaves")
    await names.changes()
    names.confirm("stays")
    names.discard("leaves")
    assert [] == missed
    names.confirm("leaves")
    assert [{"stays"}] == missed


async def test_a_join_waits_for_its_confirmation(names, missed):
    """
    A name that a join waited for has missed nothing.
    """
    names.add("a")
    await names.changes()
    waiting = asyncio.create_task(names.confirmation("a", PATIENCE))
    await asyncio.sleep(0)
    names.confirm("a")
    await waiting
    assert names.is_confirmed("a")
    assert [] == missed


async def test_a_join_ends_with_its_connection(names):
    """
    A join waits no longer when the connection is lost.
    """
    names.add("a")
    waiting = asyncio.create_task(names.confirmation("a", PATIENCE))
    await asyncio.sleep(0)
    names.forget_connection()
    await waiting
    assert not names.is_confirmed("a")
