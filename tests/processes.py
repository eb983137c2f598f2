"""The real processes of the Procfile, on free ports, with the tests' database."""

from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from tests.rig.processes import Processes


class Site(Processes):
    """Processes of the Procfile that use the running test's database."""

    def __init__(self, log_folder: Path) -> None:
        super().__init__(log_folder)
        database = connection.settings_dict["NAME"]
        self.environment |= {
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": urlsplit(settings.DATABASE_URL)._replace(path=f"/{database}").geturl(),
        }
