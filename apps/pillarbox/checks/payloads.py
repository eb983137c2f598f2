"""System checks of payloads: what the serializers of object types show."""

import inspect
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from rest_framework import serializers

from ..types.annotations import annotation_fields, annotation_sources
from ..types.context_uses import context_uses
from ..types.payload_fields import reads_its_source
from ..types.registry import ObjectType, object_types
from ..types.serializer_sources import Source, shown_by_source, shows_unsafe_integer, sources

#: Stands in a path for columns that no declaration names.
COLUMN = "COLUMN"


@register()
def payloads_depend_on_no_user(**_: Any) -> list[CheckMessage]:
    """Check that no serializer depends on the user: one payload is rendered for all subscribers."""
    hint = "Correct the serializer. If subscribers are to see different payloads, register an object type,"
    hint += " with its own serializer, for each kind of subscriber."
    return [
        Error(
            f"The payload of {kind.name!r} must not depend on the user: {found}.",
            hint=hint,
            id="pillarbox.E106",
        )
        for kind in object_types()
        if _uses_serializer(type(kind))
        for found in context_uses(kind.serializer_class)
    ]


@register()
def payloads_show_what_is_declared(**_: Any) -> list[CheckMessage]:
    """Check that `shows` has what the fields of serializers, and annotations, show of other rows."""
    found: list[CheckMessage] = []
    for kind in object_types():
        missing = dict(_undeclared(kind))
        line = "".join(f'"{path}", ' for path in dict.fromkeys([*kind.shows, *missing.values()]))
        hint = f"Write in {type(kind).__name__}: shows = ({line.strip()})."
        if COLUMN in line:
            hint += f" {COLUMN} stands for each column that is shown."
        found += [
            Warning(
                f"The field {name!r} of {kind.name!r} shows other rows ({path!r}), whose changes aren't"
                " announced.",
                hint=hint,
                id="pillarbox.W109",
            )
            for name, path in missing.items()
        ]
    return found


@register()
def integers_fit_javascript(**_: Any) -> list[CheckMessage]:
    """Check that no serializer shows an integer as a number that JavaScript may round."""
    return [
        Warning(
            f"The field {source.name!r} of {kind.name!r} is a number of 64 bits. JavaScript rounds numbers"
            " beyond 2^53.",
            hint=f"Show it as text: {_as_text(source)}. Or limit its values to 2^53 by validators.",
            id="pillarbox.W110",
        )
        for kind in object_types()
        for source in _sources(kind)
        if shows_unsafe_integer(source, annotation_fields(kind.annotations, kind.model))
    ]


@register()
def events_have_what_is_shown(**_: Any) -> list[CheckMessage]:
    """Check that serializers read attributes that every object has, however it was queried."""
    return [
        Warning(
            f"The field {source.name!r} of {kind.name!r} reads {name!r}, which is no attribute of"
            f" {source.model.__name__}. Events don't show it.",
            hint=f"If a query computes it, declare it in `annotations` of {type(kind).__name__}, not in"
            " visible_to or in a manager.",
            id="pillarbox.W111",
        )
        for kind in object_types()
        if type(kind).payload is ObjectType.payload  # another one may set attributes
        for source in _sources(kind)
        if reads_its_source(source.field)
        and (name := source.own_attribute) not in {"", *kind.annotations}
        and not hasattr(source.model, name)
    ]


def _as_text(source: Source) -> str:
    """Return the line that declares a source's field as text."""
    name, read = source.name.rpartition(".")[2], source.field.source
    options = ["read_only=True", *([f"source={read!r}"] if read not in (name, "") else ())]
    if not isinstance(source.field, serializers.PrimaryKeyRelatedField):
        return f"{name} = serializers.CharField({', '.join(options)})"
    options += [*(["many=True"] if read == "" else ()), "pk_field=serializers.CharField()"]
    return f"{name} = serializers.PrimaryKeyRelatedField({', '.join(options)})"


def _undeclared(kind: ObjectType) -> Iterator[tuple[str, str]]:
    """Yield the fields of a type's serializer that show what `shows` doesn't have, each with the path."""
    declared = kind.announcer().shown_paths
    for source in [*_sources(kind), *annotation_sources(kind.annotations, kind.model)]:
        # Of an annotation without a column, such as `Count("lines")`, the relations are all.
        is_computed = source.column is None and source.field is not None
        path = shown_by_source(source)
        if path is not None and not any(
            one.covers(path) and not (is_computed and one == path) for one in declared
        ):
            yield source.name, f"{path}__{COLUMN}" if is_computed else str(path)


def _sources(kind: ObjectType) -> Iterator[Source]:
    """Yield what a type's serializer reads; nothing if it isn't used, or isn't made of fields."""
    # A serializer that depends on the user may fail here, and must be changed first.
    if _uses_serializer(type(kind)) and not context_uses(kind.serializer_class):
        serializer = kind.serializer_class()
        if isinstance(serializer, serializers.Serializer):
            yield from sources(serializer, kind.model)


def _uses_serializer(kind: type[ObjectType]) -> bool:
    # A method that calls `super()` has its class in its closure. Its source may be missing.
    code = getattr(inspect.unwrap(kind.payload), "__code__", None)
    return kind.payload is ObjectType.payload or "__class__" in getattr(code, "co_freevars", ())
