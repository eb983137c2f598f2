"""The channel layer, on real Redis: joining never fails, nothing is lost silently, batches are one write."""

import asyncio

import pytest
import redis
from channels.layers import InMemoryChannelLayer
from django.conf import settings as django_settings

from apps.realtime import link as links
from apps.realtime.layers import BEHIND, NotificationChannelLayer, standing
from apps.realtime.link import ANSWER_SECONDS, Link
from tests.rig.proxy import Proxy
from tests.waiting import PATIENCE, until


@pytest.fixture
async def layer():
    made = NotificationChannelLayer(hosts=[django_settings.REDIS_URL], prefix="tests", capacity=5)
    yield made
    await made.flush()


@pytest.fixture
async def proxy():
    async with Proxy(django_settings.REDIS_URL) as proxy:
        yield proxy


@pytest.fixture
async def distant(proxy):
    """A layer behind a proxy that can cut, refuse and stall."""
    made = NotificationChannelLayer(hosts=[proxy.url], prefix="tests")
    yield made
    await made.flush()


async def received(layer, channel):
    async with asyncio.timeout(PATIENCE):
        return await layer.receive(channel)


async def received_after_behind(layer, channel):
    """Return the next message that is not the word that something may have been missed."""
    message = await received(layer, channel)
    return await received_after_behind(layer, channel) if message == BEHIND else message


async def test_a_group_receives_in_order(layer):
    """
    What is sent to a group after joining arrives, in order, at each of its channels.
    """
    channels = [await layer.new_channel() for _ in range(2)]
    for channel in channels:
        await layer.group_add("g", channel)
    await layer.group_send_many([("g", {"n": n}) for n in range(3)])
    for channel in channels:
        assert [0, 1, 2] == [(await received_after_behind(layer, channel))["n"] for _ in range(3)]


async def test_single_sends(layer):
    """
    The methods of every channel layer work: to a group, and to one channel.
    """
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await received_after_behind(layer, channel)
    await until(
        lambda: redis.Redis.from_url(django_settings.REDIS_URL).pubsub_numsub(channel)[0][1]
    )
    await layer.send(channel, {"n": 2})
    assert {"n": 2} == await received_after_behind(layer, channel)


async def test_hosts_share_the_groups(proxy):
    """
    With several Redis hosts, each name lives on one of them.
    """
    made = NotificationChannelLayer(hosts=[django_settings.REDIS_URL, proxy.url], prefix="tests")
    channel = await made.new_channel()
    for n in range(8):
        await made.group_add(f"g{n}", channel)
    await made.group_send_many([(f"g{n}", {"n": n}) for n in range(8)])
    got = {(await received_after_behind(made, channel))["n"] for _ in range(8)}
    assert set(range(8)) == got
    await made.flush()


async def test_who_left_receives_nothing(layer):
    """
    After leaving a group nothing of it arrives; others in it go on.
    """
    stays, leaves = [await layer.new_channel() for _ in range(2)]
    for channel in (stays, leaves):
        await layer.group_add("g", channel)
    await layer.group_discard("g", leaves)
    await layer.group_discard("g", leaves)
    await layer.group_discard("never joined", leaves)
    await layer.group_add("h", leaves)
    await layer.group_send_many([("g", {"n": 1}), ("h", {"n": 2})])
    assert {"n": 1} == await received_after_behind(layer, stays)
    assert {"n": 2} == await received_after_behind(layer, leaves)


async def test_a_channel_that_ends_leaves_no_ghost(layer):
    """
    When its consumer ends, a channel is in no group, here and in Redis.
    """
    server = redis.Redis.from_url(django_settings.REDIS_URL)
    channel = await layer.new_channel()
    await layer.group_add("ghost", channel)
    assert server.pubsub_channels("tests__group__ghost")
    task = asyncio.create_task(_receive_for_ever(layer, channel))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not server.pubsub_channels("tests*"))


async def test_a_channel_can_be_ended(layer):
    """
    An ended channel is forgotten, its groups included; ending it twice is no error.
    """
    channel = await layer.new_channel()
    await layer.group_add("ghost", channel)
    for _ in range(2):
        await layer.end_channel(channel)
    inner = layer._get_layer()
    assert ({}, {}) == (inner.channels, inner.groups)


async def _receive_for_ever(layer, channel):
    while True:
        await layer.receive(channel)


async def test_a_full_queue_says_so(layer):
    """
    A socket that doesn't keep up gets one word that it is behind, in place of what it missed.
    """
    slow, witness = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("g", slow)
    await layer.group_add("h", witness)
    await layer.group_send_many([*(("g", {"n": n}) for n in range(6)), ("h", {"n": 6})])
    await received_after_behind(layer, witness)
    assert await received(layer, slow) == BEHIND


async def test_what_cannot_be_read_is_made_good(layer, caplog):
    """
    A message that is no message kills nobody: who it was for is told to look.
    """
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    redis.Redis.from_url(django_settings.REDIS_URL).publish("tests__group__g", b"\xc1")
    assert BEHIND == await received(layer, channel)
    assert "Unreadable message" in caplog.text
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await received(layer, channel)


