"""Tests of wake-ups by Redis alone: they end a wait, and cost nothing where there is no Redis."""

import threading
from contextlib import suppress

import pytest
import redis
from celery import Celery

from pillarbox.relay import celery_wake_ups, wake_ups
from pillarbox.relay.breaker import Breaker
from tests.ports import free_port
from tests.redis_servers import BehindSentinel, documented_user, needs_redis_server, redis_server
from tests.waiting import PATIENCE, wait_until


@pytest.fixture(autouse=True)
def none_requested():
    """Clear the requested wake-up, before and after, when the settings are as they were."""
    wake_ups.clear_request()
    yield
    wake_ups._redis.cache_clear()
    wake_ups.clear_request()


@pytest.fixture
def no_redis(settings):
    """The settings of a project that has no Redis."""
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": ""}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    wake_ups._redis.cache_clear()


def waiting(listener, stop):
    """Start a thread that waits for a wake-up; return it once it is subscribed."""
    listener.wait(PATIENCE, stop)  # the answer to the subscription ends the first wait
    subscribers = wake_ups._redis().pubsub_numsub(wake_ups.KEY)
    assert subscribers[0][1] > 0
    thread = threading.Thread(target=listener.wait, args=[PATIENCE, stop])
    thread.start()
    return thread


def test_a_wake_up_ends_the_wait():
    """
    The listener's wait ends at the next wake-up, or when its time is over.
    """
    listener, stop = wake_ups.Listener(), threading.Event()
    thread = waiting(listener, stop)
    assert thread.is_alive()
    wake_ups.wake_up("default")
    thread.join(PATIENCE)
    assert not thread.is_alive()
    listener.wait(0.01, stop)
    listener.close()


def test_a_requested_wake_up_sends_no_other():
    """
    Until it is cleared, a requested wake-up sends one message.
    """
    messages = wake_ups._redis().pubsub(ignore_subscribe_messages=True)
    messages.subscribe(wake_ups.KEY)
    for _ in range(3):
        wake_ups.wake_up("default")
    assert wake_ups.is_requested()
    wake_ups.clear_request()
    wake_ups.wake_up("other")
    found = []
    wait_until(lambda: found.append(messages.get_message()) or b"other" in map(text, found), "both")
    assert [b"default", b"other"] == [*filter(None, map(text, found))]
    messages.close()


def text(message):
    return message and message["data"]


def test_without_redis_nothing_is_sent(no_redis, caplog):
    """
    A project without Redis gets no warning at each save, and its listener waits for the sweep.
    """
    wake_ups.wake_up("default")
    wake_ups.clear_request()
    assert [] == caplog.records
    stop = threading.Event()
    stop.set()
    wake_ups.Listener().wait(PATIENCE, stop)


@needs_redis_server
@pytest.mark.parametrize("by_address", [True, False])
def test_the_options_of_the_layers_host_count(settings, tmp_path, caplog, by_address):
    """
    Its password, say, in each form in which a layer may have it.
    """
    port = free_port()
    where = (
        {"address": f"redis://127.0.0.1:{port}"}
        if by_address
        else {"host": "127.0.0.1", "port": port}
    )
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": ""}
    hosts = [where | {"password": "word"}]
    settings.CHANNEL_LAYERS = {
        "default": settings.CHANNEL_LAYERS["default"] | {"CONFIG": {"hosts": hosts}}
    }
    wake_ups._redis.cache_clear()
    with redis_server(tmp_path, port, port=str(port), requirepass="word"):
        wake_ups.wake_up("default")
        assert wake_ups.is_requested()
        wake_ups.clear_request()
    assert [] == caplog.records


@needs_redis_server
def test_a_user_with_few_rights(settings, tmp_path, caplog):
    """
    The rights that the deployment page gives the site's user suffice.
    """
    port = free_port()
    settings.CHANNEL_LAYERS = {
        "default": {"CONFIG": {"hosts": [f"redis://site:word@127.0.0.1:{port}"]}}
    }
    wake_ups._redis.cache_clear()
    with redis_server(tmp_path, port, port=str(port)), redis.Redis(port=port) as server:
        server.execute_command(*documented_user("site"))
        listener, stop = wake_ups.Listener(), threading.Event()
        listener.wait(PATIENCE, stop)  # the answer to the subscription ends the first wait
        wake_ups.wake_up("default")
        assert wake_ups.is_requested()
        listener.wait(PATIENCE, stop)
        wake_ups.clear_request()
        listener.close()
        assert [] == [*server.acl_log(), *caplog.records]


@needs_redis_server
def test_a_listener_follows_the_master_behind_sentinel(settings, tmp_path):
    """
    After the master was killed, a listener hears the wake-ups of the promoted replica.
    """
    with BehindSentinel(tmp_path) as redises:
        host = {"sentinels": redises.sentinels, "master_name": redises.NAME}
        settings.CHANNEL_LAYERS = {"default": {"CONFIG": {"hosts": [host]}}}
        wake_ups._redis.cache_clear()
        listener, stop = wake_ups.Listener(), threading.Event()
        listener.wait(PATIENCE, stop)  # the answer to the subscription ends the first wait
        redises.master.kill()
        wait_until(lambda: listens_to_new_master(listener, stop), "the listener has moved")
        thread = threading.Thread(target=listener.wait, args=[PATIENCE, stop])
        thread.start()
        wake_ups.wake_up("default")
        thread.join(PATIENCE)
        assert not thread.is_alive()
        listener.close()


def listens_to_new_master(listener, stop):
    """Let the listener connect; return whether the master that the sentinels name has it as a subscriber."""
    listener.wait(0.1, stop)
    with suppress(redis.ConnectionError):
        return wake_ups._redis().pubsub_numsub(wake_ups.KEY)[0][1] > 0


def test_a_listener_connects_again(settings):
    """
    Once Redis is back, a listener hears wake-ups again.
    """
    listener, stop = wake_ups.Listener(), threading.Event()
    for url in ("redis://127.0.0.1:1", "redis://127.0.0.1?no_such_option=1"):
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": url}
        wake_ups._redis.cache_clear()
        wake_ups.clear_request()
        listener.wait(0.01, stop)
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": ""}
    wake_ups._redis.cache_clear()
    thread = waiting(listener, stop)
    wake_ups.wake_up("default")
    thread.join(PATIENCE)
    assert not thread.is_alive()
    listener.close()


@needs_redis_server
@pytest.mark.parametrize("is_celerys", [False, True])
def test_a_cluster_is_called_by_its_name(settings, caplog, monkeypatch, tmp_path, is_celerys):
    """
    The log says that Redis is part of a cluster, also if it is Celery's broker.
    """
    port = free_port()
    url = f"redis://127.0.0.1:{port}"
    settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": url}
    monkeypatch.setattr(wake_ups, "_breaker", Breaker())
    wake_ups._redis.cache_clear()
    with (
        redis_server(tmp_path, port, port=str(port), cluster_enabled="yes"),
        Celery("project", broker=url, set_as_current=False) as celery,
    ):
        if is_celerys:
            wake_ups.unless_away(lambda: celery_wake_ups.send(celery, celery_wake_ups.DRAIN))
        else:
            wake_ups.wake_up("default")
    (record,) = caplog.records
    assert "No worker is woken: Redis is part of a Redis Cluster, which" in record.getMessage()
    assert "(ClusterDownError: " in record.getMessage()
