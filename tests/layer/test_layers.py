"""The channel layer on a real Redis: joins never fail, losses are reported, and a batch is one write."""

import asyncio
from urllib.parse import urlsplit

import pytest
import redis
from channels.layers import InMemoryChannelLayer
from channels.worker import Worker
from django.conf import settings as django_settings

from pillarbox.layer import link as links
from pillarbox.layer.layers import BEHIND, OWN, NotificationChannelLayer, layer_health
from pillarbox.layer.link import ANSWER_SECONDS
from tests.metrics import Metric
from tests.rig.proxy import Proxy
from tests.waiting import PATIENCE, until


@pytest.fixture
async def layer():
    made = NotificationChannelLayer(hosts=[django_settings.REDIS_URL], prefix="tests", capacity=5)
    yield made
    await made.flush()


@pytest.fixture
def server():
    """Return a client of the Redis, whose counts begin anew; afterwards the user `managed` is deleted."""
    server = redis.Redis.from_url(django_settings.REDIS_URL)
    server.config_resetstat()
    yield server
    server.execute_command("ACL", "DELUSER", "managed")


@pytest.fixture
async def proxy():
    async with Proxy(django_settings.REDIS_URL) as proxy:
        yield proxy


@pytest.fixture
async def distant(proxy):
    """Return a layer behind a proxy that can cut, refuse and stall."""
    made = NotificationChannelLayer(hosts=[proxy.url], prefix="tests")
    yield made
    await made.flush()


async def received(layer, channel):
    async with asyncio.timeout(PATIENCE):
        return await layer.receive(channel)


async def received_after_behind(layer, channel):
    """Return the next message that is not `behind`."""
    message = await received(layer, channel)
    return await received_after_behind(layer, channel) if message == BEHIND else message


async def test_a_group_receives_in_order(layer):
    """
    Messages sent to a group after a join arrive in order, at each of its channels.
    """
    channels = [await layer.new_channel(OWN) for _ in range(2)]
    for channel in channels:
        await layer.group_add("g", channel)
    await layer.group_send_many([("g", {"n": n}) for n in range(3)])
    for channel in channels:
        assert [0, 1, 2] == [(await received_after_behind(layer, channel))["n"] for _ in range(3)]


async def test_encrypted_messages_need_the_key(layer, caplog):
    """
    Without the key, a program can neither read messages nor write any that sockets accept.
    """
    keyed = NotificationChannelLayer(
        hosts=[django_settings.REDIS_URL], prefix="tests", symmetric_encryption_keys=["a secret"]
    )
    channel, outside = await keyed.new_channel(OWN), await layer.new_channel(OWN)
    await keyed.group_add("g", channel)
    await layer.group_add("g", outside)
    await keyed.group_send("g", {"n": 1})
    assert {"n": 1} == await received_after_behind(keyed, channel)
    await layer.group_send("g", {"n": "forged"})
    assert BEHIND == await received(keyed, channel)
    assert {"n": "forged"} == await received_after_behind(layer, outside)
    assert "A message of the channel layer is unreadable" in caplog.text
    await keyed.flush()


