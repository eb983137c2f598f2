"""The check of the sentinels, which replace a Redis that is away by its replica."""

from typing import Any

import redis

from ...formats import one_line
from ...layer.addresses import UNUSABLE, layer_hosts
from ...layer.redis_clients import redis_client
from .findings import Finding, Needs, Outcome, findings_or
from .redis_servers import QUICK


def are_ready() -> Outcome | Needs:
    """Check that each sentinel answers and knows the master, and that a replica could replace it."""
    try:
        hosts = [host for host in layer_hosts() if "sentinels" in host]
        clients = [redis_client(host | {"sentinel_kwargs": _patient(host)}) for host in hosts]
    except UNUSABLE:
        return Needs("settings")
    findings: list[Finding] = []
    for host, client in zip(hosts, clients, strict=True):
        findings += _of(client, host["master_name"])
    count = sum(len(host["sentinels"]) for host in hosts)
    seen = f"{count} sentinels" if count else "nothing to check: no Redis is behind Sentinel"
    return findings_or(findings, seen)


def _patient(host: dict[str, Any]) -> dict[str, Any]:
    """Return the options for a host's sentinels. The doctor has more time than a save."""
    return {**QUICK, **(host.get("sentinel_kwargs") or {})}


def _of(client: redis.Redis, name: str) -> list[Finding]:
    findings: list[Finding] = []
    replicas: list[dict[str, Any]] = []
    manager: Any = client.connection_pool.sentinel_manager  # type: ignore[attr-defined]  # its pool has one
    for sentinel in manager.sentinels:
        options = sentinel.connection_pool.connection_kwargs
        try:
            replicas += sentinel.sentinel_slaves(name)
        except redis.RedisError as error:
            findings.append(_unusable(f"{options['host']}:{options['port']}", name, error))
    if all(replica["is_sdown"] for replica in replicas):
        findings.append(_alone(name))
    return findings


def _unusable(where: str, name: str, error: redis.RedisError) -> Finding:
    return Finding(
        what=f"The sentinel at {where} says nothing of {name}: {one_line(error)}",
        why="If too few sentinels answer, no replica replaces a Redis that is away.",
        cure="Start it, or correct the sentinels and master_name in CHANNEL_LAYERS. A sentinel with a "
        'password needs "sentinel_kwargs": {"password": …}.',
    )


def _alone(name: str) -> Finding:
    return Finding(
        what=f"The sentinels know no replica of {name} that is up.",
        why="If this Redis is away, none replaces it. Sockets read the database then, seconds late.",
        cure="Start a replica (replicaof in its redis.conf).",
    )
