"""Context managers that register object types for a test, with their triggers."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connection, models
from rest_framework import serializers

from pillarbox.capture.triggers.installation import install
from pillarbox.types.announcers import Announcer
from pillarbox.types.live_models import register_announcer, unregister_announcer
from pillarbox.types.registry import ObjectType, object_types, register, unregister


@contextmanager
def registered(*types: type[ObjectType]) -> Iterator[None]:
    """Register types within the block. They replace types of the same names."""
    names = {cls.name for cls in types}
    replaced = [type(kind) for kind in object_types() if kind.name in names]
    _replace(replaced, types)
    try:
        yield
    finally:
        _replace(types, replaced)


@contextmanager
def unregistered(*types: type[ObjectType]) -> Iterator[None]:
    """Unregister types within the block."""
    _replace(types, ())
    try:
        yield
    finally:
        _replace((), types)


@contextmanager
def live(announcer: Announcer) -> Iterator[None]:
    """Connect an announcer within the block, so that its model is live."""
    register_announcer(announcer)
    try:
        install(using=DEFAULT_DB_ALIAS)
        yield
    finally:
        unregister_announcer(announcer)
        install(using=DEFAULT_DB_ALIAS)


@contextmanager
def live_model(*, constraints: Iterable[Any] = (), **fields: Any) -> Iterator[Any]:
    """Create a live model, ``Thing``, and its table within the block. Its payload has all fields."""
    model = library_model("Thing", meta={"constraints": list(constraints)}, **fields)
    with tables(model), registered(type_of(model)):
        yield model


def library_model(name: str, /, *, meta: Mapping[str, Any] | None = None, **fields: Any) -> Any:
    """Return a new model of the app ``library``, without a table."""
    options = {"app_label": "library", **(meta or {})}
    attributes = {"__module__": __name__, "Meta": type("Meta", (), options), **fields}
    return type(name, (models.Model,), attributes)


def type_of(model: Any, *, fields: Any = "__all__", **attributes: Any) -> type[ObjectType]:
    """Return an object type with the model's name in lower case. Its payload has these fields."""
    meta = type("Meta", (), {"model": model, "fields": fields})
    serializer = type("Serializer", (serializers.ModelSerializer,), {"Meta": meta})
    attributes = {"name": model._meta.model_name, "serializer_class": serializer, **attributes}
    return type("Type", (ObjectType,), attributes)


@contextmanager
def tables(*new: Any) -> Iterator[None]:
    """Create the tables of models of the app ``library`` within the block; afterwards forget the models."""
    try:
        with connection.schema_editor() as editor:
            for model in new:
                editor.create_model(model)
        yield
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(new):
                editor.delete_model(model)
        relations = (field for model in new for field in model._meta.local_many_to_many)
        for model in {*new, *(relation.remote_field.through for relation in relations)}:
            apps.all_models["library"].pop(model._meta.model_name)
        apps.clear_cache()


def _replace(old: Iterable[type[ObjectType]], new: Iterable[type[ObjectType]]) -> None:
    for cls in old:
        unregister(cls.name)
    for cls in new:
        register(cls)
    install(using=DEFAULT_DB_ALIAS)
