"""One payload for all: finds what in a serializer depends on who is asking."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from rest_framework import serializers
from rest_framework.relations import HyperlinkedRelatedField, ManyRelatedField

#: Methods with which DRF makes fields and shows an object.
_SHOWING = ("__init__", "get_fields", "to_representation", "get_attribute")


def found_in(serializer_class: type[Any]) -> list[str]:
    """
    Return what a serializer takes from its context when it shows an object: each a path and a reason.

    Looks at the source of what is not DRF's own: the methods that show an object, and those that they
    call on themselves. What only takes input may ask whose it is. A serializer that can't even be made
    without a context takes something from it.
    """
    try:
        return list(dependencies(serializer_class(), serializer_class.__name__))
    except Exception as error:  # noqa: BLE001  # whatever it is, a payload would end in it
        return [f"{serializer_class.__name__} can't be made without a request: {error!r}"]


def dependencies(field: Any, path: str) -> Iterator[str]:
    """Yield what a serializer, or a field, takes from its context, as `found_in` says."""
    if isinstance(field, HyperlinkedRelatedField):
        yield f"{path} is a hyperlink, which needs a request"
    own = (field.method_name,) if isinstance(field, serializers.SerializerMethodField) else ()
    for name in (*_SHOWING, *own):
        if _asks(type(field.parent if name in own else field), name, set()):
            yield f"{path} uses its context in {name}()"
    for name, child in _children(field):
        yield from dependencies(child, f"{path}.{name}" if name else path)


def _children(field: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(field, serializers.ListSerializer):
        yield "", field.child
    elif isinstance(field, ManyRelatedField):
        yield "", field.child_relation
    elif isinstance(field, serializers.Serializer):
        yield from ((name, child) for name, child in field.fields.items() if not child.write_only)


def _asks(owner: type[Any], name: str, seen: set[str]) -> bool:
    """Whether a method, the class's or a base's, or what it uses of the same object, reads the context."""
    if name in seen:
        return False
    seen.add(name)
    for found in (vars(base).get(name) for base in owner.__mro__):
        method = found.fget if isinstance(found, property) else found
        if inspect.isfunction(method) and not str(method.__module__).startswith("rest_framework."):
            used = _used(method)
            if "context" in used or any(_asks(owner, other, seen) for other in used):
                return True
    return False


def _used(method: Any) -> set[str]:
    """Return the attributes that a method's source takes from its object, or by way of it."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, SyntaxError):  # no source to look at
        return set()
    first = next(iter(inspect.signature(method).parameters), "")
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _root(node) == first
    }


def _root(node: ast.expr) -> str:
    """Return the name that a chain of attributes begins with: self of self.root.context."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
