"""
The changes that end rights, or begin them: of users, groups, permissions, tokens and sessions.

Triggers announce them in the transaction that makes them, on one stream, `RIGHTS`, which every process with
sockets follows. Clients never see it.
"""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import DEFAULT_DB_ALIAS, models, router

from ..models import RIGHTS
from .announcers import Announcer
from .lookups import lookup_of

#: The object type of the ends of sessions. Those of users' rights are of the type `RIGHTS`.
SESSION = "rights.session"
#: The object type of the ends of users, by their deletion. Their keys may be others' one day.
USER = "rights.user"
#: The beginning of a right is announced, too: rows committed before it stay hidden from its user.
BOTH_WAYS = frozenset({"CREATE", "UPDATE", "DELETE"})
#: Columns of the user's row that decide whether the user may sign in, and with which rights.
ACCOUNT_COLUMNS = ("password", "is_active", "is_staff", "is_superuser")


def session_digest(session_key: str) -> str:
    """Return the digest by which ends name a session; triggers make the same one of its key."""
    return sha256(session_key.encode()).hexdigest()


def session_model() -> Any:
    """Return the model of the sessions; None if they aren't in a table of the outbox's database."""
    if not apps.is_installed("django.contrib.sessions"):
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore
    model = store.get_model_class() if hasattr(store, "get_model_class") else None
    is_beside = model is not None and router.db_for_write(model) == DEFAULT_DB_ALIAS
    return model if is_beside else None


def rights_announcer(
    model: type[models.Model],
    user: str,
    fields: tuple[str, ...] | None = None,
    *,
    lookup: str = "",
    verbs: frozenset[str] = frozenset({"UPDATE", "DELETE"}),
) -> Announcer:
    """
    Return the announcer for rows that give rights to a user.

    ``user`` is the attribute with the user's primary key. With a ``lookup`` it is the attribute with the
    value by which the lookup finds one user or many.
    """
    return Announcer(
        object_type=RIGHTS,
        model=model,
        fields=fields,
        verbs=verbs,
        streams=lambda row: [RIGHTS],
        key=user,
        lookup=lookup,
        ends_right=True,
        payload=lambda row: {},
        tombstone=lambda pk: {},
    )


def link_to_users(model: type[models.Model], path: str) -> Any:
    """
    Return the foreign key to a user in the last table on a path: the table in which rights begin and end.

    A path is ``members``, ``team__members`` or ``team__memberships__user``. It follows foreign keys, and only
    its last table may have many rows for one object. Returns None if the path doesn't exist, is a single
    foreign key, doesn't lead to users, or crosses another table with many rows for one object.
    """
    *steps, last = path.split("__")
    for step in steps:
        field = _relation(model, step)
        is_last = step == steps[-1]
        if field is None or not (
            field.many_to_one or field.one_to_one or (is_last and field.one_to_many)
        ):
            return None
        model = field.related_model
    field = _relation(model, last)
    if isinstance(field, models.ManyToManyField):
        through: Any = field.remote_field.through
        field = through._meta.get_field(field.m2m_reverse_field_name())
    elif not steps:
        return None
    is_link = field is not None and field.concrete and (field.many_to_one or field.one_to_one)
    return field if is_link and field.related_model is get_user_model() else None


def _relation(model: Any, name: str) -> Any:
    """Return the relation of a model that has this name in filters, or None."""
    relations = (field for field in model._meta.get_fields() if field.is_relation)
    return next((field for field in relations if field.name == name), None)


def relation_announcers(link: Any) -> Iterator[Announcer]:
    """Yield the announcers for a relation whose rows have the foreign key ``link`` to a user."""
    lookup = lookup_of(get_user_model(), link.target_field)
    yield rights_announcer(link.model, link.attname, lookup=lookup, verbs=BOTH_WAYS)
    if lookup:
        # The end names the user by a value. If that value changes before the end is read, it doesn't find the
        # user, so a change of the value counts as an end, too.
        renamed = frozenset({"UPDATE"})
        yield rights_announcer(get_user_model(), "pk", (lookup,), verbs=renamed)


def account_announcers() -> Iterator[Announcer]:
    """Yield the announcers for users, their groups and permissions, their tokens and their sessions."""
    user: Any = get_user_model()
    columns = {field.attname for field in user._meta.concrete_fields}
    yield rights_announcer(user, "pk", tuple(name for name in ACCOUNT_COLUMNS if name in columns))
    yield replace(rights_announcer(user, "pk"), object_type=USER, verbs=frozenset({"DELETE"}))
    for field in user._meta.many_to_many:
        through = field.remote_field.through
        yield from relation_announcers(through._meta.get_field(field.m2m_field_name()))
        if field.related_model is Group:
            yield rights_announcer(
                Group.permissions.through, "group_id", lookup=field.name, verbs=BOTH_WAYS
            )
    if apps.is_installed("rest_framework.authtoken"):
        token = apps.get_model("authtoken", "Token")
        yield rights_announcer(token, "user_id", ("key", "user"))
    if (session := session_model()) is not None:
        yield replace(
            rights_announcer(session, "session_key", ("session_key",)),
            object_type=SESSION,
            verbs=frozenset({"DELETE"}),
            is_secret=True,
            expires="expire_date",
        )
