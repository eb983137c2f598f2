"""Saves: looked at before, to know what will change, and after, to announce what is then stored."""

from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, router, transaction

from .announcers import Announcer, affected, refuse_unstorable
from .capture import Change, capture_changes
from .stored import as_stored, locked, locked_one, related, same, written

#: The saves that are going on in this thread or task, the innermost last.
_SAVES: "ContextVar[tuple[_Save, ...]]" = ContextVar("_SAVES", default=())


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
    refuse_unstorable(type(instance), written(instance, update_fields))
    token = _SAVES.set((*_SAVES.get(), _Save(instance, using, update_fields)))
    try:
        with transaction.atomic(using=using, savepoint=False):
            original(instance, False, force_insert, force_update, using, update_fields)
    finally:
        _SAVES.reset(token)


def save_table(
    original: Callable[..., bool],
    instance: models.Model,
    table: Any,
    force_insert: Any,
    force_update: bool,
    *args: Any,
) -> bool:
    """
    Write the instance's row of ``table``, a model, by Django's ``original``; return whether it was there.

    The tables of the instance's ancestors come first. Receivers of ``pre_save`` have done what they
    do to the instance; those of ``post_save`` may change the row again, and that is announced next.
    """
    seen, own = _save_of(instance), _concrete(instance)
    if seen is None:  # not of a live model
        return original(instance, False, table, force_insert, force_update, *args)
    forced = bool(force_insert) and table is own
    seen.look(is_new=forced or (not force_update and _is_inserted(instance)))
    was_there = original(instance, False, table, force_insert, force_update, *args)
    if table is own:
        capture_changes(seen.changes(), using=seen.using)
    return was_there


def update_row(original: Callable[..., Any], instance: models.Model, rows: Any, *args: Any) -> Any:
    """
    Update a row of an instance by Django's ``original``; return its result.

    The result is true if there was a row. Django 5.2 returns a boolean, later versions the row's values.
    """
    seen = _save_of(instance)
    return original(instance, rows, *args) if seen is None else seen.update(original, rows, *args)


def _save_of(instance: models.Model) -> "_Save | None":
    return next((save for save in reversed(_SAVES.get()) if save.instance is instance), None)


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
        #: What each announcer's row was before; those whose changes the instance knows are not here.
        self.before: dict[Announcer, Any] = {}
        #: Announcers whose row changes, and stays in its streams, if it holds what is expected.
        self.known: list[Announcer] = []
        self.expected: dict[str, Any] = {}
        self._rows: dict[type[models.Model], Any] = {}

    def look(self, *, is_new: bool) -> None:
        """Find out once what will change, from the instance where it knows, else from the row."""
        if self.has_looked:
            return
        self.has_looked = True
        self.written = written(self.instance, self.update_fields)
        for announcer in filter(self._is_seen_by, affected(type(self.instance))):
            if self._is_known(announcer):
                self.known.append(announcer)
            else:
                is_absent = is_new and issubclass(announcer.model, _concrete(self.instance))
                self.before[announcer] = None if is_absent else self._row(announcer.model)

    def update(self, original: Callable[..., Any], rows: Any, *args: Any) -> Any:
        """
        Update the row if it is what the instance takes it for; else look at it first.

        So a save that changes no stream needs no read, and a stale instance misleads nobody.
        """
        if self.known:
            as_expected = all(vars(self.instance)[name] == v for name, v in self.expected.items())
            if as_expected and (
                result := original(self.instance, rows.filter(**self.expected), *args)
            ):
                return result
            self.before |= {announcer: self._row(announcer.model) for announcer in self.known}
            self.known = []
        return original(self.instance, rows, *args)

    def changes(self) -> Iterator[Change]:
        """Yield what has changed, as it is stored now."""
        self._rows.clear()
        for announcer in self.known:
            row = self._stored(announcer.model)
            yield Change(announcer=announcer, before=row, after=row)
        for announcer, before in self.before.items():
            if before is None or self._may_have_changed(announcer, before):
                after = self._stored(announcer.model)
                # Without a row an ancestor was saved, whose object is none of this type.
                is_change = before is None or announcer.differ(before, after)
                if after is not None and is_change:
                    yield Change(announcer=announcer, before=before, after=after)

    def _is_seen_by(self, announcer: Announcer) -> bool:
        """Whether the save writes something that counts: with ``update_fields`` it creates no row."""
        names = self.update_fields
        if names is None or announcer.is_computed:
            return True
        return any(f.name in names or f.attname in names for f in announcer.watched.values())

    def _is_known(self, announcer: Announcer) -> bool:
        """Whether the instance alone proves that its row changes, if it is where the instance thinks."""
        instance: Any = self.instance
        if announcer.tracker is None or announcer.is_computed or instance._state.adding:
            return False
        if type(instance) is not announcer.model or announcer.model._meta.parents:
            return False
        # Asked field by field, a tracker looks for deferred fields each time; what it saved is at hand.
        saved = getattr(instance, announcer.tracker.name).saved_data
        changed = {
            attribute
            for name, attribute in announcer.tracker.field_map.items()
            if attribute in self.written
            and attribute in announcer.watched
            and name in saved
            and _differs(announcer.watched[attribute], self.written[attribute], saved[name])
        }
        decisive = announcer.decisive & self.written.keys()
        if not changed or changed & decisive or not decisive <= announcer.askable:
            return False
        self.expected |= {attribute: self.written[attribute] for attribute in decisive}
        return True

    def _may_have_changed(self, announcer: Announcer, row: models.Model) -> bool:
        """Whether the row must be looked at again: something written differs, or is made by a column."""
        now = vars(self.instance)
        return announcer.is_computed or any(
            _differs(field, now[attribute], vars(row)[attribute])
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
        return not same(field, field.to_python(value), stored)
    except ValidationError:  # the database will say what it thinks of it
        return True
