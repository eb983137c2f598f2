"""The addresses of Redis and of the broker, from the settings."""

from typing import Any

from channels_redis.utils import decode_hosts
from django.conf import settings
from django.utils.module_loading import import_string

from ..conf import pillarbox_settings
from .redis_clients import async_redis_client

#: The errors of options that can't be used.
UNUSABLE = (ValueError, TypeError, LookupError, AttributeError)


def layer_settings() -> dict[str, Any]:
    """Return the settings of our channel layer; empty if the project has none."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    found = layers.get(pillarbox_settings().CHANNEL_LAYER) if isinstance(layers, dict) else None
    return found if isinstance(found, dict) else {}


def layer_hosts() -> list[dict[str, Any]]:
    """
    Return the options of each Redis host in the settings of our channel layer; empty if there is none.

    Raises one of `UNUSABLE` if they aren't a list of hosts.
    """
    conf = layer_settings().get("CONFIG") or {}
    if not isinstance(conf, dict):
        raise TypeError(f"CONFIG is a {type(conf).__name__}: expected a dictionary.")
    hosts = conf.get("hosts")
    decoded: list[dict[str, Any]] = decode_hosts(hosts) if hosts else []
    return decoded


def layer_pools() -> list[Any]:
    """Return a pool of connections for each host, unconnected. Raises one of `UNUSABLE`."""
    pools: list[Any] = [async_redis_client(host).connection_pool for host in layer_hosts()]
    for pool in pools:
        pool.make_connection()  # reads the other options
    return pools


def wake_up_host() -> dict[str, Any]:
    """
    Return the options of the Redis for wake-ups: ``REDIS_URL``, or else the first host of the channel layer.

    They are empty if neither is known, by an address or behind Sentinel.
    """
    if url := pillarbox_settings().REDIS_URL:
        return {"address": url}
    try:
        first = next(iter(layer_hosts()), {})
    except UNUSABLE:
        return {}
    return first if {"host", "address", "sentinels"} & first.keys() else {}


def broker_url() -> str:
    """
    Return the address of Celery's broker: as Django's settings have it, or else the app at ``CELERY_APP``.

    It is empty if neither has one, or if there is no such app, as a system check says.
    """
    if url := getattr(settings, "CELERY_BROKER_URL", ""):
        return str(url)
    path = pillarbox_settings().CELERY_APP
    try:
        return str(import_string(path).conf.broker_url or "") if path else ""
    except (ImportError, AttributeError):
        return ""
