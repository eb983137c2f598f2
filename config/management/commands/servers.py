"""The command `manage.py servers`, which runs only the embedded servers."""

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from config.embedded import EmbeddedServerError, Servers, postgres_url, redis_url


class Command(BaseCommand):
    help = (
        "Run only the embedded PostgreSQL and Redis, until Ctrl-C: for `honcho start`, for a shell, "
        "or for a benchmark. They use the same data as `up`."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **_: Any) -> None:
        servers = Servers(settings.DATA_DIR)
        # Blocked, so that sigwait receives them, and the start isn't interrupted.
        stop = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, stop)
        try:
            with servers.owned():
                servers.start()
                self.stdout.write(f"DATABASE_URL={postgres_url(settings.DATA_DIR)}")
                self.stdout.write(f"REDIS_URL={redis_url(settings.DATA_DIR)}")
                self.stdout.write("Ctrl-C stops both.")
                self.stdout.flush()  # Python keeps it back if it is not written to a terminal
                signal.sigwait(stop)
                servers.stop()
        except EmbeddedServerError as error:
            raise CommandError(str(error)) from None
        self.stdout.write("Both have stopped.")
