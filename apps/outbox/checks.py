"""System checks: `manage.py check` speaks first."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, connections, models
from django.utils.module_loading import import_string
from model_utils.tracker import FieldTracker

from .conf import outbox_settings
from .notifying import Notifying, announcers


@register(Tags.compatibility)
def settings_are_sound(**_: Any) -> list[CheckMessage]:
    """The dictionary ``OUTBOX`` has known keys, and its paths lead somewhere."""
    try:
        conf = outbox_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="outbox.E001")]
    found: list[CheckMessage] = []
    for key in ("BELL", "JSON_ENCODER"):
        path = getattr(conf, key)
        try:
            import_string(path) if path else None
        except ImportError as error:
            found.append(Error(f'OUTBOX["{key}"] can\'t be imported: {error}.', id="outbox.E002"))
    if conf.MAX_ATTEMPTS < 1 or conf.BATCH_ROWS < 1 or conf.PRUNE_ROWS < 1:
        found.append(
            Error(
                "MAX_ATTEMPTS, BATCH_ROWS and PRUNE_ROWS in OUTBOX must be at least 1.",
                id="outbox.E003",
            )
        )
    return found


@register(Tags.models)
def live_models_are_tracked(**_: Any) -> list[CheckMessage]:
    """Each live model is a `Notifying` with a `FieldTracker` of its own."""
    found: list[CheckMessage] = []
    for model in announcers:
        if not issubclass(model, Notifying):
            hint = "Add Notifying to its bases: class Ticket(Notifying, models.Model)."
            found.append(
                Error(
                    f"{model.__name__} is not a Notifying.", obj=model, hint=hint, id="outbox.E004"
                )
            )
        elif not _is_tracked(model):
            hint = 'Declare tracker = FieldTracker(["title", …]) on the model itself.'
            found.append(
                Error(
                    f"{model.__name__} has no FieldTracker of its own named tracker.",
                    obj=model,
                    hint=hint,
                    id="outbox.E005",
                )
            )
    return found


def _is_tracked(model: type[models.Model]) -> bool:
    return isinstance(model.__dict__.get("tracker"), FieldTracker)


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