async def test_single_sends(layer):
    """
    The methods of every channel layer work: sending to a group, and to one channel.
    """
    channel = await layer.new_channel(OWN)
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
    With several Redis hosts, each name belongs to one of them.
    """
    made = NotificationChannelLayer(hosts=[django_settings.REDIS_URL, proxy.url], prefix="tests")
    channel = await made.new_channel(OWN)
    for n in range(8):
        await made.group_add(f"g{n}", channel)
    await made.group_send_many([(f"g{n}", {"n": n}) for n in range(8)])
    got = {(await received_after_behind(made, channel))["n"] for _ in range(8)}
    assert set(range(8)) == got
    await made.flush()


async def test_a_channel_that_left_receives_nothing(layer):
    """
    After leaving a group, a channel gets none of its messages, and other members still do.
    """
    stays, leaves = [await layer.new_channel(OWN) for _ in range(2)]
    for channel in (stays, leaves):
        await layer.group_add("g", channel)
    await layer.group_discard("g", leaves)
    await layer.group_discard("g", leaves)
    await layer.group_discard("never joined", leaves)
    await layer.group_add("h", leaves)
    await layer.group_send_many([("g", {"n": 1}), ("h", {"n": 2})])
    assert {"n": 1} == await received_after_behind(layer, stays)
    assert {"n": 2} == await received_after_behind(layer, leaves)


async def test_redis_is_asked_for_no_more_messages(layer, server):
    """
    When the last channel has left a group, Redis sends its messages no more. Other groups' arrive.
    """
    channel = await layer.new_channel(OWN)
    for group in ("g", "h"):
        await layer.group_add(group, channel)
    await layer.group_discard("h", channel)
    await until(lambda: not server.pubsub_channels("tests__group__h"))
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await received_after_behind(layer, channel)


async def test_a_cancelled_channel_is_removed(layer):
    """
    When its consumer ends, a channel is removed from every group, here and in Redis.
    """
    server = redis.Redis.from_url(django_settings.REDIS_URL)
    channel = await layer.new_channel(OWN)
    await layer.group_add("ghost", channel)
    assert server.pubsub_channels("tests__group__ghost")
    task = asyncio.create_task(_receive_for_ever(layer, channel))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not server.pubsub_channels("tests*"))


async def test_a_channel_can_be_ended(layer):
    """
    An ended channel is removed, with its memberships. Ending it twice is allowed.
    """
    channel = await layer.new_channel(OWN)
    await layer.group_add("ghost", channel)
    for _ in range(2):
        await layer.end_channel(channel)
    inner = layer._get_layer()
    assert ({}, {}) == (inner.channels, inner.groups)


async def _receive_for_ever(layer, channel):
    while True:
        await layer.receive(channel)


async def test_a_full_queue_is_reported(layer):
    """
    A socket that doesn't keep up gets one `behind` instead of the messages that it missed.
    """
    slow, witness = await layer.new_channel(OWN), await layer.new_channel(OWN)
    await layer.group_add("g", slow)
    await layer.group_add("h", witness)
    await layer.group_send_many([*(("g", {"n": n}) for n in range(6)), ("h", {"n": 6})])
    await received_after_behind(layer, witness)
    assert await received(layer, slow) == BEHIND


@pytest.fixture
async def managed(server):
    """Return a layer whose user may do this and not that."""
    path, made = urlsplit(django_settings.REDIS_URL).path, []

    def managed(*rules):
        server.execute_command(
            "ACL", "SETUSER", "managed", "on", ">pw", "~*", "&*", "+@all", *rules
        )
        host = f"unix://managed:pw@{path}?protocol=2"
        layer = NotificationChannelLayer(hosts=[host], prefix="tests")
        made.append(layer)
        return layer

    yield managed
    for layer in made:
        await layer.flush()


async def test_a_server_without_scripts(layer, server, managed):
    """
    Where the server refuses scripts and HELLO, messages arrive in order all the same.
    """
    channel, sender = await layer.new_channel(OWN), managed("-eval", "-hello")
    await layer.group_add("g", channel)
    await sender.group_send_many([("g", {"n": n}) for n in range(3)])
    assert [0, 1, 2] == [(await received_after_behind(layer, channel))["n"] for _ in range(3)]
    assert 1 == server.info("commandstats")["cmdstat_eval"]["rejected_calls"]


async def test_a_server_without_free_memory(layer, server):
    """
    A server whose memory is full passes messages on, though it refuses scripts since Redis 7.
    """
    channel = await layer.new_channel(OWN)
    await layer.group_add("g", channel)
    server.config_set("maxmemory", 1)
    try:
        await layer.group_send_many([("g", {"n": n}) for n in range(3)])
    finally:
        server.config_set("maxmemory", 0)
    assert [0, 1, 2] == [(await received_after_behind(layer, channel))["n"] for _ in range(3)]


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_replica_is_left(layer, server, protocol):
    """
    A Redis that has become a replica still passes messages on, but its connection isn't used again. A batch
    that it has received is sent once more, since its address may lead to the primary.
    """
    channel = await layer.new_channel(OWN)
    await layer.group_add("g", channel)
    host = {"address": django_settings.REDIS_URL, "client_name": "sender", "protocol": protocol}
    sender = NotificationChannelLayer(hosts=[host], prefix="tests")

    def connected():
        return [each for each in server.client_list() if each["name"] == "sender"]

    await sender.group_send_many([("g", {"n": 0})])
    assert connected()
    server.replicaof("127.0.0.1", 1)
    try:
        await sender.group_send_many([("g", {"n": 1})])
        await until(lambda: not connected())
    finally:
        server.replicaof("NO", "ONE")
    assert [0, 1, 1] == [(await received_after_behind(layer, channel))["n"] for _ in range(3)]
    await sender.flush()


async def test_a_user_who_may_not_publish(managed):
    """
    An error that the other way to send has, too, is raised.
    """
    with pytest.raises(redis.exceptions.NoPermissionError):
        await managed("-publish").group_send_many([("g", {"n": 1})])


async def test_many_messages_are_several_commands(server, monkeypatch, layer):
    """
    A large batch is cut, so that no command has more arguments than a managed server takes.
    """
    monkeypatch.setattr(links, "MESSAGES_AT_ONCE", 2)
    channel = await layer.new_channel(OWN)
    await layer.group_add("g", channel)
    await layer.group_send_many([("g", {"n": n}) for n in range(5)])
    assert [*range(5)] == [(await received_after_behind(layer, channel))["n"] for _ in range(5)]
    assert 3 == server.info("commandstats")["cmdstat_eval"]["calls"]


async def test_other_consumers_are_not_told(layer, caplog):
    """
    A channel of another consumer gets its messages in order. Those that it has no place for, and those that
    nobody can read, are dropped, without a message that its consumer doesn't know.
    """
    slow, witness = await layer.new_channel(), await layer.new_channel(OWN)
    for channel in (slow, witness):
        await layer.group_add("g", channel)
    redis.Redis.from_url(django_settings.REDIS_URL).publish("tests__group__g", b"\xc1")
    await until(lambda: "unreadable" in caplog.text)
    dropped = Metric("notifier_messages_dropped_total")
    await layer.group_send_many([("g", {"n": n}) for n in range(6)])
    await until(lambda: dropped.grown >= 1)
    assert [0, 1, 2, 3, 4] == [(await received(layer, slow))["n"] for _ in range(5)]
    await layer.group_send("g", {"n": 6})
    assert {"n": 6} == await received(layer, slow)


async def test_a_worker_receives_from_a_named_channel(layer):
    """
    `runworker` receives from channels that nobody has created. A cancelled one is removed.
    """
    seen = asyncio.Queue()

    async def application(scope, receive, send):
        while True:
            await seen.put((scope["channel"], (await receive())["type"]))

    worker = Worker(application, ["thumbnails"], layer)
    working = asyncio.create_task(worker.listener("thumbnails"))
    server = redis.Redis.from_url(django_settings.REDIS_URL)
    await until(lambda: server.pubsub_numsub("thumbnails")[0][1])
    for kind in ("make", "delete"):
        await layer.send("thumbnails", {"type": kind})
    async with asyncio.timeout(PATIENCE):
        assert [("thumbnails", "make"), ("thumbnails", "delete")] == [
            await seen.get() for _ in range(2)
        ]
    working.cancel()
    await asyncio.wait([working])
    worker.delete_application_instance("thumbnails")
    await until(lambda: not server.pubsub_numsub("thumbnails")[0][1])


async def test_an_unreadable_message_becomes_behind(layer, caplog):
    """
    An unreadable message ends nothing. Its receivers get `behind`.
    """
    channel = await layer.new_channel(OWN)
    await layer.group_add("g", channel)
    redis.Redis.from_url(django_settings.REDIS_URL).publish("tests__group__g", b"\xc1")
    assert BEHIND == await received(layer, channel)
    assert "A message of the channel layer is unreadable" in caplog.text
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await received(layer, channel)


@pytest.mark.parametrize("steps", range(20))
async def test_ends_at_any_moment(layer, steps):
    """
    A link ends when asked, while it connects, subscribes or listens.
    """
    opening = asyncio.create_task(layer.new_channel(OWN))
    await asyncio.sleep(0)
    (link,) = layer._get_layer()._shards
    for _ in range(steps):
        await asyncio.sleep(0)
    link._task.cancel()
    done, _ = await asyncio.wait([link._task], timeout=PATIENCE)
    assert done
    opening.cancel()


async def test_a_cancelled_creation_leaves_no_channel(layer):
    """
    If the creation of a channel is cancelled, no channel stays.
    """
    opening = asyncio.create_task(layer.new_channel(OWN))
    await asyncio.sleep(0)
    assert layer._get_layer().channels
    opening.cancel()
    await asyncio.wait([opening], timeout=PATIENCE)
    assert not layer._get_layer().channels


async def test_an_idle_channel_stays(layer):
    """
    A silence longer than redis-py's timeout for an answer breaks no connection.
    """
    channel = await layer.new_channel(OWN)
    await layer.group_add("g", channel)
    waiting = asyncio.create_task(layer.receive(channel))
    done, _ = await asyncio.wait([waiting], timeout=ANSWER_SECONDS + 1)
    assert not done
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await waiting


class TestOutage:
    async def test_joins_succeed(self, proxy, distant, caplog):
        """
        While Redis is away, a channel opens and joins at once. It receives messages once Redis is back.
        """
        await proxy.refuse()
        channel = await distant.new_channel(OWN)
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
        After a reconnect each channel gets `behind`, and receives messages again.
        """
        channel = await distant.new_channel(OWN)
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
        One outage makes one line in the log, however often the link tries to connect.
        """
        await proxy.refuse()
        await distant.new_channel(OWN)
        await until(lambda: proxy.refused >= 3)
        assert 1 == caplog.text.count("Redis is away")

    @pytest.mark.parametrize("steps", range(0, 30, 3))
    async def test_ends_while_redis_refuses(self, proxy, distant, steps):
        """
        A layer ends when asked, at any moment of a failing attempt to connect.
        """
        await distant.new_channel(OWN)
        (link,) = distant._get_layer()._shards
        await proxy.refuse()
        link._task.cancel()
        link._task = None
        link.start_listening("again")
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE):
            await distant.flush()

    async def test_a_late_confirmation_is_reported(self, proxy, distant, layer):
        """
        A join that stopped waiting gets `behind` when the confirmation comes.
        """
        channel = await distant.new_channel(OWN)
        await distant.group_add("g", channel)
        waiting = len(distant._get_layer().channels[channel])
        assert [BEHIND] * waiting == [await received(distant, channel) for _ in range(waiting)]
        proxy.stall()
        await distant.group_add("late", channel)
        proxy.resume()  # pragma: no cover  # 3.11 can't trace it
        assert BEHIND == await received(distant, channel)

    async def test_a_silent_host_is_noticed(self, proxy, distant, caplog, monkeypatch):
        """
        A dead connection is detected by a ping, and replaced.
        """
        channel = await distant.new_channel(OWN)
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


async def test_a_silent_server_that_answers_is_kept(layer, server, monkeypatch):
    """
    A connection on which nothing comes is pinged again and again, and kept while Redis answers.
    """
    monkeypatch.setattr(links, "SILENCE_SECONDS", 0.1)
    channel = await layer.new_channel(OWN)
    await layer.group_add("g", channel)
    await until(lambda: server.info("commandstats").get("cmdstat_ping", {"calls": 0})["calls"] >= 3)
    await layer.group_send("g", {"n": 1})
    assert {"n": 1} == await received_after_behind(layer, channel)


async def test_it_knows_whether_redis_is_away(settings, distant, proxy):
    """
    While it listens, the layer knows whether Redis is away. Other channel layers don't know.
    """
    assert distant.is_away is None
    await distant.new_channel(OWN)
    assert distant.is_away is False
    await proxy.refuse()
    await until(lambda: distant.is_away)
    await proxy.accept()
    await until(lambda: distant.is_away is False)
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    assert layer_health() is None


@pytest.mark.parametrize(("expected", "is_away"), [("live", False), ("away", True), (None, None)])
def test_layer_health(settings, expected, is_away):
    """
    Any thread may ask for the health of the configured layer.
    """
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "tests.layer.test_layers.KnownLayer"}}
    KnownLayer.is_away = is_away
    assert expected == layer_health()


class KnownLayer(InMemoryChannelLayer):
    """A layer with a given answer to `is_away`."""

    is_away: bool | None = None
