"""System checks: `manage.py check` speaks first."""

from inspect import getattr_static
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.utils.module_loading import import_string
from model_utils.tracker import FieldTracker

from .announcers import announcers, is_ready
from .conf import outbox_settings


@register(Tags.compatibility)
def settings_are_sound(**_: Any) -> list[CheckMessage]:
    """The dictionary ``OUTBOX`` has known keys, and its paths lead somewhere."""
    try:
        conf = outbox_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="outbox.E001")]
    found: list[CheckMessage] = []
    for key in ("BELL", "REPLAY", "JSON_ENCODER"):
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
