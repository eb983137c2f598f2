from typing import Any

from django.apps import AppConfig

from .hooks import install
from .shell import register

SUBCOMMANDS = ("new-epoch", "prune", "replay", "stats")


class OutboxConfig(AppConfig):
    name = "apps.outbox"
    label = "outbox"
    verbose_name = "Notification outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Whatever the order of INSTALLED_APPS, no model exists yet.
        install()

    def ready(self) -> None:
        from . import checks  # noqa: F401, PLC0415  # registers the system checks

        for name in SUBCOMMANDS:
            register(name, f"{__package__}.management.subcommands.{name.replace('-', '_')}")
