"""An app that makes the models of all apps live."""

from functools import partial
from typing import Any

from django.apps import AppConfig, apps

from pillarbox.types.announcers import Announcer
from pillarbox.types.live_models import all_announcers, register_announcer, unregister_announcer

#: Apps whose tables are written while tables are made.
LEFT_OUT = {"pillarbox", "contenttypes", "sites"}


class EverythingIsLive(AppConfig):
    name = "tests.django_suite"
    label = "everything_is_live"

    def ready(self) -> None:
        for announcer in all_announcers():
            unregister_announcer(announcer)
        for model in apps.get_models():
            is_table = model._meta.concrete_model is model and model._meta.managed
            if is_table and model._meta.app_label not in LEFT_OUT:
                register_announcer(_announcer(model))


def _announcer(model: Any) -> Announcer:
    name = model._meta.label_lower
    through = [field.name for field in model._meta.local_many_to_many]
    return Announcer(
        object_type=name,
        model=model,
        shows=tuple(through),
        stream_keys=((name, model._meta.pk.attname),),
        streams=partial(_own_stream, name),
        payload=_payload,
        tombstone=_payload,
    )


def _own_stream(name: str, row: Any) -> list[str]:
    return [f"{name}:{row.pk}"]


def _payload(_: Any) -> dict[str, Any]:
    return {}
