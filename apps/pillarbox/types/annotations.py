"""Annotations: the rows and columns that they read, as far as names tell, and the fields of their values."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db import models

from .serializer_sources import Source
from .shown_paths import RELATIONS, is_foreign_key


def annotation_sources(
    annotations: Mapping[str, Any], model: type[models.Model]
) -> Iterator[Source]:
    """Yield what annotations read by the names in their expressions. Subqueries of their own are left out."""
    for name, expression in annotations.items():
        for path in dict.fromkeys(_paths(expression)):
            yield _source(name, model, path)


def annotation_fields(
    annotations: Mapping[str, Any], model: type[models.Model]
) -> Mapping[str, "models.Field[Any, Any]"]:
    """
    Return the fields of annotations' values.

    Raises FieldError, TypeError or ValueError if the model can't be annotated so.
    """
    found = models.QuerySet(model).annotate(**annotations).query.annotations
    return {name: found[name].output_field for name in annotations}


def _paths(expression: Any) -> Iterator[str]:
    """Yield the names in an expression, as `F` and the lookups of `Q` have them."""
    for part in models.Q(expression).flatten():
        if isinstance(part, models.F):
            yield part.name  # type: ignore[attr-defined]
        elif isinstance(part, models.Q):
            yield from (child[0] for child in part.children if isinstance(child, tuple))


def _source(name: str, model: type[models.Model], path: str) -> Source:
    """Return what an annotation reads by a filter's path of relations, a column and transforms."""
    relations: list[Any] = []
    steps = path.split("__")
    while steps:
        relation = _relation(model, steps[0])
        if relation is None or (is_foreign_key(relation) and len(steps) == 1):
            break  # the value of a foreign key is a column of the row before
        relations.append(relation)
        model = relation.related_model
        del steps[0]
    return Source(name, None, tuple(relations), model, tuple(steps[:1]))


def _relation(model: type[models.Model], name: str) -> Any:
    """Return the relation that a filter names so; None if there is none that a trigger can follow."""
    relations = (field for field in model._meta.get_fields() if isinstance(field, RELATIONS))
    return next((relation for relation in relations if relation.name == name), None)
