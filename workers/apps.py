from django.apps import AppConfig

from apps.outbox.shell import register


class WorkersConfig(AppConfig):
    name = "workers"
    label = "workers"

    def ready(self) -> None:
        register("doctor", "workers.doctor.command")
