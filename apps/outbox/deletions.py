"""Deletions: what Django's collector is about to delete, cascades included, read before it is gone."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from django.db import models, transaction

from .announcers import Announcer, affected
from .capture import Change, capture_changes, differences, doomed
from .stored import Rows, locked, shared


def delete(original: Callable[[Any], Any], collector: Any) -> Any:
    """
    Delete what a collector holds by Django's ``original``, and capture what becomes of live objects.

    The doomed rows are locked and read by one query for each model. Rows that lose a foreign key
    Django updates through a queryset, where they are seen, or, had it read them already, here.
    """
    using = collector.using
    with transaction.atomic(using=using, savepoint=False):
        # A receiver may delete, within a deletion, what that is about to delete.
        known = doomed.get() or {}
        known.update(_doomed(collector, using))
        token = doomed.set(known)
        try:
            updated = [(own, _around(own, rows, using)) for own, rows in _updated(collector, using)]
            result = original(collector)
        finally:
            doomed.reset(token)
        for own, before in updated:
            after = _around(own, locked(own, using, pk__in=list(before[own])), using)
            changes = (differences(a, before[a.model], after[a.model]) for a in affected(own))
            capture_changes(chain.from_iterable(changes), using=using)
    return result


def delete_batch(original: Callable[..., int], query: Any, keys: Sequence[Any], using: str) -> int:
    """
    Delete rows by Django's ``original``, and capture that those are gone which `delete` has read.

    Receivers of ``pre_delete`` have done what they do to the rows, those of ``post_delete`` come next.
    """
    known = doomed.get() or {}
    read = [(a, key) for a in deleted(query.model) for key in keys if (a, key) in known]
    unsure = {key for a, key in read if known[a, key] is None}
    own: Any = query.model._meta.concrete_model
    again = locked(own, using, for_deletion=True, pk__in=unsure) if unsure else {}
    count = original(query, keys, using)
    gone = [(a, again.get(key) if key in unsure else known[a, key]) for a, key in read]
    # A row may be there as a proxy's, and again as its own model's: it is gone once.
    known.update(dict.fromkeys(read))
    changes = (Change(announcer=a, before=row, after=None) for a, row in gone if row is not None)
    capture_changes(changes, using=using)
    return count


def deleted(model: type[models.Model]) -> list[Announcer]:
    """Return those whose objects cease to be with a row of ``model``."""
    return [a for a in affected(model) if a.model is model._meta.concrete_model]


def _doomed(collector: Any, using: str) -> Iterable[tuple[tuple[Announcer, Any], Any]]:
    """
    Yield the live rows that a collector deletes, locked, each by its announcer and primary key.

    What hangs on an object comes before the object, as everywhere: nobody waits in a circle.
    """
    for model, instances in reversed(collector.data.items()):
        if announcers := deleted(model):
            keys = [instance.pk for instance in instances]
            own: Any = model._meta.concrete_model
            for key, row in locked(own, using, for_deletion=True, pk__in=keys).items():
                yield from (((announcer, key), row) for announcer in announcers)


def _updated(collector: Any, using: str) -> Iterator[tuple[Any, Rows]]:
    """Yield the live rows, by model, that the collector is going to update one by one."""
    for found in chain.from_iterable(collector.field_updates.values()):
        is_lazy = isinstance(found, models.QuerySet) and found._result_cache is None
        for own in {type(o)._meta.concrete_model for o in (() if is_lazy else found)}:
            if affected(own):
                yield own, locked(own, using, pk__in=[o.pk for o in found])


def _around(own: Any, rows: Rows, using: str) -> dict[Any, Rows]:
    return shared([announcer.model for announcer in affected(own)], own, rows, using)
