"""Rows as the database has them: what decides, and what is announced."""

import datetime
import enum
import json
import uuid
from collections.abc import Iterable
from functools import cache
from typing import Any

from django.db import connections, models

#: Rows of one model, by primary key.
Rows = dict[Any, Any]

#: Types of values, and classes of fields, with which a column gives back what it was given.
_PLAIN = frozenset(
    {
        bool,
        int,
        str,
        float,
        datetime.datetime,
        datetime.date,
        datetime.time,
        datetime.timedelta,
        uuid.UUID,
    }
)
_FAITHFUL = frozenset(
    {
        models.AutoField,
        models.BigAutoField,
        models.SmallAutoField,
        models.BooleanField,
        models.CharField,
        models.DateField,
        models.DateTimeField,
        models.DurationField,
        models.FloatField,
        models.IntegerField,
        models.TextField,
        models.TimeField,
        models.UUIDField,
    }
)
_CONVERTING = ("get_prep_value", "get_db_prep_value", "get_db_prep_save", "from_db_value")


def rows(model: type[models.Model], using: str) -> "models.QuerySet[Any]":
    """Return all rows of a model, whatever its managers leave out."""
    return models.QuerySet(model, using=using)


def locked(
    model: type[models.Model],
    using: str,
    *matching: models.Q,
    for_deletion: bool = False,
    **lookup: Any,
) -> Rows:
    """
    Return rows of a live model, locked until the transaction ends, by primary key and in its order.

    Under the lock, the ids of the notifications that follow are drawn in commit order. It is the lock
    that an UPDATE takes, and foreign keys to the rows don't wait for it, or that a DELETE takes. Of an
    object in several tables, each table's row is locked.
    """
    found = rows(model, using).select_for_update(no_key=not for_deletion)
    return {row.pk: row for row in found.filter(*matching, **lookup).order_by("pk")}


def shared(
    models_: Iterable[type[models.Model]], own: type[models.Model], known: Rows, using: str
) -> dict[type[models.Model], Rows]:
    """Return for each model its rows that share an object with the ``known`` ones of ``own``, locked."""
    found = {own: known}
    for model in models_:
        if model not in found:
            found[model] = locked(model, using, **related(model, own, list(known), using))
    return found


def locked_one(model: type[models.Model], using: str, pk: Any) -> Any:
    """
    Return the row of one primary key, as `locked` does; None if there is none.

    Each save asks for one: the SQL is made once, for making it takes longer than asking it.
    """
    sql = _select(model, using)
    if not sql:
        return next(iter(locked(model, using, pk=pk).values()), None)
    connection = connections[using]
    fields = model._meta.concrete_fields
    with connection.cursor() as cursor:
        cursor.execute(sql, [model._meta.pk.get_db_prep_value(pk, connection)])
        found = cursor.fetchone()
    if found is None:
        return None
    values = list(found)
    for place, field in enumerate(fields):
        for convert in field.get_db_converters(connection):
            values[place] = convert(values[place], field.cached_col, connection)
    return model.from_db(using, [field.attname for field in fields], values)


@cache
def _select(model: type[models.Model], using: str) -> str:
    """Return the SQL, with a placeholder for the key; empty, if it takes Django to make it."""
    fields = model._meta.concrete_fields
    if model._meta.parents or any(_is_special(type(field).select_format) for field in fields):
        return ""
    quote = connections[using].ops.quote_name
    columns = ", ".join(quote(str(field.column)) for field in fields)
    table, key = quote(model._meta.db_table), quote(str(model._meta.pk.column))
    return f"SELECT {columns} FROM {table} WHERE {key} = %s FOR NO KEY UPDATE"  # names of columns


def _is_special(select_format: Any) -> bool:
    return select_format is not models.Field.select_format


def related(
    model: type[models.Model], of: type[models.Model], keys: Any, using: str
) -> dict[str, Any]:
    """Return the lookup of the rows of ``model`` that share an object with those rows of ``of``."""
    if issubclass(model, of):
        # A descendant has its ancestors' fields.
        return {f"{of._meta.pk.name}__in": keys}
    shared = rows(of, using).filter(pk__in=keys)
    return {"pk__in": shared.values(model._meta.pk.name)}


def as_stored(model: type[models.Model], instance: models.Model, using: str) -> Any:
    """
    Return what reading back the row of an instance that was saved whole gives; None if only a look tells.

    Without a query, and without what the instance has cached of other rows. Only the database knows a
    field that is deferred or computed there, and a value that its column may not give back as it is.
    """
    known = vars(instance)
    names, values = [], []
    for field in model._meta.concrete_fields:
        value = known.get(field.attname, ...)  # which no column gives back
        if isinstance(value, enum.Enum):
            value = value.value
        if value is not None and not _comes_back(field, value):
            return None
        names.append(field.attname)
        values.append(value)
    return model.from_db(using, names, values)


def same(field: Any, one: Any, other: Any) -> bool:
    """Whether two values of a field are one for the database: in JSON, 1 and true are two."""
    if isinstance(field, models.JSONField):
        return _json(field, one) == _json(field, other)
    return bool(one == other)


def _json(field: models.JSONField, value: Any) -> str:
    return json.dumps(value, cls=field.encoder, sort_keys=True)


def written(instance: models.Model, update_fields: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the attributes that a save writes, with the values in memory."""
    names = None if update_fields is None else set(update_fields)
    return {
        field.attname: instance.__dict__[field.attname]
        for field in instance._meta.concrete_fields
        if field.attname in instance.__dict__
        and (names is None or field.name in names or field.attname in names)
    }


def _comes_back(field: Any, value: Any) -> bool:
    if type(value) is datetime.datetime and value.tzinfo is not datetime.UTC:
        return False
    is_plain = type(value) in _PLAIN and type(field.to_python(value)) is type(value)
    return is_plain and is_faithful(field)


@cache
def is_faithful(field: Any) -> bool:
    """Whether a column gives back what it was given: Django's own do, if nothing of them is overridden."""
    if field.generated or field.remote_field is not None:
        return not field.generated and is_faithful(field.target_field)
    own = type(field)
    base = next((known for known in own.__mro__ if known in _FAITHFUL), None)
    return base is not None and all(
        getattr(own, name, None) is getattr(base, name, None) for name in _CONVERTING
    )
