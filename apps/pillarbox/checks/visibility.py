"""System check that somebody may see the objects of a type."""

from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004

from ..types.registry import ObjectType, object_types


@register()
def objects_are_visible(**_: Any) -> list[CheckMessage]:
    """Check that each type says who may see its objects, or has collections, whose owners say it."""
    hint = "Write, say: def visible_to(self, user): return {}.objects.filter(owner=user)"
    return [
        Warning(
            f"Nobody may see an object of {kind.name!r}: {type(kind).__name__} has no visible_to.",
            hint=hint.format(kind.model.__name__),
            id="pillarbox.W108",
        )
        for kind in object_types()
        if type(kind).visible_to is ObjectType.visible_to and not kind.collections
    ]
