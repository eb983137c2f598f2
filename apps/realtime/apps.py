from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class RealtimeConfig(AppConfig):
    name = "apps.realtime"
    label = "realtime"

    def ready(self) -> None:
        # Both need the models.
        from . import checks  # noqa: F401, PLC0415  # registers the system checks
        from .grants import watch  # noqa: PLC0415

        watch()
        # As the admin does with admin.py: each app's live.py registers its object types.
        autodiscover_modules("live")
