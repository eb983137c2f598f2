"""Detection of serializers whose payload depends on the user or the request."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from rest_framework import serializers
from rest_framework.relations import HyperlinkedRelatedField, ManyRelatedField

#: The methods with which DRF makes fields and renders an object.
_RENDERING = ("__init__", "get_fields", "to_representation", "get_attribute")


def context_uses(serializer_class: type[Any]) -> list[str]:
    """
    Return the places where a serializer uses its context to render an object, with path and reason.

    It reads the source of the methods that render an object, and of the methods and properties that these
    use on ``self``; DRF's own methods are trusted. Methods that only validate input may use the context.
    A serializer that can't be made without a context counts, too.
    """
    try:
        return list(context_uses_of_field(serializer_class(), serializer_class.__name__))
    except Exception as error:  # noqa: BLE001  # rendering would raise the same error
        return [f"{serializer_class.__name__} can't be made without a request: {error!r}"]


def context_uses_of_field(field: Any, path: str) -> Iterator[str]:
    """Yield the places where a serializer or field uses its context, as `context_uses` does."""
    if isinstance(field, HyperlinkedRelatedField):
        yield f"{path} is a hyperlink, which needs a request"
    own = (field.method_name,) if isinstance(field, serializers.SerializerMethodField) else ()
    for name in (*_RENDERING, *own):
        if _reads_context(type(field.parent if name in own else field), name, set()):
            yield f"{path} uses its context in {name}()"
    for name, child in _children(field):
        yield from context_uses_of_field(child, f"{path}.{name}" if name else path)


def _children(field: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(field, serializers.ListSerializer):
        yield "", field.child
    elif isinstance(field, ManyRelatedField):
        yield "", field.child_relation
    elif isinstance(field, serializers.Serializer):
        yield from ((name, child) for name, child in field.fields.items() if not child.write_only)


def _reads_context(owner: type[Any], name: str, seen: set[str]) -> bool:
    """Return whether a method of this name, or one that it uses on the same object, reads the context."""
    if name in seen:
        return False
    seen.add(name)
    for found in (vars(base).get(name) for base in owner.__mro__):
        method = found.fget if isinstance(found, property) else found
        if inspect.isfunction(method) and not str(method.__module__).startswith("rest_framework."):
            used = _used(method)
            if "context" in used or any(_reads_context(owner, other, seen) for other in used):
                return True
    return False


def _used(method: Any) -> set[str]:
    """Return the attributes that a method reads from ``self``, directly or through other attributes."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError):  # there is no source to read
        return set()
    first = next(iter(inspect.signature(method).parameters), "")
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _root(node) == first
    }


def _root(node: ast.expr) -> str:
    """Return the name at the start of a chain of attributes: ``self`` for ``self.root.context``."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
