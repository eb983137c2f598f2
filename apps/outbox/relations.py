"""What Django changes without a save: deletions, cascades included, and many-to-many relations."""

from collections.abc import Iterable
from typing import Any

from django.db import models
from django.db.models.signals import m2m_changed, post_delete, pre_delete

from .capture import Announcer, capture_change
from .notifying import announcers, stored


def connect(model: type[models.Model], announcer: Announcer) -> None:
    """From now on, announce the changes of ``model``, a `Notifying`, as ``announcer`` says."""
    announcers[model] = announcer
    pre_delete.connect(_before_delete, sender=model)
    post_delete.connect(_after_delete, sender=model)
    for name in announcer.many_to_many:
        m2m_changed.connect(_many_to_many_changed, sender=_through(model, name))


def disconnect(model: type[models.Model]) -> None:
    """From now on, the changes of ``model`` are not announced."""
    announcer = announcers.pop(model)
    pre_delete.disconnect(_before_delete, sender=model)
    post_delete.disconnect(_after_delete, sender=model)
    for name in announcer.many_to_many:
        m2m_changed.disconnect(_many_to_many_changed, sender=_through(model, name))


def _through(model: type[models.Model], name: str) -> Any:
    return getattr(model, name).through


def _before_delete(sender: type[models.Model], instance: Any, using: str, **_: Any) -> None:
    # Locked and read before the row is gone: its streams, and the order of what follows.
    row = stored(sender, instance.pk, using=using)
    instance._outbox_left = [] if row is None else announcers[sender].streams(row)


def _after_delete(sender: type[models.Model], instance: Any, using: str, **_: Any) -> None:
    left = instance.__dict__.pop("_outbox_left")
    capture_change(
        announcers[sender], instance.pk, before=left, after=[], payload=None, using=using
    )


def _many_to_many_changed(
    sender: Any,
    instance: Any,
    action: str,
    reverse: bool,
    model: type[models.Model],
    pk_set: set[Any] | None,
    using: str,
    **_: Any,
) -> None:
    live: Any = (model if reverse else type(instance))._meta.concrete_model
    if action.startswith("pre_"):
        owners = _owners(live, sender, instance, reverse, pk_set, using)
        # Locked before the relation changes: a concurrent change of the same object waits here.
        instance._outbox_owners = [pk for pk in owners if stored(live, pk, using=using)]
        return
    for pk in instance.__dict__.pop("_outbox_owners"):
        _capture_update(live, pk, using)


def _owners(
    live: type[models.Model],
    through: Any,
    instance: models.Model,
    reverse: bool,
    pk_set: set[Any] | None,
    using: str,
) -> Iterable[Any]:
    """Return the primary keys of the live objects whose relations are about to change, in order."""
    if pk_set is not None:
        return sorted(pk_set) if reverse else [instance.pk] if pk_set else []
    field: Any = next(f for f in live._meta.many_to_many if f.remote_field.through is through)
    owner, near = field.m2m_field_name(), field.m2m_field_name()
    if reverse:
        near = field.m2m_reverse_field_name()
    relations = through._base_manager.using(using).filter(**{near: instance.pk})
    return sorted(set(relations.values_list(owner, flat=True)))


def _capture_update(live: type[models.Model], pk: Any, using: str) -> None:
    row = stored(live, pk, using=using)
    streams = announcers[live].streams(row)
    capture_change(
        announcers[live],
        pk,
        before=streams,
        after=streams,
        payload=announcers[live].payload(row),
        using=using,
    )
