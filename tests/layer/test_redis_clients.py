"""Tests of clients of Redis: they have the options of their host, at an address or behind Sentinel."""

import pytest
import redis
from redis import asyncio as aioredis

from pillarbox.layer.redis_clients import async_redis_client, redis_client


@pytest.mark.parametrize(
    "host",
    [
        {"address": "redis://one.example:7000"},
        {"address": "redis://one.example:7000?socket_timeout=30"},
        {"host": "one.example", "port": 7000, "max_connections": 1},
    ],
)
def test_a_client_has_the_options_of_its_host(host):
    """
    The limits of its caller replace those of the host.
    """
    host |= {"password": "word", "db": 2, "socket_timeout": 60}
    pool = redis_client(host, socket_timeout=2).connection_pool
    made = pool.connection_kwargs
    assert 2 == pool.make_connection().socket_timeout  # type: ignore[attr-defined]
    assert ("one.example", 7000, "word", 2, 2) == tuple(
        made[name] for name in ("host", "port", "password", "db", "socket_timeout")
    )
    assert 60 == host["socket_timeout"]


def test_a_client_with_tls():
    """
    As an option, or in the address.
    """
    for host in ({"host": "one.example", "ssl": True}, {"address": "rediss://one.example"}):
        assert redis_client(host).connection_pool.connection_class is redis.SSLConnection
        assert async_redis_client(host).connection_pool.connection_class is aioredis.SSLConnection


@pytest.mark.parametrize("client", [redis_client, async_redis_client])
def test_a_client_behind_sentinel(client):
    """
    A sentinel that is away costs little time, unless the settings say otherwise. The other options are those
    of the master.
    """
    sentinels = [("one.example", 26379), ("two.example", 26380)]
    host = {"sentinels": sentinels, "master_name": "a", "password": "word", "socket_timeout": 60}
    for given, expected in (
        (None, (None, 0.2)),
        ({"password": "x", "socket_timeout": 5}, ("x", 5)),
    ):
        pool = client(host | {"sentinel_kwargs": given}, socket_timeout=2).connection_pool
        made = [
            sentinel.connection_pool.connection_kwargs
            for sentinel in pool.sentinel_manager.sentinels
        ]
        assert sentinels == [(each["host"], each["port"]) for each in made]
        assert [expected] * 2 == [(each["password"], each["socket_timeout"]) for each in made]
        assert ["a", "word", 2] == [
            pool.service_name,
            *(pool.connection_kwargs[name] for name in ("password", "socket_timeout")),
        ]
    assert 60 == host["socket_timeout"]
