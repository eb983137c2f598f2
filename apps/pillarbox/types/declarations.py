"""Checks of a declared object type: its fields suit their purpose, and database triggers can follow it."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db import models
from django.db.models.sql import Query

from ..exceptions import RegistrationError
from .annotations import annotation_fields
from .grants import link_to_users
from .lookups import can_find, is_secret
from .object_types import ObjectType
from .shown_paths import shown_path
from .shown_tables import shown_tables

#: What asks the database for other rows.
QUERIES = (models.QuerySet, models.Subquery, Query)


def check_declaration(kind: ObjectType) -> None:
    """
    Check an object type before it is registered.

    Raises RegistrationError if the model is a proxy; if the primary key is neither an integer nor a UUID, or
    if its field converts values; if a declared field doesn't exist or doesn't suit its purpose; or if a
    trigger can't follow an override.
    """
    _check_model(kind)
    _check_primary_key(kind)
    _check_collections(kind)
    _check_visibility_fields(kind)
    _check_omit(kind)
    _check_shows(kind)
    _check_where(kind)
    _check_annotations(kind)
    _check_grants(kind)
    _check_code(kind)


def _check_model(kind: ObjectType) -> None:
    model: Any = kind.model
    if model._meta.proxy:
        raise RegistrationError(
            f"`model` of {kind.name}: {model.__name__} is a proxy, and has no table of its own. "
            f"Write `model = {model._meta.concrete_model.__name__}`."
        )


def _check_primary_key(kind: ObjectType) -> None:
    field, model = kind.key_field, kind.model.__name__
    if not isinstance(field, (models.IntegerField, models.UUIDField)):
        raise RegistrationError(
            f"Expected an integer or UUID as primary key of {model}, got {type(field).__name__}."
        )
    if _converts(field):
        raise RegistrationError(
            f"The primary key of {model} is a {type(field).__name__}, which converts its values. "
            "A database trigger writes the key as the database has it."
        )


def _converts(field: Any) -> bool:
    """Return whether a primary key's Python value may differ from the database's integer or UUID."""
    plain = (models.IntegerField.to_python, models.UUIDField.to_python)
    return hasattr(field, "from_db_value") or type(field).to_python not in plain


def _check_collections(kind: ObjectType) -> None:
    fields = _foreign_keys(kind)
    for name in kind.collections.values():
        # An owner's stream and public id are made of its primary key.
        if name not in fields or not fields[name].target_field.primary_key:
            raise _error(kind, "collections", name, "a foreign key to a primary key")


def _check_visibility_fields(kind: ObjectType) -> None:
    columns = {one.name for one in kind.model._meta.concrete_fields if _is_stored(one)}
    for name in sorted(set(kind.visibility_fields) - columns):
        raise _error(kind, "visibility_fields", name, "a field with a column that is stored")


def _is_stored(field: Any) -> bool:
    """Return whether a trigger sees the values of a field. It sees no virtual columns."""
    return not field.generated or bool(field.db_persist)


def _check_omit(kind: ObjectType) -> None:
    fields = kind.model._meta.concrete_fields
    for name in sorted(set(kind.omit).difference(*((one.name, one.attname) for one in fields))):
        raise _error(kind, "omit", name, "a field with a column")
    # An image with these fields shows if an object has moved since.
    deciding = {*kind.collections.values(), *kind.visibility_fields}
    for one in fields:
        if one.name in deciding and {one.name, one.attname} & set(kind.omit):
            raise _error(kind, "omit", one.name, "a field that doesn't decide who sees an object")


def _check_shows(kind: ObjectType) -> None:
    for path in kind.shows:
        if shown_path(kind.model, path) is None:
            raise _error(kind, "shows", path, "relations, and a column or * at the end")
    _check_targets(kind, "shows", [table.key for table in shown_tables(kind.announcer(), ())])


def _check_where(kind: ObjectType) -> None:
    if kind.where and kind.model._meta.parents:
        raise RegistrationError(
            f"`where` of {kind.name}: the objects have rows in several tables, and a trigger sees only one."
        )
    if any(isinstance(part, QUERIES) for part in kind.where.flatten()):
        raise RegistrationError(
            f"`where` of {kind.name}: it asks for other rows, whose changes would not be noticed."
        )
    columns = {name for one in kind.model._meta.concrete_fields for name in (one.name, one.attname)}
    for name in sorted(kind.where.referenced_base_fields - {"pk", *columns}):
        raise _error(kind, "where", name, "columns of its own")
    try:
        Query(kind.model).build_where(kind.where)
    except (FieldError, TypeError, ValueError, ValidationError) as error:
        raise RegistrationError(f"`where` of {kind.name}: {error}") from None
    for field in kind.announcer().condition_fields:
        if not _is_stored(field):
            raise _error(kind, "where", field.name, "columns that are stored")


def _check_annotations(kind: ObjectType) -> None:
    try:
        annotation_fields(kind.annotations, kind.model)
    except (FieldError, TypeError, ValueError) as error:
        raise RegistrationError(f"`annotations` of {kind.name}: {error}") from None


def _check_grants(kind: ObjectType) -> None:
    for name in kind.grants:
        if (link := link_to_users(kind.model, name)) is None:
            raise _error(kind, "grants", name, "a relation to users by way of foreign keys")
        _check_targets(kind, "grants", [link])


def _check_code(kind: ObjectType) -> None:
    """Check that no Python code decides what a database trigger must know."""
    if type(kind).streams is not ObjectType.streams:
        raise RegistrationError(
            f"{type(kind).__name__} overrides streams(), which a database trigger can't call. "
            "Declare `collections` instead."
        )
    columns = {field.attname for field in kind.model._meta.concrete_fields}
    if unknown := sorted(kind.announcer().tracked_attributes - columns):
        raise RegistrationError(
            f"The FieldTracker of {kind.model.__name__} tracks {unknown[0]!r}, which is not a column. "
            "A database trigger doesn't see it change. Track the columns from which it is computed."
        )


def _check_targets(kind: ObjectType, option: str, keys: Iterable[Any]) -> None:
    """Check that each key's value, as text, finds the object that it points to, and isn't secret."""
    omitted = {kind.model._meta.get_field(name) for name in kind.omit}
    for key in keys:
        target = key
        while target.remote_field is not None:
            target = target.target_field
        if not can_find(target):
            raise RegistrationError(
                f"`{option}` of {kind.name}: {key.model.__name__}.{key.name} has values of "
                f"{target.model.__name__}.{target.name}, which are neither text, nor integers, nor UUIDs."
            )
        if target in omitted or is_secret(target):
            raise RegistrationError(
                f"`{option}` of {kind.name}: the outbox would contain values of "
                f"{target.model.__name__}.{target.name}, which are secret or omitted. Let foreign keys refer "
                "to another column, such as an integer as primary key."
            )


def _foreign_keys(kind: ObjectType) -> dict[str, Any]:
    fields: Iterable[Any] = kind.model._meta.fields
    return {field.name: field for field in fields if field.remote_field is not None}


def _error(kind: ObjectType, option: str, name: str, expected: str) -> RegistrationError:
    return RegistrationError(
        f"`{option}` of {kind.name}: expected {expected}, got {kind.model.__name__}.{name}."
    )
