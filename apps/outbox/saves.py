"""Saves: looked at before, to know what will change, and after, to announce what is then stored."""

from collections.abc import Callable, Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router, transaction

from .announcers import Announcer, affected, refuse_unstorable
from .capture import Change, capture_changes
from .stored import as_stored, locked, locked_one, related, written

#: Attribute of an instance, while it is being saved.
SAVE = "_outbox_save"


def save(
    original: Callable[..., None],
    instance: models.Model,
    force_insert: Any,
    force_update: bool,
    using: str | None,
    update_fields: Iterable[str] | None,
) -> None:
    """
    Save an instance by Django's ``original``, and capture what that changes of live objects.

    Raises PayloadError, before any SQL, if a value can't be stored or sent.
    """
    using = using or router.db_for_write(type(instance), instance=instance)
    # Before the transaction is entered: what is refused leaves the caller's usable.
    refuse_unstorable(affected(type(instance)), written(instance, update_fields))
    outer = vars(instance).get(SAVE)
    try:
        with transaction.atomic(using=using, savepoint=False):
            vars(instance)[SAVE] = _Save(instance, using, update_fields)
            original(instance, False, force_insert, force_update, using, update_fields)
    finally:
        # A receiver of a signal may save what is being saved: the outer save goes on.
        vars(instance)[SAVE] = outer
        if outer is None:
            del vars(instance)[SAVE]


def save_table(
    original: Callable[..., bool], instance: models.Model, table: Any, force_insert: Any, *args: Any
) -> bool:
    """
    Write the instance's row of ``table``, a model, by Django's ``original``; return whether it was there.

    The tables of the instance's ancestors come first. Receivers of ``pre_save`` have done what they
    do to the instance; those of ``post_save`` may change the row again, and that is announced next.
    """
    seen = vars(instance).get(SAVE)
    if seen is None:
        return original(instance, False, table, force_insert, *args)
    seen.look(is_new=bool(force_insert) and table is _concrete(instance))
    updated = original(instance, False, table, force_insert, *args)
    if table is _concrete(instance):
        capture_changes(seen.changes(), using=seen.using)
    return updated


def update_row(
    original: Callable[..., bool], instance: models.Model, rows: Any, *args: Any
) -> bool:
    """Update a row of an instance by Django's ``original``; return whether there was one."""
    seen = vars(instance).get(SAVE)
    return original(instance, rows, *args) if seen is None else seen.update(original, rows, *args)


class _Save:
    """One save of one instance."""

    def __init__(
        self, instance: models.Model, using: str, update_fields: Iterable[str] | None
    ) -> None:
        self.instance = instance
        self.using = using
        self.update_fields = update_fields
        self.has_looked = False
        self.written: dict[str, Any] = {}
        #: What each announcer's row was; absent, if nothing happens to it; this, if only its update tells.
        self.before: dict[Announcer, Any] = {}
        #: What the instance takes its row to hold, of what decides where it is announced.
        self.expected: dict[str, Any] = {}
        self._rows: dict[type[models.Model], Any] = {}

    def look(self, *, is_new: bool) -> None:
        """Find out once what will change, from the instance where it knows, else from the row."""
        if self.has_looked:
            return
        self.has_looked = True
        is_new = is_new or _is_inserted(self.instance)
        self.written = written(self.instance, self.update_fields)
        for announcer in affected(type(self.instance)):
            if self._is_known(announcer):
                self.before[announcer] = self
                continue
            is_absent = is_new and issubclass(announcer.model, _concrete(self.instance))
            row = None if is_absent else self._row(announcer.model)
            if row is None or self._changes(announcer, row):
                self.before[announcer] = row

    def update(self, original: Callable[..., bool], rows: Any, *args: Any) -> bool:
        """
        Update the row if it is what the instance takes it for; else look at it first.

        So a save that changes no stream needs no read, and a stale instance misleads nobody.
        """
        for announcer, before in self.before.items():
            if before is self:
                if original(self.instance, rows.filter(**self.expected), *args):
                    return True
                self.before[announcer] = self._row(announcer.model)
        return original(self.instance, rows, *args)

    def changes(self) -> Iterable[Change]:
        """Return what has changed, as it is stored now."""
        self._rows.clear()
        for announcer, before in self.before.items():
            after = self._stored(announcer.model)
            if after is not None:  # else an ancestor was saved, whose object is none of this type
                before = after if before is self else before  # noqa: PLW2901  # it was where it is
                yield Change(announcer=announcer, before=before, after=after)

    def _is_known(self, announcer: Announcer) -> bool:
        """Whether the instance alone proves that its row changes, if it is where the instance thinks."""
        instance: Any = self.instance
        if announcer.tracker is None or instance._state.adding:
            return False
        if type(instance) is not announcer.model or announcer.model._meta.parents:
            return False
        # Asked field by field, a tracker looks for deferred fields each time; what it saved is at hand.
        saved = getattr(instance, announcer.tracker.name).saved_data
        changed = {
            attribute
            for name, attribute in announcer.tracker.field_map.items()
            if attribute in self.written
            and name in saved
            and _differs(announcer.watched[attribute], self.written[attribute], saved[name])
        }
        decisive = announcer.decisive & self.written.keys()
        if not changed or changed & decisive or not decisive <= announcer.tracked:
            return False
        self.expected |= {attribute: self.written[attribute] for attribute in decisive}
        return True

    def _changes(self, announcer: Announcer, row: models.Model) -> bool:
        return any(
            _differs(field, self.written[attribute], vars(row)[attribute])
            for attribute, field in announcer.watched.items()
            if attribute in self.written
        )

    def _stored(self, model: type[models.Model]) -> Any:
        """Return the row as it is after the save: from memory, where that is the same."""
        known = self.update_fields is None and isinstance(self.instance, model)
        return (as_stored(model, self.instance, self.using) if known else None) or self._row(model)

    def _row(self, model: type[models.Model]) -> Any:
        """Return the row as the database has it, locked; None if there is none."""
        if model not in self._rows:
            self._rows[model] = self._read(model)
        return self._rows[model]

    def _read(self, model: type[models.Model]) -> Any:
        if isinstance(self.instance, model):
            key = _key(self.instance, model)
            return None if key is None else locked_one(model, self.using, key)
        shared = related(model, _concrete(self.instance), [self.instance.pk], self.using)
        return next(iter(locked(model, self.using, **shared).values()), None)


def _concrete(instance: models.Model) -> Any:
    return type(instance)._meta.concrete_model


def _is_inserted(instance: models.Model) -> bool:
    """Whether Django will INSERT without trying an UPDATE first."""
    pk = instance._meta.pk
    is_new = _key(instance, type(instance)) is None or pk.has_default() or pk.has_db_default()
    return instance._state.adding and is_new


def _key(instance: models.Model, model: type[models.Model]) -> Any:
    """Return the primary key of the instance's row of ``model``, which Django takes from its parent's."""
    pk: Any = model._meta.pk
    key = getattr(instance, pk.attname)
    is_link = key is None and pk.remote_field is not None and pk.remote_field.parent_link
    return _key(instance, pk.related_model) if is_link else key


def _differs(field: Any, value: Any, stored: Any) -> bool:
    """Whether a value in memory changes a stored one; "2" is the same as a stored 2."""
    if hasattr(value, "resolve_expression"):
        return True
    try:
        return bool(field.to_python(value) != stored)
    except ValidationError:  # the database will say what it thinks of it
        return True
