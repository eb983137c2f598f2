"""Bulk writes: sets of rows, looked at before and after one statement of Django's."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models, transaction
from django.db.models import BooleanField, Q
from django.db.models.expressions import RawSQL

from .announcers import affected, refuse_unstorable
from .capture import capture_changes, differences
from .exceptions import CaptureError
from .stored import as_stored, locked, rows, shared, written

Rows = dict[Any, Any]


def update(original: Callable[..., int], queryset: Any, values: dict[str, Any]) -> int:
    """
    Update the rows of a queryset by Django's ``original``, and capture what that changes.

    The rows are locked by key in key order, updated if they still match, and read back.
    Raises CaptureError for a primary key, PayloadError for a value that can't be stored or sent.
    """
    own = queryset.model._meta.concrete_model
    attributes = _attributes(own, values)
    touched = [a for a in affected(own) if a.is_computed or a.watched.keys() & attributes.keys()]
    if not touched or queryset.query.is_sliced or queryset.query.combinator:
        return original(queryset, **values)
    if own._meta.pk.attname in attributes:
        raise CaptureError(f"The primary key of {own.__name__} can't be updated: it is live.")
    refuse_unstorable(own, attributes)
    queryset._for_write = True
    using = queryset.db
    with transaction.atomic(using=using, savepoint=False):
        inner = queryset.order_by().values("pk")
        inner.query.select_for_update = False
        matching = locked(own, using, pk__in=inner)
        before = shared([a.model for a in touched], own, matching, using)
        count = original(queryset.filter(pk__in=list(matching)), **values)
        updated = locked(own, using, pk__in=list(matching))
        after = shared([a.model for a in touched], own, updated, using)
        changes = (differences(a, before[a.model], after[a.model]) for a in touched)
        capture_changes(chain.from_iterable(changes), using=using)
    queryset._result_cache = None
    return count


def bulk_create(
    original: Callable[..., Any], queryset: Any, objs: Iterable[Any], options: Mapping[str, Any]
) -> Any:
    """
    Insert objects by Django's ``original``, and capture the rows that this inserts or updates.

    Raises CaptureError for ``ignore_conflicts``, PayloadError for a value that can't be stored or sent.
    """
    own = queryset.model._meta.concrete_model
    verb = "UPDATE" if options["update_conflicts"] else "CREATE"
    announcers = [a for a in affected(own) if a.model is own and a.verbs & {verb, "CREATE"}]
    if not announcers:
        return original(queryset, objs, **options)
    unique = options["unique_fields"] or ["pk"]
    if options["ignore_conflicts"]:
        # How Django adds to a many-to-many relation; no two rows of its table are alike.
        unique = _pair(own)
    if options["ignore_conflicts"] and not unique:
        raise CaptureError(
            f"bulk_create(ignore_conflicts=True) can't say which {own.__name__} rows it inserts, so"
            " they can't be announced: use update_conflicts=True, or announce=False."
        )
    objs = list(objs)
    for instance in objs:
        refuse_unstorable(own, written(instance))
    queryset._for_write = True
    using = queryset.db
    insert = functools.partial(original, queryset, objs, **options)
    with transaction.atomic(using=using, savepoint=False):
        if options["update_conflicts"] or options["ignore_conflicts"]:
            created, before, after = _upsert(insert, own, objs, _matching(own, objs, unique), using)
        else:
            created = insert()
            before, after = {}, _inserted(own, created, using)
        changes = (differences(announcer, before, after) for announcer in announcers)
        capture_changes(chain.from_iterable(changes), using=using)
    return created


def _upsert(
    insert: Callable[[], Any], model: type[models.Model], objs: list[Any], matching: Q, using: str
) -> tuple[Any, Rows, Rows]:
    """
    Insert or update; return what ``insert`` returns, and the rows before and after.

    A row that was updated and that the look before didn't see is somebody else's, inserted after the
    look, or one of ours, given twice. What a second look finds is somebody else's.
    """
    was_there = RawSQL("NOT (xmax = 0)", (), output_field=BooleanField())
    everything = rows(model, using).annotate(_was_there=was_there).order_by("pk")
    fresh = [(instance, instance.pk, instance._state.adding) for instance in objs]
    before = locked(model, using, matching | _by_key(objs))
    while True:
        savepoint = _savepoint(using)
        created = insert()
        after = {row.pk: row for row in everything.filter(matching | _by_key(objs))}
        if all(row.pk in before or not row._was_there for row in after.values()):
            break
        transaction.savepoint_rollback(savepoint, using)
        for instance, pk, adding in fresh:
            instance.pk, instance._state.adding = pk, adding
        again = locked(model, using, matching | _by_key(objs))
        if again.keys() <= before.keys():
            savepoint, created = _savepoint(using), insert()
            after = {row.pk: row for row in everything.filter(matching | _by_key(objs))}
            break
        before = again
    transaction.savepoint_commit(savepoint, using)
    return created, before, after


def _savepoint(using: str) -> str:
    """Return a new savepoint. Django 6.1 renamed ``transaction.savepoint()``; this is what it calls."""
    savepoint = connections[using].savepoint()
    assert savepoint is not None  # there is one in every transaction
    return savepoint


def _by_key(objs: Iterable[Any]) -> Q:
    return Q(pk__in=[instance.pk for instance in objs if instance.pk is not None])


def _matching(model: type[models.Model], objs: Sequence[Any], names: Iterable[str]) -> Q:
    """Return the condition of the rows that objects to insert conflict with. NULL conflicts with nothing."""
    fields: Any = [model._meta.get_field(model._meta.pk.name if n == "pk" else n) for n in names]
    values = ({f.name: getattr(instance, f.attname) for f in fields} for instance in objs)
    same: list[Any] = [Q(**found) for found in values if None not in found.values()]
    return Q.create(same, connector=Q.OR) if same else Q(pk__in=[])


def _pair(model: type[models.Model]) -> Sequence[str]:
    """Return the two foreign keys of a many-to-many relation's own table; none of another model."""
    return model._meta.unique_together[0] if model._meta.auto_created else ()


def _inserted(model: type[models.Model], created: Iterable[Any], using: str) -> Rows:
    """Return the rows of objects that were inserted: from memory, where that is the same."""
    made = [(instance.pk, as_stored(model, instance, using)) for instance in created]
    unknown = [pk for pk, row in made if row is None]
    known = {row.pk: row for _, row in made if row is not None}
    return known | (locked(model, using, pk__in=unknown) if unknown else {})


def _attributes(model: type[models.Model], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an update by attribute; none if Django is going to refuse a name."""
    pk = model._meta.pk.name
    try:
        fields: Any = {n: model._meta.get_field(pk if n == "pk" else n) for n in values}
        return {fields[name].attname: value for name, value in values.items()}
    except (FieldDoesNotExist, AttributeError):
        return {}
