"""Redis: the bell's, and the hosts of the channel layer."""

import time
from typing import Any
from urllib.parse import urlsplit

import redis
from channels_redis.utils import decode_hosts
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from .clocks import skew
from .findings import Answer, Finding, unless

OLDEST = (6, 0)
#: The share of maxmemory, and of the clients, that may be in use.
CROWDED = 0.8
PROBE = "outbox:doctor"
WITHOUT = (
    "Saves go on and nothing is lost; sockets read the database instead, and are seconds late."
)
QUICK = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}


def servers() -> dict[str, redis.Redis]:
    """Return a client for each Redis of the settings, by an address without its password."""
    layer: dict[str, Any] = settings.CHANNEL_LAYERS.get("default", {})
    configured = layer.get("CONFIG", {}).get("hosts")
    hosts = [{"address": settings.REDIS_URL}, *(decode_hosts(configured) if configured else [])]
    # Who is behind Sentinel is asked through the layer only.
    return dict(_client(host) for host in hosts if "sentinels" not in host)


def are_there() -> Answer:
    """Each Redis can be reached, is new enough, and can be written."""
    findings: list[Finding] = []
    seen = []
    for name, client in servers().items():
        try:
            start = time.monotonic()
            version = client.info("server")["redis_version"]
            milliseconds = (time.monotonic() - start) * 1000
            client.set(PROBE, "", px=1000)
        except redis.RedisError as error:
            findings.append(_unusable(name, error))
            continue
        seen.append(f"Redis {version}, connected in {milliseconds:.0f} ms")
        if tuple(map(int, version.split(".")[:2])) < OLDEST:
            findings.append(_too_old(name, version))
    return unless(findings, "; ".join(seen))


def have_room() -> Answer:
    """No Redis evicts what is no cache, is full, or runs out of clients."""
    findings: list[Finding] = []
    seen = []
    for name, client in servers().items():
        about: dict[str, Any] = client.info()
        most, used = about["maxmemory"], about["used_memory"]
        if most and about["maxmemory_policy"].startswith("allkeys"):
            findings.append(_evicts(name, about["maxmemory_policy"]))
        if most and used > most * CROWDED:
            findings.append(_full(name, used, most))
        if about["connected_clients"] > (clients := about.get("maxclients", 10_000)) * CROWDED:
            findings.append(_crowded(name, about["connected_clients"], clients))
        limit = f" of {_megabytes(most)}" if most else ", no limit"
        seen.append(f"{_megabytes(used)}{limit}, {about['connected_clients']} clients")
    return unless(findings, "; ".join(seen))


def agree_on_the_time() -> Answer:
    """The clocks of this host and of each Redis agree."""
    findings: list[Finding] = []
    for name, client in servers().items():
        client.ping()  # the first command also connects
        before = time.time()
        seconds, microseconds = client.time()
        answer = skew(f"Redis ({name})", before, seconds + microseconds / 1e6, time.time())
        findings += [] if isinstance(answer, str) else answer
    return unless(findings, "Redis agrees with this host")


def _client(host: dict[str, Any]) -> tuple[str, redis.Redis]:
    given = {name: value for name, value in host.items() if name != "address"} | QUICK
    if "address" not in host:
        return f"{host.get('host', 'localhost')}:{host.get('port', 6379)}", redis.Redis(**given)
    url = urlsplit(host["address"])
    where = url.path if url.scheme == "unix" else url.netloc.rpartition("@")[2] + url.path
    return where, redis.Redis.from_url(host["address"], **given)


def _unusable(name: str, error: redis.RedisError) -> Finding:
    return Finding(
        what=f"Redis at {name} can't be used: {' '.join(str(error).split())}",
        why=WITHOUT,
        cure="Start it, or correct REDIS_URL. If it refuses to write, its message says why: a full memory or "
        "disk, or a replica in the primary's place.",
        is_grave=True,
    )


def _too_old(name: str, version: str) -> Finding:
    return Finding(
        what=f"Redis at {name} is {version}.",
        why="The client speaks to Redis 6 and later.",
        cure="Upgrade it. There is nothing in it to be kept.",
        is_grave=True,
    )


def _evicts(name: str, policy: str) -> Finding:
    return Finding(
        what=f"Redis at {name} has a maxmemory, and evicts any key for it: {policy}.",
        why="It may evict what Celery knows its queue by: workers are woken no more until they start again.",
        cure="CONFIG SET maxmemory-policy noeviction, or give the notifier a Redis of its own.",
    )


def _full(name: str, used: int, most: int) -> Finding:
    return Finding(
        what=f"Redis at {name} uses {_megabytes(used)} of its {_megabytes(most)}.",
        why="When it is full it takes no message for the workers any more.",
        cure="Raise maxmemory; the notifier itself needs a few megabytes. See who else uses this Redis.",
    )


def _crowded(name: str, clients: int, most: int) -> Finding:
    return Finding(
        what=f"Redis at {name} has {clients} clients of {most}.",
        why="The next process to come may find no place.",
        cure="Raise maxclients, and see who else uses this Redis (CLIENT LIST).",
    )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.0f} MB"
