"""The list of all checks. A check comes after the checks that it needs."""

from functools import cache, partial

from django.db import DEFAULT_DB_ALIAS

from ...database import limited
from ..facts import facts
from . import (
    capacity,
    configuration,
    database,
    flow,
    layer,
    outbox,
    redis_servers,
    sentinels,
    tables,
    triggers,
)
from .diagnosed import diagnosed, failed_rows
from .findings import Check


def checklist(broker: str = "") -> list[Check]:
    """
    Return the checks; ``broker`` is the broker's address.

    Each database check runs in a transaction that limits its statements.
    """
    # Read by the first check that shows the diagnosis, for all of them.
    seen = cache(partial(facts, using=DEFAULT_DB_ALIAS))
    return [
        Check("settings", configuration.passes_system_checks),
        Check("database", database.is_reachable, seconds=8),
        Check("pg-settings", limited(database.has_safe_settings), {"database"}),
        Check("clock", limited(database.clock_agrees), {"database"}),
        Check("migrations", limited(database.is_migrated), {"database"}),
        Check("indexes", limited(tables.are_complete), {"migrations"}),
        Check("triggers", limited(triggers.are_installed), {"migrations"}),
        Check("vacuum", limited(tables.are_vacuumed), {"migrations"}),
        Check("transactions", limited(tables.no_transaction_or_slot_is_stale), {"database"}),
        Check("connections", limited(capacity.has_connections), {"migrations"}),
        Check("disk", limited(capacity.has_disk), {"migrations"}),
        Check("redis", redis_servers.are_reachable),
        Check("redis-memory", redis_servers.have_capacity, {"redis"}),
        Check("redis-clock", redis_servers.clocks_agree, {"redis"}),
        Check("sentinels", sentinels.are_ready),
        Check("layer", layer.loops_back, {"redis"}),
        Check(
            "broker",
            layer.broker_answers,
            {"redis"} if broker.startswith(("redis", "sentinel")) else (),
        ),
        Check("workers", limited(diagnosed("workers", seen)), {"migrations"}),
        Check("beat", limited(diagnosed("beat", seen)), {"migrations"}),
        Check("daphne", limited(diagnosed("daphne", seen)), {"migrations"}),
        Check("wake-up", flow.workers_wake_up, {"redis", "broker", "workers"}),
        Check("sweep", limited(diagnosed("sweep", seen)), {"broker", "beat"}),
        Check("relay", limited(diagnosed("relay", seen)), {"layer", "workers", "sweep"}),
        Check("sockets", limited(diagnosed("sockets", seen)), {"layer", "daphne"}),
        Check("claims", limited(outbox.has_no_abandoned_claims), {"migrations", "relay"}),
        Check("backlog", limited(diagnosed("backlog", seen)), {"migrations"}),
        Check("types", limited(diagnosed("types", seen)), {"migrations"}),
        Check("failed-rows", limited(partial(failed_rows, seen)), {"migrations"}),
        Check("pruning", limited(outbox.is_pruned), {"migrations"}),
    ]