@pytest.mark.parametrize("steps", range(20))
async def test_ends_at_whatever_moment(layer, steps):
    """
    While it connects, subscribes or listens: a link that is asked to end, ends.
    """
    opening = asyncio.create_task(layer.new_channel())
    await asyncio.sleep(0)
    (link,) = layer._get_layer()._shards
    for _ in range(steps):
        await asyncio.sleep(0)
    link._task.cancel()
    done, _ = await asyncio.wait([link._task], timeout=PATIENCE)
    assert done
    opening.cancel()


def test_a_late_confirmation_is_none():
    """
    Who has left meanwhile, and joins again, asks again: its name may not be listened to any more.
    """
    link = Link({"host": "127.0.0.1", "port": 1}, lambda *_: None, lambda *_: None)
    link._confirm("left")
    assert not link._confirmed


async def test_an_idle_channel_stays(layer):
    """
    Silence for longer than redis-py waits for an answer harms nobody.
    """
    channel = await layer.new_channel()
    await layer.group_add("g", channel)
    waiting = asyncio.create_task(layer.receive(channel))
    done, _ = await asyncio.wait([waiting], timeout=ANSWER_SECONDS + 1)
    assert not done
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await waiting


class TestOutage:
    async def test_joining_does_not_fail_and_is_made_good(self, proxy, distant, caplog):
        """
        With Redis away a channel opens and joins at once; when it is back the channel is live.
        """
        await proxy.refuse()
        channel = await distant.new_channel()
        await until(lambda: distant.is_away)
        await distant.group_add("g", channel)
        assert distant.is_away
        with pytest.raises(redis.RedisError):
            await distant.group_send("g", {"n": 0})
        await proxy.accept()
        assert await received(distant, channel) == BEHIND
        await distant.group_send("g", {"n": 1})
        assert {"n": 1} == await received_after_behind(distant, channel)

    async def test_a_cut_connection_is_made_again(self, proxy, distant, caplog):
        """
        After a reconnect each channel is told that it may have missed something, and is live.
        """
        channel = await distant.new_channel()
        await distant.group_add("g", channel)
        await distant.group_send("g", {"n": 0})
        assert {"n": 0} == await received_after_behind(distant, channel)
        proxy.cut()
        assert await received(distant, channel) == BEHIND
        await distant.group_send("g", {"n": 1})
        assert {"n": 1} == await received_after_behind(distant, channel)
        assert "Redis is away" in caplog.text

    async def test_an_outage_is_logged_once(self, proxy, distant, caplog):
        """
        However often it tries, the log says once that Redis is away.
        """
        await proxy.refuse()
        await distant.new_channel()
        await until(lambda: proxy.refused >= 3)
        assert 1 == caplog.text.count("Redis is away")

    @pytest.mark.parametrize("steps", range(0, 30, 3))
    async def test_ends_while_redis_refuses(self, proxy, distant, steps):
        """
        At whatever moment of a vain attempt: a layer that is asked to end, ends.
        """
        await distant.new_channel()
        (link,) = distant._get_layer()._shards
        await proxy.refuse()
        link._task.cancel()
        link._task = None
        link.want("again")
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await distant.flush()

    async def test_a_join_that_is_confirmed_late_is_made_good(self, proxy, distant, layer):
        """
        Who joined without waiting for the answer to the end is told to look when it comes.
        """
        channel = await distant.new_channel()
        await distant.group_add("g", channel)
        waiting = len(distant._get_layer().channels[channel])
        assert [BEHIND] * waiting == [await received(distant, channel) for _ in range(waiting)]
        proxy.stall()
        await distant.group_add("late", channel)
        proxy.resume()  # pragma: no cover  # 3.11 can't trace it
        assert BEHIND == await received(distant, channel)

    async def test_a_silent_host_is_noticed(self, proxy, distant, caplog, monkeypatch):
        """
        A link that is open and dead is found by asking, and made again.
        """
        channel = await distant.new_channel()
        await distant.group_add("g", channel)
        await distant.group_send("g", {"n": 0})
        assert {"n": 0} == await received_after_behind(distant, channel)
        monkeypatch.setattr(links, "SILENCE_SECONDS", 0.1)
        proxy.cut()  # the next connection is asked as soon as it is silent
        assert BEHIND == await received(distant, channel)
        proxy.stall()
        joining = asyncio.create_task(distant.group_add("h", channel))
        await until(lambda: "it does not answer" in caplog.text)
        await joining
        proxy.resume()
        assert await received(distant, channel) == BEHIND


async def test_it_says_whether_redis_is_there(settings, distant, proxy):
    """
    Once somebody listens: while Redis is away, and when it is back. Others than ours don't say.
    """
    assert distant.is_away is None
    await distant.new_channel()
    assert distant.is_away is False
    await proxy.refuse()
    await until(lambda: distant.is_away)
    await proxy.accept()
    await until(lambda: distant.is_away is False)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert standing() is None


@pytest.mark.parametrize(("expected", "is_away"), [("live", False), ("away", True), (None, None)])
def test_its_standing_is_a_word(settings, expected, is_away):
    """
    For who asks from another thread, of whatever layer is configured.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.realtime.test_layers.Said"}}
    Said.is_away = is_away
    assert expected == standing()


class Said(InMemoryChannelLayer):
    """Says whether it is away."""

    is_away: bool | None = None
