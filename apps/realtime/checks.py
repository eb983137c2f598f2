"""System checks: `manage.py check` speaks first."""

import inspect
from dataclasses import fields
from typing import Any

from channels.layers import get_channel_layer
from channels_redis.utils import create_pool, decode_hosts
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, router

from ..outbox.conf import outbox_settings
from .audience import found_in
from .conf import realtime_settings
from .exceptions import UnknownObjectTypeError
from .layers import NotificationChannelLayer
from .registry import ObjectType, kinds, names, owner_type, types_of

#: What psycopg's pool has, unless it is told otherwise.
POOL_SIZE = 4
#: Threads of a Daphne, beside its sockets', that want a connection: of the position check, of rights.
ROUNDS = 2
IN_MEMORY = "channels.layers.InMemoryChannelLayer"


@register()
def settings_are_sound(**_: Any) -> list[CheckMessage]:
    """The dictionary ``REALTIME`` has known keys, and agrees with ``OUTBOX``."""
    try:
        conf, outbox = realtime_settings(), outbox_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="realtime.E001")]
    found: list[CheckMessage] = []
    if conf.PUBLISH_SECONDS >= outbox.LOCK_IDLE_SECONDS:
        hint = "A worker that still waits for the channel layer would lose its lock."
        text = "REALTIME's PUBLISH_SECONDS is not below OUTBOX's LOCK_IDLE_SECONDS."
        found.append(Error(text, hint=hint, id="realtime.E002"))
    for field in fields(conf):
        value = getattr(conf, field.name)
        if isinstance(value, int | float) and value <= 0 and field.name != "HASHID_LENGTH":
            text = f"REALTIME's {field.name} is {value}: expected more than 0."
            found.append(Error(text, id="realtime.E008"))
    if conf.SLOW_SECONDS >= 2 * conf.HEARTBEAT_SECONDS:
        hint = "A client that doesn't read answers no ping: it would be closed with 4408, not 4503."
        text = "REALTIME's SLOW_SECONDS is not below twice HEARTBEAT_SECONDS."
        found.append(Warning(text, hint=hint, id="realtime.W002"))
    if conf.RECONNECT_MIN_MS > conf.RECONNECT_MAX_MS:
        text = "REALTIME's RECONNECT_MIN_MS is above RECONNECT_MAX_MS."
        found.append(Error(text, id="realtime.E009"))
    # How long a client may be away that does all as it is told: unheard of, then in the window.
    away = 2 * conf.HEARTBEAT_SECONDS + conf.RECONNECT_MAX_MS / 1000 + conf.POSITION_CHECK_SECONDS
    if outbox.RETENTION_SECONDS < away:
        hint = "Clients that lose their sockets could not resume: their positions would be pruned."
        text = (
            f"OUTBOX's RETENTION_SECONDS is below the {away:.0f} seconds that a reconnect may take."
        )
        found.append(Warning(text, hint=hint, id="realtime.W004"))
    return found


@register()
def pool_is_large_enough(**_: Any) -> list[CheckMessage]:
    """A pool of database connections has one for each thread of a Daphne that may want one."""
    pool = settings.DATABASES[DEFAULT_DB_ALIAS].get("OPTIONS", {}).get("pool")
    if not pool:
        return []
    given = pool if isinstance(pool, dict) else {}
    size = given.get("max_size") or given.get("min_size", POOL_SIZE)
    wanted = realtime_settings().DATABASE_THREADS + ROUNDS
    if size >= wanted:
        return []
    hint = f'Set "max_size" of the pool, in the database\'s OPTIONS, to {wanted} or more.'
    text = f"The database's pool has {size} connections, for {wanted} threads."
    return [Warning(text, hint=hint, id="realtime.W005")]


