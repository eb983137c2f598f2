"""Current rows of live models, including rows that the model's managers leave out."""

from collections.abc import Sequence
from typing import Any

from django.db import models

from .announcers import Announcer

#: RowsByKey of one model, by primary key.
RowsByKey = dict[Any, Any]


def all_rows(model: type[models.Model], using: str) -> "models.QuerySet[Any]":
    """Return all rows of a model."""
    return models.QuerySet(model, using=using)


def all_objects(announcer: Announcer, using: str) -> "models.QuerySet[Any]":
    """Return all objects of an announcer: the rows of its model that fulfil `where`."""
    return all_rows(announcer.model, using).filter(announcer.where)


def read_shown(announcer: Announcer, objects: Sequence[Any], using: str) -> None:
    """
    Read what payloads show besides the objects' own columns, as it is now, in a few queries for all objects.

    That are the rows of `shows`, and the values of `annotations`, which become attributes of the objects.
    """
    models.prefetch_related_objects(objects, *announcer.prefetch)
    if announcer.annotations:
        found = all_rows(announcer.model, using).filter(pk__in={one.pk for one in objects})
        annotated = found.annotate(**announcer.annotations)
        values = {row.pop("pk"): row for row in annotated.values("pk", *announcer.annotations)}
        for one in objects:
            vars(one).update(values.get(one.pk, {}))


def locked_objects(announcer: Announcer, using: str, **lookup: Any) -> RowsByKey:
    """
    Lock objects of an announcer until the transaction ends; return them by primary key, in its order.

    The lock is the one of an UPDATE, so inserts with foreign keys to these rows don't wait for it. With
    multi-table inheritance the rows of all tables are locked.
    """
    found = all_objects(announcer, using).select_for_update(no_key=True).filter(**lookup)
    return {row.pk: row for row in found.order_by("pk")}
