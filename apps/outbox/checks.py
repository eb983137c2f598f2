"""System checks: `manage.py check` speaks first."""

from inspect import getattr_static
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, InterfaceError, connections, router
from django.utils.module_loading import import_string
from model_utils.tracker import FieldTracker

from .announcers import announcers, is_ready
from .conf import outbox_settings
from .schema import defects, is_migrated

DURATIONS = (
    "RETENTION_SECONDS",
    "LOCK_IDLE_SECONDS",
    "BACKOFF_BASE_SECONDS",
    "BACKOFF_CEILING_SECONDS",
)


@register(Tags.compatibility)
def settings_are_sound(**_: Any) -> list[CheckMessage]:
    """The dictionary ``OUTBOX`` has known keys, and its paths lead somewhere."""
    try:
        conf = outbox_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="outbox.E001")]
    found: list[CheckMessage] = []
    for key in ("BELL", "REPLAY", "JSON_ENCODER", "REDACT"):
        path = getattr(conf, key)
        try:
            import_string(path) if path else None
        except ImportError as error:
            found.append(Error(f'OUTBOX["{key}"] can\'t be imported: {error}.', id="outbox.E002"))
    found += [
        Error(f'OUTBOX["{key}"] must be at least 1.', id="outbox.E003")
        for key in ("MAX_ATTEMPTS", "BATCH_ROWS", "BATCH_BYTES", "PRUNE_ROWS")
        if getattr(conf, key) < 1
    ]
    found += [
        Error(f'OUTBOX["{key}"] must be more than 0.', id="outbox.E009")
        for key in DURATIONS
        if getattr(conf, key) <= 0
    ]
    if conf.BACKOFF_BASE_SECONDS > conf.BACKOFF_CEILING_SECONDS:
        text = "OUTBOX's BACKOFF_BASE_SECONDS is above BACKOFF_CEILING_SECONDS."
        hint = "The first of these is the delay after one attempt, the second the longest there is."
        found.append(Error(text, hint=hint, id="outbox.E009"))
    return found


@register(Tags.compatibility)
def times_have_zones(**_: Any) -> list[CheckMessage]:
    """Times are moments, whatever the time zone of who reads them."""
    if settings.USE_TZ:
        return []
    hint = "Set USE_TZ = True; TIME_ZONE may be any."
    return [Error("The outbox needs times with zones.", hint=hint, id="outbox.E010")]


@register(Tags.compatibility)
def connections_are_kept_and_given_up(**_: Any) -> list[CheckMessage]:
    """The database's connections outlive a task, and none is waited for that is gone."""
    conf: dict[str, Any] = settings.DATABASES[DEFAULT_DB_ALIAS]
    options, age = conf.get("OPTIONS", {}), conf.get("CONN_MAX_AGE", 0)
    host = conf.get("HOST") or options.get("host", "")
    found: list[CheckMessage] = []
    if (
        host
        and not host.startswith("/")
        and not {"connect_timeout", "tcp_user_timeout"} <= set(options)
    ):
        text = "A database host that is gone is waited for until the system gives up: minutes, or hours."
        hint = (
            "Set connect_timeout and tcp_user_timeout in its OPTIONS, as config/settings.py does."
        )
        found.append(Warning(text, hint=hint, id="outbox.W001"))
    if age == 0 and not options.get("pool"):
        text = "Each drain, and each read for a socket, connects to the database anew."
        hint = "Set the database's CONN_MAX_AGE (60, say), or a pool in its OPTIONS."
        found.append(Warning(text, hint=hint, id="outbox.W002"))
    if age != 0 and not conf.get("CONN_HEALTH_CHECKS"):
        text = "After a restart of the database each kept connection fails once."
        hint = "Set the database's CONN_HEALTH_CHECKS."
        found.append(Warning(text, hint=hint, id="outbox.W003"))
    return found


@register(Tags.models)
def trackers_work(**_: Any) -> list[CheckMessage]:
    """A live model has one `FieldTracker` at most, declared where it works: on the model itself."""
    found: list[CheckMessage] = []
    for model in {announcer.model: None for announcer in announcers()}:
        attributes = {name: getattr_static(model, name) for name in dir(model)}
        trackers = {n: value for n, value in attributes.items() if isinstance(value, FieldTracker)}
        for name in (name for name, tracker in trackers.items() if not is_ready(tracker)):
            text = f"{model.__name__}.{name} doesn't track {model.__name__}."
            hint = "Declare the FieldTracker on the model itself, not on an abstract one."
            found.append(Error(text, obj=model, hint=hint, id="outbox.E004"))
        if len(own := sorted(trackers.keys() & vars(model).keys())) > 1:
            text = f"{model.__name__} has several trackers: {', '.join(own)}."
            hint = "Which fields count as a change? Declare one FieldTracker with all of them."
            found.append(Error(text, obj=model, hint=hint, id="outbox.E008"))
    return found


@register(Tags.models)
def live_models_are_drained(**_: Any) -> list[CheckMessage]:
    """Each live model is written to the database whose outbox the workers drain."""
    hint = f"Route it to {DEFAULT_DB_ALIAS!r}, or don't register it."
    return [
        Error(
            f"{announcer.model.__name__} is written to {alias!r}, whose outbox nobody drains.",
            obj=announcer.model,
            hint=hint,
            id="outbox.E005",
        )
        for announcer in announcers()
        if (alias := router.db_for_write(announcer.model)) != DEFAULT_DB_ALIAS
    ]


@register(Tags.database)
def database_is_postgresql(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """The outbox's database has advisory locks, and shows each statement what is committed."""
    connection = connections[DEFAULT_DB_ALIAS]
    if connection.vendor != "postgresql":
        return [Error("The outbox needs PostgreSQL.", id="outbox.E006")]
    level = settings.DATABASES[DEFAULT_DB_ALIAS].get("OPTIONS", {}).get("isolation_level")
    if level not in (None, 2):  # psycopg.IsolationLevel.READ_COMMITTED
        hint = "Remove isolation_level from the database's OPTIONS."
        return [Error("The outbox needs READ COMMITTED transactions.", hint=hint, id="outbox.E007")]
    return []


@register(Tags.database)
def tables_are_whole(databases: Any = None, **_: Any) -> list[CheckMessage]:
    """Each index and constraint of the outbox is there, and valid; once all migrations are applied."""
    if DEFAULT_DB_ALIAS not in (databases or ()):
        return []
    try:
        found = defects(using=DEFAULT_DB_ALIAS) if is_migrated(using=DEFAULT_DB_ALIAS) else []
    except (DatabaseError, InterfaceError) as error:
        hint = "`manage.py outbox doctor` says more."
        return [
            Error(f"The database can't be asked: {error}".rstrip(), hint=hint, id="outbox.E011")
        ]
    # Not errors: `migrate` makes these checks first, and may be what mends them.
    return [
        Warning(defect.what, hint=f"{defect.why} {defect.cure}", id="outbox.W004")
        for defect in found
    ]
