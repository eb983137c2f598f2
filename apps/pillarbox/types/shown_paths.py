"""Shown paths: what a payload shows of other rows, as relations and a column."""

from dataclasses import dataclass
from typing import Any

from django.db import models
from django.db.models.fields.reverse_related import ForeignObjectRel, ManyToManyRel, ManyToOneRel

#: Ends a path: everything that the type of the rows announces.
EVERYTHING = "*"
#: Relations whose rows a trigger can follow.
RELATIONS = (models.ForeignKey, models.ManyToManyField, ManyToOneRel, ManyToManyRel)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownPath:
    """The way from an object to other rows, and what its payload shows of them."""

    #: Foreign keys, many-to-many fields, and their reverse relations, in order.
    relations: tuple[Any, ...]
    #: A column of the last rows, or `EVERYTHING`; empty if the payload only shows which rows are related.
    column: str

    @property
    def model(self) -> type[models.Model]:
        """The model of the last rows."""
        return self.relations[-1].related_model  # type: ignore[no-any-return]

    @property
    def prefetch(self) -> str:
        """The relations as `prefetch_related` names them."""
        return "__".join(map(_name, self.relations))

    def __str__(self) -> str:
        return f"{self.prefetch}__{self.column}" if self.column else self.prefetch

    def covers(self, other: "ShownPath") -> bool:
        """Return whether a declaration of this path announces what the other one shows."""
        if self.column == EVERYTHING:
            return other.relations[: len(self.relations)] == self.relations
        shown = (*other.relations, *other.columns)
        return (*self.relations, *self.columns)[: len(shown)] == shown

    @property
    def columns(self) -> tuple[Any, ...]:
        """The field of `column`, if there is one."""
        return (column_named(self.model, self.column),) if self.column else ()


def shown_path(model: type[models.Model], path: str) -> ShownPath | None:
    """
    Return a path from a model's objects: ``members``, ``members__username`` or ``items__*``.

    A reverse relation has the name of its attribute, as in a serializer's ``source``. Returns None if the
    path doesn't exist or has no relation.
    """
    relations: list[Any] = []
    *steps, last = path.split("__")
    for name in steps:
        if (relation := relation_named(model, name)) is None:
            return None
        relations.append(relation)
        model = relation.related_model
    if (relation := relation_named(model, last)) is not None:
        return ShownPath(relations=(*relations, relation), column="")
    is_shown = last == EVERYTHING or column_named(model, last) is not None
    return ShownPath(relations=tuple(relations), column=last) if relations and is_shown else None


def column_named(model: type[models.Model], name: str) -> Any:
    """Return the field with a column that has this name or attribute; None if there is none."""
    fields = model._meta.concrete_fields
    return next((field for field in fields if name in (field.name, field.attname)), None)


def relation_named(model: type[models.Model], name: str) -> Any:
    """Return the relation by which an object's attribute leads to other rows; None if there is none."""
    relations = (field for field in model._meta.get_fields() if isinstance(field, RELATIONS))
    return next((relation for relation in relations if _name(relation) == name), None)


def is_reverse(relation: Any) -> bool:
    """Return whether a relation is the other side of a foreign key or of a many-to-many field."""
    return isinstance(relation, ForeignObjectRel)


def is_foreign_key(relation: Any) -> bool:
    """Return whether a relation is a column of the row from which it leads."""
    return isinstance(relation, models.ForeignKey)


def _name(relation: Any) -> str:
    """Return the attribute of an object that leads along a relation."""
    return str(relation.get_accessor_name() if is_reverse(relation) else relation.name)
