"""System checks of the object types and their models."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.db import DEFAULT_DB_ALIAS, router
from model_utils.tracker import FieldTracker

from ..exceptions import UnknownObjectTypeError
from ..types.live_models import all_announcers
from ..types.refusals import refusals
from ..types.registry import object_types, owner_type, subscribable_names, types_of
from ..types.shown_paths import EVERYTHING, shown_path


@register()
def types_are_registered(**_: Any) -> list[CheckMessage]:
    """Check that each registration succeeded."""
    hint = "Correct the class in live.py. Until then neither workers nor sockets start."
    return [Error(str(error), hint=hint, id="pillarbox.E004") for error in refusals]


@register(Tags.models)
def models_have_one_tracker(**_: Any) -> list[CheckMessage]:
    """Check that each live model has at most one `FieldTracker`."""
    found: list[CheckMessage] = []
    for model in {announcer.model: None for announcer in all_announcers()}:
        own = sorted(n for n, value in vars(model).items() if isinstance(value, FieldTracker))
        if len(own) > 1:
            text = f"{model.__name__} has several trackers: {', '.join(own)}."
            hint = "Declare one FieldTracker with all fields whose change is to be announced."
            found.append(Error(text, obj=model, hint=hint, id="pillarbox.E008"))
    return found


@register(Tags.models)
def live_models_are_drained(**_: Any) -> list[CheckMessage]:
    """Check that each live model is written to the database whose outbox the workers drain."""
    hint = f"Route it to {DEFAULT_DB_ALIAS!r}, or don't register it."
    return [
        Error(
            f"{announcer.model.__name__} is written to {alias!r}, whose outbox no worker drains.",
            obj=announcer.model,
            hint=hint,
            id="pillarbox.E005",
        )
        for announcer in all_announcers()
        if (alias := router.db_for_write(announcer.model)) != DEFAULT_DB_ALIAS
    ]


@register()
def objects_are_read_where_they_are_written(**_: Any) -> list[CheckMessage]:
    """Check that neither objects nor users are read from a replica, which is older than a position."""
    hint = f"Let the database router read the users and the models of object types from {DEFAULT_DB_ALIAS!r}."
    models: dict[str, Any] = {f"Objects of {kind.name!r}": kind.model for kind in object_types()}
    return [
        Error(
            f"{name} are read from {alias!r}, which may lag behind.",
            hint=hint,
            id="pillarbox.E111",
        )
        for name, model in [*models.items(), ("Users", get_user_model())]
        if (alias := router.db_for_read(model)) != DEFAULT_DB_ALIAS
    ]


@register()
def collections_have_owners(**_: Any) -> list[CheckMessage]:
    """Check that each collection's owner is of a registered type, which names and protects it."""
    found: list[CheckMessage] = []
    for name in subscribable_names():
        try:
            owner_type(name)
        except UnknownObjectTypeError as error:
            hint = "Register a type for the model that the foreign key leads to."
            found.append(Error(str(error), hint=hint, id="pillarbox.E105"))
    return found


@register()
def whole_objects_are_live(**_: Any) -> list[CheckMessage]:
    """Check that rows of which `shows` names everything are of a registered type."""
    hint = "Register a type for their model, or name the columns that the payload shows."
    return [
        Error(
            f"`shows` of {kind.name!r} has {path!r}, but {found.model.__name__} is not live.",
            hint=hint,
            id="pillarbox.E107",
        )
        for kind in object_types()
        for path in kind.shows
        if (found := shown_path(kind.model, path)) is not None
        and found.column == EVERYTHING
        and not types_of(found.model)
    ]


@register()
def collections_hide_no_objects(**_: Any) -> list[CheckMessage]:
    """Check that no type restricts objects within a collection: its subscribers see all its objects."""
    hint = "Register the restricted content as a type of its own, without collections."
    return [
        Warning(
            f"{kind.name!r} has collections, and also decides by {', '.join(sorted(others))} who may see an"
            " object: a user who may see the owner of a collection sees all objects in it.",
            hint=hint,
            id="pillarbox.W103",
        )
        for kind in object_types()
        if kind.collections
        and (others := set(kind.visibility_fields) - set(kind.collections.values()))
    ]
