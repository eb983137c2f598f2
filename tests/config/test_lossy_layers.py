"""Layers that lose messages while they are told to."""

import asyncio

import pytest

from config.settings import REDIS_URL
from config.verify.layers import LossyLayer, LossyListLayer, sign

SENT = 90


async def send_ours(layer, number):
    await layer.group_send_many([("numbers", {"type": "n", "n": number})])


async def send_plain(layer, number):
    await layer.group_send("numbers", {"type": "n", "n": number})


@pytest.mark.parametrize(
    ("kind", "send", "hosts"),
    [
        (LossyLayer, send_ours, [REDIS_URL]),
        (LossyListLayer, send_plain, [{"address": REDIS_URL, "socket_timeout": None}]),
    ],
)
async def test_three_in_ten_are_lost(settings, tmp_path, kind, send, hosts):
    """
    As long as the sign is there; all others arrive, in order.
    """
    settings.DATA_DIR = tmp_path
    layer = kind(hosts=hosts)
    channel = await layer.new_channel()
    await layer.group_add("numbers", channel)
    counts = []
    async with asyncio.timeout(30):
        for has_sign in (False, True):
            if has_sign:
                sign().touch()
            for number in range(SENT):
                await send(layer, number)
            sign().unlink(missing_ok=True)
            await send(layer, SENT)
            heard = []
            while SENT not in heard:
                heard.append((await layer.receive(channel))["n"])
            assert sorted(heard) == heard
            counts.append(len(heard) - 1)
    assert SENT == counts[0]
    assert SENT / 3 < counts[1] < SENT
    await layer.flush()
