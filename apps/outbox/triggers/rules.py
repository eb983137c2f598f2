"""Rules: the rows that a change of a live table writes into the outbox, as data."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import models

from ..announcers import Announcer, affected

#: Columns of these types come back from JSON as they were; other columns make an image impossible.
FAITHFUL = frozenset(
    {
        "AutoField",
        "BigAutoField",
        "BigIntegerField",
        "BooleanField",
        "CharField",
        "DateField",
        "DateTimeField",
        "DecimalField",
        "DurationField",
        "FloatField",
        "GenericIPAddressField",
        "IntegerField",
        "JSONField",
        "PositiveBigIntegerField",
        "PositiveIntegerField",
        "PositiveSmallIntegerField",
        "SlugField",
        "SmallAutoField",
        "SmallIntegerField",
        "TextField",
        "TimeField",
        "UUIDField",
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """
    The rows that a change of a row of one table writes for one object type.

    All names are names of columns. Of an object whose columns lie in this table alone, and which is the
    changed row itself, the rows carry an image.
    """

    object_type: str
    #: The column with the object's primary key.
    key: str
    #: Stream names, each with the column that holds its owner's primary key; the object's own is first.
    streams: tuple[tuple[str, str], ...]
    #: Events to write: some of CREATE, UPDATE and DELETE.
    verbs: tuple[str, ...]
    #: Columns whose change counts; None if every column does.
    watched: tuple[str, ...] | None
    #: Columns whose change is a move.
    deciding: tuple[str, ...] = ()
    #: Columns of the image; empty if the rows have none.
    image: tuple[str, ...] = ()
    #: False if the changed row is only shown by the object: each change is an UPDATE of the object.
    is_object: bool = True


def rules(announcers: Iterable[Announcer]) -> Mapping[type[models.Model], list[Rule]]:
    """Return the rules of each live table, by the model that declares the table."""
    found: dict[type[models.Model], list[Rule]] = defaultdict(list)
    for announcer in announcers:
        for model, rule in _rules_of(announcer):
            found[model].append(rule)
    return found


def _rules_of(announcer: Announcer) -> Iterator[tuple[type[models.Model], Rule]]:
    """Yield an announcer's rules: of the object's own table, of its ancestors', of what shows it."""
    model = announcer.model
    if announcer.owner is None:
        yield model, _object_rule(announcer)
        for ancestor in model._meta.all_parents:
            yield ancestor, _touch(announcer, ancestor._meta.pk, announcer)
    for link in announcer.shown_in:
        for owner in _owners(announcer, link):
            yield link.model, _touch(owner, link, announcer)


def _owners(announcer: Announcer, link: Any) -> Iterable[Announcer]:
    """Return the announcers of the objects that show a row, to which its foreign key leads."""
    if announcer.owner is not None:
        return [announcer.owner]
    return [owner for owner in affected(link.related_model) if owner.owner is None]


def _object_rule(announcer: Announcer) -> Rule:
    """Return the rule of the table that the object's model declares itself."""
    model: Any = announcer.model
    own = {field.attname: field.column for field in model._meta.local_concrete_fields}
    key = model._meta.pk.attname if announcer.key == "pk" else announcer.key
    places = {
        name: own.get(model._meta.pk.attname if at == "pk" else at)
        for name, at in announcer.placed_by
    }
    deciding = (model._meta.get_field(name).attname for name in announcer.deciding)
    return Rule(
        object_type=announcer.object_type,
        key=own[key],
        streams=tuple((name, column) for name, column in places.items() if column is not None),
        verbs=tuple(sorted(announcer.verbs)),
        watched=_watched(announcer, own),
        deciding=tuple(own[attribute] for attribute in deciding if attribute in own),
        image=_image(announcer),
    )


def _touch(owner: Announcer, link: Any, announcer: Announcer) -> Rule:
    """Return the rule by which a changed row announces the object that its column ``link`` names."""
    own = {field.attname: field.column for field in link.model._meta.local_concrete_fields}
    return Rule(
        object_type=owner.object_type,
        key=link.column,
        streams=((owner.placed_by[0][0], link.column),),
        verbs=("UPDATE",),
        watched=_watched(announcer, own),
        is_object=False,
    )


def _watched(announcer: Announcer, own: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the columns, of the ``own`` ones, that the announcer watches; None for every column."""
    # A trigger doesn't see a virtual column, only the columns that it is made of.
    if announcer.watches_everything or any(map(_is_virtual, announcer.watched.values())):
        return None
    return tuple(own[attribute] for attribute in announcer.watched if attribute in own)


def _image(announcer: Announcer) -> tuple[str, ...]:
    """Return the columns of the image; none for an object whose image is not cheap or not safe."""
    meta = announcer.model._meta
    if not announcer.shows_object or meta.parents:
        return ()
    chosen = [
        f for f in meta.local_concrete_fields if not (f.name in announcer.omit or _is_virtual(f))
    ]
    is_safe = all(_type(field) in FAITHFUL for field in chosen)
    return tuple(str(field.column) for field in chosen) if is_safe else ()


def _type(field: Any) -> str:
    while field.remote_field is not None:
        field = field.target_field
    return str((field.output_field if field.generated else field).get_internal_type())


def _is_virtual(field: Any) -> bool:
    return bool(field.generated and not field.db_persist)
