"""Sources: the rows and columns that a serializer's fields read, as far as declarations tell."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import models
from rest_framework import serializers
from rest_framework.relations import ManyRelatedField, RelatedField, SlugRelatedField

from .shown_paths import ShownPath, column_named, is_foreign_key, relation_named

#: The largest integer that JavaScript holds: ``Number.MAX_SAFE_INTEGER``.
LARGEST_SAFE = 2**53 - 1


class Source(NamedTuple):
    """What a field of a serializer reads."""

    #: The field's name, after the names of the serializers around it: ``lines.product``.
    name: str
    #: The field; for a list, the field of its items; None for an annotation.
    field: Any
    #: The relations that lead from the object to the row that is read.
    relations: tuple[Any, ...]
    #: That row's model.
    model: type[models.Model]
    #: The attributes that are read of the row.
    attributes: tuple[str, ...]

    @property
    def column(self) -> Any:
        """The model field whose value is shown; None if it is none, or can't be determined."""
        if self.attributes:
            name = self.model._meta.pk.name if self.attributes == ("pk",) else self.attributes[0]
            return column_named(self.model, name) if len(self.attributes) == 1 else None
        return self.model._meta.pk if self.shows_key else None

    @property
    def own_attribute(self) -> str:
        """The attribute of the object itself that is read; empty if none is."""
        return "" if self.relations else ".".join(self.attributes[:1])

    @property
    def shows_key(self) -> bool:
        """True if a related row is shown by its primary key."""
        return isinstance(self.field, RelatedField) and self.field.use_pk_only_optimization()


def sources(
    serializer: Any, model: type[models.Model], relations: tuple[Any, ...] = (), name: str = ""
) -> Iterator[Source]:
    """
    Yield what a serializer reads, also through nested serializers.

    Methods, and fields that get the whole object, are left out.
    """
    for key, outer in serializer.fields.items():
        field = _of_items(outer)
        found, row, rest = _followed(model, _attributes(outer, field))
        source = Source(f"{name}{key}", field, (*relations, *found), row, rest)
        if isinstance(field, serializers.Serializer):
            if not rest and not outer.write_only:
                yield from sources(field, row, source.relations, f"{source.name}.")
        elif outer.source != "*" and not outer.write_only:
            yield source


def shown_by_source(source: Source) -> ShownPath | None:
    """
    Return what a source shows of other rows; None if it shows none.

    The path has no column if it only shows which rows are related, or if a column can't be determined.
    """
    *before, last = source.relations or (None,)
    if source.shows_key and not source.attributes and is_foreign_key(last):
        # The foreign key is a column of the row before.
        path = ShownPath(relations=tuple(before), column=last.attname)
    else:
        column = source.column
        # The value that a foreign key has itself changes with the foreign key.
        keys = {source.model._meta.pk, is_foreign_key(last) and last.target_field}
        is_shown = column is not None and column not in keys
        path = ShownPath(relations=source.relations, column=column.name if is_shown else "")
    return path if path.relations else None


def shows_unsafe_integer(source: Source, annotated: Mapping[str, Any]) -> bool:
    """
    Return whether a source shows an integer as a number that JavaScript may round.

    ``annotated`` are the fields of annotations. The keys that a database counts up from 1 don't get that
    large.
    """
    column = source.column or annotated.get(source.own_attribute)
    while column is not None and column.remote_field is not None:
        column = column.target_field
    kind = getattr(column, "output_field", column)
    is_large = isinstance(kind, models.BigIntegerField) and not isinstance(kind, models.AutoField)
    return is_large and _is_number(source.field)


def _is_number(field: Any) -> bool:
    """Return whether a field shows an integer as a number, without limits that JavaScript can hold."""
    if isinstance(field, serializers.IntegerField):
        limits = field.min_value, field.max_value
        is_limited = all(limit is not None and abs(limit) <= LARGEST_SAFE for limit in limits)
        return not is_limited and isinstance(field.to_representation(0), int)
    if isinstance(field, serializers.PrimaryKeyRelatedField):
        return field.pk_field is None or _is_number(field.pk_field)
    return isinstance(field, (SlugRelatedField, serializers.ReadOnlyField, serializers.ModelField))


def _of_items(field: Any) -> Any:
    if isinstance(field, serializers.ListSerializer):
        return field.child
    return field.child_relation if isinstance(field, ManyRelatedField) else field


def _attributes(outer: Any, field: Any) -> list[str]:
    is_slug = isinstance(field, SlugRelatedField)
    return [*outer.source_attrs, *(field.slug_field.split("__") if is_slug else ())]


def _followed(
    model: type[models.Model], attributes: Sequence[str]
) -> tuple[list[Any], type[models.Model], tuple[str, ...]]:
    """Return the relations with which attributes begin, the model that they lead to, and the rest."""
    relations: list[Any] = []
    for name in attributes:
        if (relation := relation_named(model, name)) is None:
            break
        relations.append(relation)
        model = relation.related_model
    return relations, model, tuple(attributes[len(relations) :])