@register()
def hosts_are_sound(**_: Any) -> list[CheckMessage]:
    """The hosts of our channel layer can be read, and none is waited for without end."""
    layer: dict[str, Any] = settings.CHANNEL_LAYERS.get("default", {})
    if not isinstance(get_channel_layer(), NotificationChannelLayer):
        return []
    found: list[CheckMessage] = []
    try:
        hosts = [create_pool(host) for host in decode_hosts(layer.get("CONFIG", {}).get("hosts"))]
    except (ValueError, TypeError, LookupError) as error:
        hint = 'A list: "redis://…", "rediss://…" or "unix://…", or dictionaries of redis-py\'s options.'
        text = f"The hosts of CHANNEL_LAYERS can't be used: {error}"
        return [Error(text, hint=hint, id="realtime.E010")]
    for pool in hosts:
        if pool.connection_kwargs.get("socket_timeout", 1) in {None, 0}:
            text = "A Redis of CHANNEL_LAYERS that doesn't answer is waited for without end."
            hint = "Remove socket_timeout from its options: the layer sets it."
            found.append(Warning(text, hint=hint, id="realtime.W006"))
    return found


@register()
def collections_have_owners(**_: Any) -> list[CheckMessage]:
    """Each collection belongs to objects of a registered type: their ids name it, their rights hold."""
    found: list[CheckMessage] = []
    for name in names():
        try:
            owner_type(name)
        except UnknownObjectTypeError as error:
            hint = "Register a type for the model that the foreign key leads to."
            found.append(Error(str(error), hint=hint, id="realtime.E005"))
    return found


@register()
def parents_are_live(**_: Any) -> list[CheckMessage]:
    """What is announced along with a change is of a registered type: else nobody hears of it."""
    hint = (
        "Register a type for the model that the foreign key leads to, or drop the name from also."
    )
    return [
        Error(
            f"{kind.name!r} announces also {name!r}, which is not live.",
            hint=hint,
            id="realtime.E007",
        )
        for kind in kinds()
        for name in kind.also
        if not types_of(kind.related_model(name))
    ]


@register()
def payloads_are_for_all(**_: Any) -> list[CheckMessage]:
    """No serializer asks for whom it shows an object: it is asked once, for all subscribers."""
    hint = "Different eyes need different object types: register one for each, with its serializer."
    return [
        Error(
            f"The payload of {kind.name!r} depends on who asks: {found}.",
            hint=hint,
            id="realtime.E006",
        )
        for kind in kinds()
        if _shows_by_serializer(type(kind))
        for found in found_in(kind.serializer_class)
    ]


@register()
def collections_show_all(**_: Any) -> list[CheckMessage]:
    """Who may see a collection sees all that is announced in it, whatever else decides of its objects."""
    hint = "Let a type of its own, without collections, have what is not for everybody."
    return [
        Warning(
            f"{kind.name!r} has collections, and {', '.join(sorted(others))} to decide who sees an object:"
            " whoever sees the owner of a collection sees all objects in it.",
            hint=hint,
            id="realtime.W003",
        )
        for kind in kinds()
        if kind.collections and (others := set(kind.deciding) - set(kind.collections.values()))
    ]


@register()
def objects_are_read_where_they_are_written(**_: Any) -> list[CheckMessage]:
    """No object is read from a replica: what a socket is shown must not be older than its position."""
    hint = f"Let the database router read the models of object types from {DEFAULT_DB_ALIAS!r}."
    return [
        Error(
            f"Objects of {kind.name!r} are read from {alias!r}, which may be late.",
            hint=hint,
            id="realtime.E011",
        )
        for kind in kinds()
        if (alias := router.db_for_read(kind.model)) != DEFAULT_DB_ALIAS
    ]


def _shows_by_serializer(kind: type[ObjectType]) -> bool:
    return kind.payload is ObjectType.payload or "super()" in inspect.getsource(kind.payload)


@register()
def layer_reaches_other_processes(**_: Any) -> list[CheckMessage]:
    """There is a channel layer, and it is one that the worker and Daphne share."""
    backend = str(settings.CHANNEL_LAYERS.get("default", {}).get("BACKEND", ""))
    if not backend or get_channel_layer() is None:
        return [Error('CHANNEL_LAYERS has no "default".', id="realtime.E003")]
    if backend == IN_MEMORY and not settings.DEBUG:
        hint = "Use apps.realtime.layers.NotificationChannelLayer."
        return [Error("The channel layer ends at the process.", hint=hint, id="realtime.E004")]
    if not isinstance(get_channel_layer(), NotificationChannelLayer):
        hint = "Sockets that idle may die, and join only while the layer is there."
        return [Warning(f"The channel layer is {backend}.", hint=hint, id="realtime.W001")]
    return []
