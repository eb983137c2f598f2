from typing import Any

from django.apps import AppConfig
from django.core.management.base import CommandError
from django.core.signals import request_started
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate, pre_migrate
from django.utils.module_loading import autodiscover_modules


class PillarboxConfig(AppConfig):
    name = "pillarbox"
    verbose_name = "Notifications"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # These modules import models, which are loaded only now.
        from . import checks  # noqa: F401, PLC0415  # registers the system checks
        from .capture.logouts import register_ends_of_rights  # noqa: PLC0415
        from .capture.wake_ups import notice_writes  # noqa: PLC0415
        from .database import close_if_read_only  # noqa: PLC0415
        from .types.registry import register_early  # noqa: PLC0415

        connection_created.connect(notice_writes, dispatch_uid=__name__)
        request_started.connect(close_if_read_only, dispatch_uid=__name__)
        pre_migrate.connect(_refuse_other_databases, sender=self)
        post_migrate.connect(_install_triggers, sender=self)
        register_ends_of_rights()
        register_early()
        # Each app registers its object types in a live.py, as it registers its admin in admin.py.
        autodiscover_modules("live")


def _refuse_other_databases(using: str, plan: list[tuple[Any, bool]], **_: Any) -> None:
    """Called before `migrate`. Raises CommandError if it would create the outbox in another database."""
    from .database import NEEDS_POSTGRESQL, USE_POSTGRESQL, is_postgresql  # noqa: PLC0415  # heavy

    label = PillarboxConfig.name
    is_planned = any(migration.app_label == label for migration, _ in plan)
    if not is_planned or is_postgresql(using=using) or not router.allow_migrate(using, label):
        return
    cure = USE_POSTGRESQL
    if using != DEFAULT_DB_ALIAS:
        cure = (
            f"{using!r} is another database: keep the tables out of it by a class in DATABASE_ROUTERS, "
            f"whose allow_migrate(self, db, app_label, **hints) returns False for {label!r} in {using!r}."
        )
    raise CommandError(f"{NEEDS_POSTGRESQL} {cure}")


def _install_triggers(using: str, **_: Any) -> None:
    """Called after `migrate` and after `flush`: install the triggers. Raises CommandError if it can't."""
    from .capture.triggers.installation import install  # noqa: PLC0415  # needs the models
    from .exceptions import RegistrationError, SecondSchemaError, TriggersError  # noqa: PLC0415
    from .types.refusals import require_registrations  # noqa: PLC0415

    # A project may use other kinds of databases for other data; live tables are in PostgreSQL.
    if connections[using].vendor == "postgresql":
        try:
            # The trigger of a type that was refused would be removed.
            require_registrations()
            install(using=using)
        except (RegistrationError, SecondSchemaError, TriggersError) as error:
            raise CommandError(str(error)) from None
