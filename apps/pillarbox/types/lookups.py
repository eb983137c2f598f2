"""Lookups that find objects by a value in a captured row, and the streams of such rows."""

import re
from typing import Any

from django.db import models

#: Names of models and columns that hold secrets.
SECRET = re.compile(
    r"token\.(?:key|digest)$|\..*(?:token|secret|password|session_?key|api_?key)", re.IGNORECASE
)


def lookup_of(model: type[models.Model], field: Any) -> str:
    """
    Return the lookup that finds objects of ``model`` by a value of ``field``; empty for the primary key.

    ``field`` belongs to the model, an ancestor or a descendant.
    """
    if _root(field) is _root(model._meta.pk):
        return ""
    steps = [] if issubclass(model, field.model) else field.model._meta.get_path_from_parent(model)
    return "__".join([*(step.join_field.name for step in steps), field.name])


def stream_prefix(name: str, lookup: str) -> str:
    """
    Return the first part of the stream names of rows with a lookup; without one, ``name`` itself.

    No type and no collection has such a name, so these streams hold nothing else.
    """
    return f"{name}/{lookup}" if lookup else name


def can_find(field: Any) -> bool:
    """Return whether objects can be found by a column's value as text."""
    kinds = (models.CharField, models.TextField, models.IntegerField, models.UUIDField)
    return isinstance(field, kinds) and not hasattr(field, "from_db_value")


def is_secret(field: Any) -> bool:
    """Return whether a column holds secrets, judged by its name: ``Token.key``, ``Session.session_key``."""
    return bool(SECRET.search(f"{field.model.__name__}.{field.name}")) and not isinstance(
        field, models.IntegerField
    )


def _root(field: Any) -> Any:
    """Follow parent links (multi-table inheritance) to the field that holds the value."""
    while field.remote_field is not None and field.remote_field.parent_link:
        field = field.target_field
    return field
