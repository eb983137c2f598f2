"""Tests of a Redis whose certificate comes from another CA: no part uses it, and the doctor says why."""

import pytest
import redis
from asgiref.sync import async_to_sync
from celery import Celery

from pillarbox.layer.layers import notification_layer
from pillarbox.monitoring.doctor import layer, redis_servers
from pillarbox.relay import wake_ups
from tests.ports import free_port
from tests.redis_servers import Certificates, needs_redis_server, redis_server

from .situations import found, one


@pytest.fixture
def authorities(tmp_path):
    """Return two CAs. The first has signed the certificate of a Redis that runs; yield its port, too."""
    known, other = (Certificates(tmp_path / name) for name in ("known", "other"))
    port = free_port()
    with redis_server(tmp_path, port, tls_port=str(port), **known.options):
        yield known.address(port), other.address(port)
    wake_ups._redis.cache_clear()


@needs_redis_server
def test_a_certificate_of_another_ca(settings, authorities, caplog):
    """
    Layer, wake-ups and broker accept the CA that the address names, and no other.
    """
    for url, word in zip(authorities, ("", "CERTIFICATE_VERIFY_FAILED"), strict=True):
        ours = settings.CHANNEL_LAYERS["default"]
        settings.CHANNEL_LAYERS = {"default": ours | {"CONFIG": {"hosts": [url]}}}
        wake_ups._redis.cache_clear()
        wake_ups.wake_up("default")
        wake_ups._breaker.succeed()
        assert word in refusal()
        with Celery("other", broker=url, set_as_current=False) as other:
            answers = [redis_servers.are_reachable(), layer.broker_answers(other)]
        if word:
            assert "No worker is woken" in caplog.text
            assert word in caplog.text
            assert [True, True] == [word in one(answer).what for answer in answers]
        else:
            assert "" == caplog.text + refusal()
            assert [[], []] == [found(answer) for answer in answers]


def refusal():
    """Return why the channel layer takes no message; empty if it takes one."""

    async def send():
        await notification_layer().group_send("doctor", {"type": "probe"})

    try:
        async_to_sync(send)()
    except redis.ConnectionError as error:
        return str(error)
    return ""
