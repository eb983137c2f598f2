"""All checks, in the order in which they are made: who is needed comes first."""

from django.conf import settings

from apps.realtime.database import limited

from . import configuration, database, flow, layer, outbox, processes, redis_servers, room, tables
from .findings import Check


def checklist() -> list[Check]:
    """Return the checks. Those of the database are each a transaction with a limit on its statements."""
    broker_is_redis = settings.CELERY_BROKER_URL.startswith("redis")
    return [
        Check("settings", configuration.has_no_complaints),
        Check("database", database.is_there, seconds=8),
        Check("promises", limited(database.keeps_its_word), {"database"}),
        Check("clock", limited(database.agrees_on_the_time), {"database"}),
        Check("migrations", limited(database.is_migrated), {"database"}),
        Check("indexes", limited(tables.are_whole), {"migrations"}),
        Check("vacuum", limited(tables.are_vacuumed), {"migrations"}),
        Check("transactions", limited(tables.are_not_held_back), {"database"}),
        Check("connections", limited(room.has_connections), {"migrations"}),
        Check("disk", limited(room.has_disk), {"migrations"}),
        Check("redis", redis_servers.are_there),
        Check("redis-memory", redis_servers.have_room, {"redis"}),
        Check("redis-clock", redis_servers.agree_on_the_time, {"redis"}),
        Check("layer", layer.loops_back, {"redis"}),
        Check("broker", layer.broker_answers, {"redis"} if broker_is_redis else ()),
        Check("workers", limited(processes.workers_live), {"migrations"}),
        Check("beat", limited(processes.beat_lives), {"migrations"}),
        Check("daphne", limited(processes.daphne_lives), {"migrations"}),
        Check("bell", flow.bell_is_heard, {"redis", "broker", "workers"}),
        Check("sweep", limited(flow.beat_sweeps), {"broker", "beat"}),
        Check("relay", limited(flow.workers_publish), {"layer", "workers", "sweep"}),
        Check("sockets", limited(flow.sockets_hear), {"layer", "daphne"}),
        Check("claims", limited(outbox.has_no_orphans), {"migrations", "relay"}),
        Check("backlog", limited(outbox.keeps_up), {"migrations"}),
        Check("failed-rows", limited(outbox.has_no_failed_rows), {"migrations"}),
        Check("pruning", limited(outbox.is_pruned), {"migrations"}),
    ]
