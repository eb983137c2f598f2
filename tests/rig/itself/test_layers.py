"""Tests of the site's channel layers: they keep a journal, have failpoints, and lose messages."""

import asyncio
import subprocess
import sys

import psutil
import pytest

from config.settings import REDIS_URL
from tests.rig import failpoints
from tests.rig.history import journal_in, read_journal
from tests.rig.keeper import ROOT
from tests.rig.layers import RigLayer, note
from tests.rig.plain.layers import LossyListLayer
from tests.waiting import PATIENCE, wait_until

SENT = 90


@pytest.fixture
def folder(settings, tmp_path):
    """Return the folder of the failpoints, in this process's DATA_DIR."""
    settings.DATA_DIR = tmp_path
    failpoints.folder_in(tmp_path).mkdir()
    return failpoints.folder_in(tmp_path)


@pytest.fixture
async def layer(folder):
    layer = RigLayer(hosts=[REDIS_URL])
    yield layer
    await layer.flush()


def notification(title):
    frame = f'{{"payload": {{"title": "{title}"}}}}'
    return {"type": "n", "stream": "ticket:1", "offset": 1, "frame": frame}


def contents(folder):
    return [one.content for one in read_journal(journal_in(folder.parent))]


async def send_ours(layer, number):
    await layer.group_send_many([("numbers", {"type": "n", "n": number})])


async def send_plain(layer, number):
    await layer.group_send("numbers", {"type": "n", "n": number})


@pytest.mark.parametrize(
    ("kind", "send", "hosts"),
    [
        (RigLayer, send_ours, [REDIS_URL]),
        (LossyListLayer, send_plain, [{"address": REDIS_URL, "socket_timeout": None}]),
    ],
)
async def test_some_messages_are_lost(folder, kind, send, hosts):
    """
    Some messages are lost while the order is in force; all others arrive in order.
    """
    layer = kind(hosts=hosts)
    channel = await layer.new_channel()
    await layer.group_add("numbers", channel)
    counts = []
    async with asyncio.timeout(PATIENCE):
        for is_ordered in (False, True):
            if is_ordered:
                (folder / failpoints.LOSE).touch()
            for number in range(SENT):
                await send(layer, number)
            (folder / failpoints.LOSE).unlink(missing_ok=True)
            await send(layer, SENT)
            received = []
            while SENT not in received:
                received.append((await layer.receive(channel))["n"])
            assert sorted(received) == received
            counts.append(len(received) - 1)
    assert SENT == counts[0]
    assert SENT / 3 < counts[1] < SENT
    await layer.flush()


async def test_the_journal_has_what_was_published(folder, layer):
    """
    The journal has each notification, with its title or name, and skipped ones. It has no other messages, and
    none that the layer refused.
    """
    await layer.group_send_many([("a", notification("1")), ("a", {"type": "n"})])
    (folder / failpoints.SLOW).touch()
    await layer.group_send_many([("a", notification("2"))])
    (folder / failpoints.AWAY).touch()
    with pytest.raises(ConnectionRefusedError):
        await layer.group_send_many([("a", notification("3"))])
    for frame in ('{"payload": {"name": "4"}}', '{"type": "skipped"}'):
        note([{**notification(""), "frame": frame}])
    assert ["1", "2", "4", None] == contents(folder)


async def test_a_hanging_layer(folder, layer):
    """
    A layer that is ordered to hang never returns and publishes nothing.
    """
    (folder / failpoints.HANG).touch()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(layer.group_send_many([("a", notification("1"))]), 0.1)
    assert [] == contents(folder)


def test_an_order_is_carried_out_once(folder):
    """
    The first process that reaches the point stops, and continues when it is resumed.
    """
    (folder / failpoints.STOP).touch()
    code = (
        f"from django.conf import settings; settings.configure(DATA_DIR={str(folder.parent)!r})\n"
        "from tests.rig import failpoints\n"
        "failpoints.reach(failpoints.STOP); failpoints.reach(failpoints.STOP)"
    )
    stopped = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    process = psutil.Process(stopped.pid)
    wait_until(lambda: process.status() == psutil.STATUS_STOPPED, "it has stopped")
    process.resume()
    assert 0 == stopped.wait(PATIENCE)
    assert [] == [*folder.iterdir()]


def test_a_wake_up_without_an_order(folder):
    """
    Without the failpoint, the project's own wake-up is requested.
    """
    failpoints.wake_up("default")
