"""
The places through which the ORM writes rows: methods of Django's, wrapped once.

They are wrapped at the root, where every path ends: whatever a model, a manager or a queryset class
overrides calls them, somebody else's model has them too, and a `FieldTracker` wraps them. That is why
it happens before the first model is made. For models that aren't live, nothing changes.
"""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.sql import DeleteQuery
from model_utils import FieldTracker

from .announcers import affected

# What captures is imported when it is used: it needs the outbox's model, and here there is none yet.
# ruff: noqa: PLC0415


@cache
def install() -> None:
    """Wrap Django's methods. Asked again, do nothing."""
    methods: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (Model, "save_base", _saving),
        (Model, "_save_table", _saving_table),
        (Model, "_do_update", _updating_row),
        (QuerySet, "update", _updating),
        (QuerySet, "bulk_create", _creating),
        (QuerySet, "abulk_create", _creating_async),
        (Collector, "can_fast_delete", _collecting),
        (Collector, "delete", _deleting),
        (DeleteQuery, "delete_batch", _deleting_batch),
        (FieldTracker, "contribute_to_class", _tracking),
    ]
    for owner, name, wrap in methods:
        original = getattr(owner, name)
        setattr(owner, name, wraps(original)(wrap(original)))


def _saving(original: Any) -> Any:
    def save_base(
        self: Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> None:
        if raw or not affected(type(self)):
            original(self, raw, force_insert, force_update, using, update_fields)
            return
        from .saves import save

        save(original, self, force_insert, force_update, using, update_fields)

    return save_base


def _saving_table(original: Any) -> Any:
    def _save_table(
        self: Model,
        raw: bool = False,
        cls: Any = None,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> Any:
        if raw:
            return original(self, raw, cls, force_insert, force_update, using, update_fields)
        from .saves import save_table

        return save_table(original, self, cls, force_insert, force_update, using, update_fields)

    return _save_table


def _updating_row(original: Any) -> Any:
    def _do_update(self: Model, *args: Any) -> Any:
        from .saves import update_row

        return update_row(original, self, *args)

    return _do_update


def _updating(original: Any) -> Any:
    def update(self: Any, **kwargs: Any) -> Any:
        if not affected(self.model):
            return original(self, **kwargs)
        from .bulk import update

        return update(original, self, kwargs)

    return update


def _creating(original: Any) -> Any:
    def bulk_create(
        self: Any,
        objs: Any,
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Any = None,
        unique_fields: Any = None,
        *,
        announce: bool = True,
    ) -> Any:
        options = {
            "batch_size": batch_size,
            "ignore_conflicts": ignore_conflicts,
            "update_conflicts": update_conflicts,
            "update_fields": update_fields,
            "unique_fields": unique_fields,
        }
        if not announce or not affected(self.model):
            return original(self, objs, **options)
        from .bulk import bulk_create

        return bulk_create(original, self, objs, options)

    return bulk_create


def _creating_async(original: Any) -> Any:
    async def abulk_create(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(self.bulk_create)(*args, **kwargs)

    return abulk_create


def _collecting(original: Any) -> Any:
    def can_fast_delete(self: Any, objs: Any, from_field: Any = None) -> Any:
        # What is deleted unread, by a condition, can't be announced.
        model = objs._meta.model if hasattr(objs, "_meta") else getattr(objs, "model", None)
        if model is not None and affected(model):
            return False
        return original(self, objs, from_field)

    return can_fast_delete


def _deleting(original: Any) -> Any:
    def delete(self: Any) -> Any:
        if not any(map(affected, (*self.data, *(field.model for field, _ in self.field_updates)))):
            return original(self)
        from .deletions import delete

        return delete(original, self)

    return delete


def _deleting_batch(original: Any) -> Any:
    def delete_batch(self: Any, pk_list: Any, using: str) -> Any:
        if not affected(self.get_meta().model):
            return original(self, pk_list, using)
        from .deletions import delete_batch

        return delete_batch(original, self, pk_list, using)

    return delete_batch


def _tracking(original: Any) -> Any:
    def contribute_to_class(self: Any, cls: Any, name: str) -> None:
        original(self, cls, name)
        # Of a tracker that an abstract model declares nothing would be left, for the check to see.
        if cls._meta.abstract:
            setattr(cls, name, self)

    return contribute_to_class
