"""Checks of the Redis servers: the one for wake-ups, and the hosts of the channel layer."""

import time
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...conf import pillarbox_settings
from ...formats import IN_CLUSTER, megabytes, milliseconds, number, one_line
from ...layer.addresses import UNUSABLE, layer_hosts
from ...layer.redis_clients import redis_client
from ..thresholds import CROWDED
from .clocks import skew
from .findings import Finding, Needs, Outcome, findings_or

OLDEST = (6, 0)
PROBE = "pillarbox:doctor"
NONE = "nothing to check: the settings name no Redis"
WITHOUT = "Saves go on and nothing is lost. Sockets read the database instead, seconds late."
QUICK = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}


def servers() -> dict[str, redis.Redis]:
    """
    Return a client for each Redis in the settings, by its address without the password.

    Raises one of `UNUSABLE` if options of one can't be used.
    """
    own = pillarbox_settings().REDIS_URL
    hosts = [*([{"address": own}] if own else []), *layer_hosts()]
    return dict(_client(host) for host in hosts)


def are_reachable() -> Outcome | Needs:
    """Check that each Redis can be reached and written, and is new enough."""
    findings: list[Finding] = []
    seen = []
    try:
        known = servers()
    except UNUSABLE:
        return Needs("settings")
    for name, client in known.items():
        try:
            start = time.monotonic()
            about = client.info("server")
            seconds = time.monotonic() - start
            if about.get("redis_mode") == "cluster":
                findings.append(_is_cluster(name))
                continue
            client.set(PROBE, "", px=1000)
        except redis.RedisError as error:
            findings.append(_unusable(name, error))
            continue
        version = about["redis_version"]
        seen.append(f"Redis {version}, connected in {milliseconds(seconds)}")
        if tuple(map(int, version.split(".")[:2])) < OLDEST:
            findings.append(_too_old(name, version))
    return findings_or(findings, "; ".join(seen) or NONE)


def have_capacity() -> Outcome:
    """Check that no Redis evicts keys, is nearly full, or nearly out of clients."""
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
        limit = f" of {megabytes(most)}" if most else ", no limit"
        seen.append(f"{megabytes(used)}{limit}, {number(about['connected_clients'])} clients")
    return findings_or(findings, "; ".join(seen) or NONE)


def clocks_agree() -> Outcome:
    """Check that the clocks of this host and of each Redis agree."""
    findings: list[Finding] = []
    for name, client in servers().items():
        client.ping()  # the first command also connects
        before = time.time()
        seconds, microseconds = client.time()
        outcome = skew(f"Redis ({name})", before, seconds + microseconds / 1e6, time.time())
        findings += [] if isinstance(outcome, str) else outcome
    return findings_or(findings, "Redis agrees with this host" if servers() else NONE)


def _client(host: dict[str, Any]) -> tuple[str, redis.Redis]:
    client = redis_client(host, **QUICK)
    if "sentinels" in host:
        return f"{host['master_name']}, the master behind Sentinel", client
    if "address" not in host:
        return f"{host.get('host', 'localhost')}:{host.get('port', 6379)}", client
    url = urlsplit(host["address"])
    where = url.path if url.scheme == "unix" else url.netloc.rpartition("@")[2] + url.path
    return where, client


def _unusable(name: str, error: redis.RedisError) -> Finding:
    return Finding(
        what=f"Redis at {name} can't be used: {one_line(error)}",
        why=WITHOUT,
        cure="Start it, or correct REDIS_URL. If it refuses writes, its message says why: full memory, a "
        "full disk, or a replica in the primary's place.",
        is_grave=True,
    )


def _is_cluster(name: str) -> Finding:
    return Finding(
        what=f"Redis at {name} {IN_CLUSTER}.",
        why="A node of a cluster refuses the keys of other nodes, so workers aren't woken.",
        cure="Name a Redis that is no cluster, alone or behind Sentinel. For more throughput, list several "
        "as hosts of the channel layer: it spreads streams over them.",
        is_grave=True,
    )


def _too_old(name: str, version: str) -> Finding:
    return Finding(
        what=f"Redis at {name} is {version}.",
        why="The client needs Redis 6 or later.",
        cure="Upgrade it. It holds no data that must be kept.",
        is_grave=True,
    )


def _evicts(name: str, policy: str) -> Finding:
    return Finding(
        what=f"Redis at {name} has a maxmemory, and evicts any key for it: {policy}.",
        why="It may evict messages to the workers, which then wait for the sweep, and Celery's record of the "
        "project's own queues.",
        cure="CONFIG SET maxmemory-policy noeviction, or give the notifier a Redis of its own.",
    )


def _full(name: str, used: int, most: int) -> Finding:
    return Finding(
        what=f"Redis at {name} uses {megabytes(used)} of its {megabytes(most)}.",
        why="A full Redis accepts no messages for the workers.",
        cure="Raise maxmemory; the notifier needs a few megabytes. Find out what else uses this Redis.",
    )


def _crowded(name: str, clients: int, most: int) -> Finding:
    return Finding(
        what=f"Redis at {name} has {number(clients)} clients of {number(most)}.",
        why="The next process may be unable to connect.",
        cure="Raise maxclients, and find out what else uses this Redis (CLIENT LIST).",
    )
