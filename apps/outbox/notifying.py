"""Where every save of a live model passes: what it announces is captured here."""

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router, transaction
from model_utils import FieldTracker

from .capture import Announcer, capture_change
from .payload import storable

announcers: dict[type[models.Model], Announcer] = {}


class Notifying(models.Model):
    """
    Announces its saves and deletions once its type is registered; needs a `FieldTracker`, ``tracker``.

    A save announces if a tracked field will differ from what the database holds. What is announced
    is what the database then holds, if and only if the transaction commits.
    Raises PayloadError, before any SQL, if a value can't be stored or sent.

    Not seen: ``QuerySet.update``, ``bulk_create``, ``bulk_update``, raw SQL and fixtures.
    """

    tracker: FieldTracker

    class Meta:
        abstract = True

    def save_base(
        self,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        using = using or router.db_for_write(type(self), instance=self)
        announcer = None if raw else announcers.get(self._meta.concrete_model or type(self))
        written = _written(self, update_fields)
        if announcer is not None:
            # Before the transaction is entered: what is refused leaves the caller's usable.
            _refuse_unstorable(self, written, announcer.object_type)
        with transaction.atomic(using=using, savepoint=False):
            change = None
            if announcer is not None:
                inserting = bool(force_insert) or _is_inserted(self)
                in_memory = update_fields is None and not any(map(_is_expression, written.values()))
                change = _Change(self, announcer, using, written, in_memory, inserting)
            super().save_base(
                raw=raw,
                force_insert=force_insert,
                force_update=force_update,
                using=using,
                update_fields=update_fields,
            )
            if change is not None:
                change.capture()


def stored(model: type[models.Model], pk: Any, *, using: str) -> Any:
    """
    Return the object as the database has it, its row locked; None if there is none.

    Under the lock, the ids of the notifications that follow are drawn in commit order. The lock
    is the one an UPDATE takes; foreign keys to the row don't wait for it.
    """
    rows = model._base_manager.using(using).select_for_update(no_key=True, of=("self",))
    return rows.filter(pk=pk).first()


def _is_inserted(instance: models.Model) -> bool:
    """Whether Django will INSERT without trying an UPDATE first."""
    key = instance._meta.pk
    return instance._state.adding and (
        instance.pk is None or key.has_default() or key.has_db_default()
    )


class _Change:
    """One save, looked at before it (what will change) and after it (what is now stored)."""

    def __init__(
        self,
        instance: Notifying,
        announcer: Announcer,
        using: str,
        written: dict[str, Any],
        in_memory: bool,
        inserting: bool,
    ) -> None:
        self.instance = instance
        self.announcer = announcer
        self.using = using
        self.written = written
        self.in_memory = in_memory
        self.before: list[str] | None = None
        self.happens = True
        if inserting:
            self.before = []
        elif not self._tracker_knows():
            self._ask_the_database()

    def capture(self) -> None:
        """Write the notifications, from what the database now holds."""
        if not self.happens:
            return
        model = type(self.instance)
        now = self.instance if self.in_memory else stored(model, self.instance.pk, using=self.using)
        after = self.announcer.streams(now)
        capture_change(
            self.announcer,
            self.instance.pk,
            before=after if self.before is None else self.before,
            after=after,
            payload=self.announcer.payload(now),
            using=self.using,
        )

    def _tracker_knows(self) -> bool:
        """Whether the instance alone proves that a row changes, and stays in its streams."""
        tracker = self.instance.tracker
        if self.instance._state.adding or self.announcer.deciding & self.written.keys():
            return False
        return any(
            tracker.has_changed(field)
            and _differs(self.instance, attribute, tracker.previous(field))
            for field, attribute in tracker.field_map.items()
            if attribute in self.written
        )

    def _ask_the_database(self) -> None:
        row = stored(type(self.instance), self.instance.pk, using=self.using)
        if row is None:
            self.before = []
            return
        self.before = self.announcer.streams(row)
        tracked = set(self.instance.tracker.field_map.values())
        self.happens = any(
            _differs(self.instance, attribute, getattr(row, attribute))
            for attribute in self.written
            if attribute in tracked
        )


def _written(instance: models.Model, update_fields: Iterable[str] | None) -> dict[str, Any]:
    """Return the attributes that a save writes, with the values in memory."""
    return {
        field.attname: instance.__dict__[field.attname]
        for field in instance._meta.concrete_fields
        if field.attname in instance.__dict__
        and (update_fields is None or {field.name, field.attname} & set(update_fields))
    }


def _refuse_unstorable(instance: Notifying, written: dict[str, Any], object_type: str) -> None:
    tracked = set(instance.tracker.field_map.values())
    for attribute, value in written.items():
        # PostgreSQL takes a NaN, and JSON doesn't; in what isn't announced it is nobody's business.
        if attribute in tracked or isinstance(value, str):
            storable(value, f"{object_type}.{attribute}")


def _differs(instance: models.Model, attribute: str, previous: Any) -> bool:
    """Whether a save changes a stored value; "2" in memory is the same as a stored 2."""
    value = instance.__dict__[attribute]
    field: Any = instance._meta.get_field(attribute)
    if _is_expression(value):
        return True
    try:
        return bool(field.to_python(value) != previous)
    except ValidationError:  # the database will say what it thinks of it
        return True


def _is_expression(value: Any) -> bool:
    return hasattr(value, "resolve_expression")
