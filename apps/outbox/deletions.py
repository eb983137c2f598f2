"""Deletions: what Django's collector is about to delete, cascades included, read before it is gone."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from django.db import models, transaction

from .announcers import Announcer, affected
from .capture import Change, capture_changes, differences
from .stored import Rows, locked, shared


def delete(original: Callable[[Any], Any], collector: Any) -> Any:
    """
    Delete what a collector holds by Django's ``original``, and capture what becomes of live objects.

    The doomed rows are locked and read by one query for each model. Rows that lose a foreign key
    Django updates through a queryset, where they are seen, or, had it read them already, here.
    """
    using = collector.using
    with transaction.atomic(using=using, savepoint=False):
        doomed = [
            (model, locked(model, using, for_deletion=True, pk__in=keys))
            for model, keys in _doomed(collector)
        ]
        updated = [(own, _around(own, rows, using)) for own, rows in _updated(collector, using)]
        result = original(collector)
        changes = [
            Change(announcer=announcer, before=row, after=None)
            for model, rows in doomed
            for announcer in deleted(model)
            for row in rows.values()
        ]
        for own, before in updated:
            after = _around(own, locked(own, using, pk__in=list(before[own])), using)
            for announcer in affected(own):
                changes += differences(announcer, before[announcer.model], after[announcer.model])
        capture_changes(changes, using=using)
    return result


def deleted(model: type[models.Model]) -> list[Announcer]:
    """Return those whose objects cease to be with a row of ``model``."""
    return [a for a in affected(model) if a.model is model._meta.concrete_model]


def _doomed(collector: Any) -> Iterable[tuple[Any, set[Any]]]:
    """
    Return the live models that a collector deletes rows of, each with their primary keys.

    What hangs on an object comes before the object, as everywhere: nobody waits in a circle.
    """
    doomed: dict[Any, set[Any]] = {}
    for model, instances in reversed(collector.data.items()):
        if deleted(model):
            # A row may be there as a proxy's, and again as its own model's.
            keys = doomed.setdefault(model._meta.concrete_model, set())
            keys.update(instance.pk for instance in instances)
    return doomed.items()


def _updated(collector: Any, using: str) -> Iterator[tuple[Any, Rows]]:
    """Yield the live rows, by model, that the collector is going to update one by one."""
    for found in chain.from_iterable(collector.field_updates.values()):
        is_lazy = isinstance(found, models.QuerySet) and found._result_cache is None
        for own in {type(o)._meta.concrete_model for o in (() if is_lazy else found)}:
            if affected(own):
                yield own, locked(own, using, pk__in=[o.pk for o in found])


def _around(own: Any, rows: Rows, using: str) -> dict[Any, Rows]:
    return shared([announcer.model for announcer in affected(own)], own, rows, using)
