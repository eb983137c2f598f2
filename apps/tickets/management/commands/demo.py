"""The command `manage.py demo`, which creates the demo data and may keep changing it."""

import time
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import InterfaceError, OperationalError, connection

from ... import demo


class Command(BaseCommand):
    help = (
        "Create users demo, other and admin (the password is the name), two projects and tickets. "
        "Existing ones are not changed. Refused unless DEBUG is on."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--live",
            action="store_true",
            help="afterwards, keep changing tickets at random until Ctrl-C, to show live changes",
        )
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing if there is any user"
        )
        parser.add_argument(
            "--interval", type=float, default=1.0, help="seconds between changes (default: 1)"
        )
        parser.add_argument("--changes", type=int, help="stop after this many changes")

    def handle(
        self,
        *args: Any,
        live: bool,
        if_empty: bool,
        interval: float,
        changes: int | None,
        **_: Any,
    ) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "These accounts have well-known passwords: refused unless DEBUG is on."
            )
        if if_empty and get_user_model().objects.exists():
            return
        demo.create()
        self.stdout.write(f"The demo data is there. Accounts: {', '.join(demo.ACCOUNTS)}.")
        done = 0
        try:
            while live and done != changes:
                change = self.change()
                done += 1
                self.stdout.write(change)
                time.sleep(interval)
        except KeyboardInterrupt:
            self.stdout.write(f"Stopped after {done} changes.")

    def change(self) -> str:
        """Change a ticket; return what was done, or that the database is away."""
        try:
            return demo.change_something()
        except (InterfaceError, OperationalError) as error:
            connection.close()
            return f"The database is away: {error}".rstrip()
