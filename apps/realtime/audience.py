"""One payload for all: finds what in a serializer depends on who is asking."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from rest_framework import serializers
from rest_framework.relations import HyperlinkedRelatedField, ManyRelatedField

#: Methods with which DRF shows an object.
_SHOWING = ("to_representation", "get_attribute")


def dependencies(field: Any, path: str) -> Iterator[str]:
    """
    Yield what a serializer, or a field, takes from its context when it shows an object.

    Each as a path with a reason. Looks at the source of what is not DRF's own: methods that show an
    object, and methods that these call. What only takes input may ask whose it is.
    """
    if isinstance(field, HyperlinkedRelatedField):
        yield f"{path} is a hyperlink, which needs a request"
    for name in (*_SHOWING, *_method_of(field)):
        owner = field.parent if name in _method_of(field) else field
        if _asks(owner, name, set()):
            yield f"{path} uses self.context in {name}()"
    for name, child in _children(field):
        yield from dependencies(child, f"{path}.{name}" if name else path)


def _method_of(field: Any) -> tuple[str, ...]:
    return (field.method_name,) if isinstance(field, serializers.SerializerMethodField) else ()


def _children(field: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(field, serializers.ListSerializer):
        yield "", field.child
    elif isinstance(field, ManyRelatedField):
        yield "", field.child_relation
    elif isinstance(field, serializers.Serializer):
        yield from ((name, child) for name, child in field.fields.items() if not child.write_only)


def _asks(owner: Any, name: str, seen: set[str]) -> bool:
    """Whether a method, or one of the same object that it calls, reads the context."""
    method = getattr(type(owner), name, None)
    if name in seen or not inspect.isfunction(method) or _is_drf(method):
        return False
    seen.add(name)
    used = _attributes_of_self(method)
    return "context" in used or any(_asks(owner, other, seen) for other in used)


def _is_drf(method: Callable[..., Any]) -> bool:
    return str(method.__module__).startswith("rest_framework.")


def _attributes_of_self(method: Callable[..., Any]) -> set[str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError):  # no source to look at
        return set()
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {n.attr for n in attributes if isinstance(n.value, ast.Name) and n.value.id == "self"}
