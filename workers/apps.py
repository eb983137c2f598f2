from django.apps import AppConfig

from apps.outbox.shell import register


class WorkersConfig(AppConfig):
    name = "workers"
    label = "workers"

    def ready(self) -> None:
        from . import checks  # noqa: F401, PLC0415  # registers the system checks

        register("doctor", "workers.doctor.command")
