"""Clients of a Redis host, from its options in the settings: at an address, with TLS, or behind Sentinel."""

from typing import Any

import redis.sentinel
from redis import asyncio as aioredis
from redis.backoff import NoBackoff

#: The limit of one sentinel's answer, unless ``sentinel_kwargs`` has another. The next one is asked after it,
#: and a batch that is published waits for both.
SENTINEL_SECONDS = 0.2


def redis_client(host: dict[str, Any], **limits: Any) -> redis.Redis:
    """
    Return a client of a host with its options, as `layer_hosts` has them. ``limits`` replace options.

    Raises an error of `addresses.UNUSABLE` if they can't be used.
    """
    _client(redis, host, limits).connection_pool.make_connection()  # reads the other options
    client: redis.Redis = _client(redis, host, limits)
    return client


def async_redis_client(host: dict[str, Any], **limits: Any) -> aioredis.Redis:
    """Return a client as `redis_client` does, for an event loop."""
    client: aioredis.Redis = _client(aioredis, host, limits)
    return client


async def aclose(client: aioredis.Redis) -> None:
    """Close all connections of a client, also those to the sentinels."""
    await client.aclose(close_connection_pool=True)
    # `Sentinel.aclose` is new in redis-py 8.1.
    manager = getattr(client.connection_pool, "sentinel_manager", None)
    for sentinel in manager.sentinels if manager else ():
        await sentinel.aclose()


def impatience_with_sentinels(library: Any) -> dict[str, Any]:
    """Return the options with which a sentinel that is away costs little time, for this part of redis-py."""
    return {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": library.retry.Retry(NoBackoff(), 0),
    }


def _client(library: Any, host: dict[str, Any], limits: dict[str, Any]) -> Any:
    options = host | limits
    if "address" in options:
        client = library.Redis.from_url(options.pop("address"), **options)
        connection = client.connection_pool.connection_kwargs
        connection |= {
            name: limits[name] for name in limits.keys() & connection
        }  # the query's, too
        return client
    if "sentinels" in options:
        given = options.pop("sentinel_kwargs", None) or {}
        sentinel = library.sentinel.Sentinel(
            options.pop("sentinels"), sentinel_kwargs=impatience_with_sentinels(library) | given
        )
        return sentinel.master_for(options.pop("master_name"), **options)
    if options.pop("ssl", False):
        options["connection_class"] = library.SSLConnection
    return library.Redis(connection_pool=library.ConnectionPool(**options))
