"""`REDIS_URL` as the channel layer and as Celery want it: one Redis, or a master behind Sentinel."""

from typing import Any
from urllib.parse import unquote, urlsplit

from marshmallow.validate import Regexp
from redis.backoff import NoBackoff
from redis.retry import Retry

#: Any address, or that of sentinels: each with its port, and then the name of the master.
is_redis_url = Regexp(
    r"(?!sentinel:)|sentinel://([^@/]+@)?[^,/:@]+:\d+(,[^,/:@]+:\d+)*/[^/?]+$",
    error="Must be sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT,…/MASTER, or another address of Redis",
)


def layer_host(url: str) -> str | dict[str, Any]:
    """Return the host of the channel layer, which is also the one for wake-ups."""
    if not (name := _master(url)):
        return url
    account, _, sentinels = urlsplit(url).netloc.rpartition("@")
    user, _, password = account.partition(":")
    words = {"username": unquote(user), "password": unquote(password)}
    pairs = [pair.split(":") for pair in sentinels.split(",")]
    return {
        "sentinels": [(host, int(port)) for host, port in pairs],
        "master_name": name,
        **{key: word for key, word in words.items() if word},
    }


def broker_address(url: str) -> str:
    """Return Celery's address of the broker. It needs `broker_options`, too."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"redis+socket://{parts.path}"
    if not _master(url):
        return url
    account, at, sentinels = parts.netloc.rpartition("@")
    return ";".join(f"sentinel://{account}{at}{each}/0" for each in sentinels.split(","))


def broker_options(url: str) -> dict[str, Any]:
    """Return Celery's transport options for the broker."""
    if not (name := _master(url)):
        return {}
    # By default, redis-py tries a sentinel that is away for some seconds.
    impatience = {
        "socket_timeout": 0.2,
        "socket_connect_timeout": 0.2,
        "retry": Retry(NoBackoff(), 0),
    }
    return {"master_name": name, "sentinel_kwargs": impatience}


def _master(url: str) -> str:
    """Return the name of the master behind Sentinel; empty if there is no Sentinel."""
    parts = urlsplit(url)
    return parts.path.strip("/") if parts.scheme == "sentinel" else ""
