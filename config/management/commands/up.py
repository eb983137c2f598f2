"""The command `manage.py up`, which runs the whole site on one machine."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from honcho.environ import parse_procfile
from honcho.printer import Printer

from config.embedded import EmbeddedServerError, Servers
from config.supervisor import Supervisor

PORTS = ("PORT", "DAPHNE_PORT")

READY = """
    The page     http://localhost:{PORT}/
    The API      http://localhost:{PORT}/api/
    The admin    http://localhost:{PORT}/admin/pillarbox/notificationoutbox/
    The sockets  ws://localhost:{DAPHNE_PORT}/ws/notifications/
"""
ACCOUNTS = """\
    Accounts     demo, other, admin; the password is the name
"""
HINT = """\
    To see live changes: {program} manage.py demo --live
    Ctrl-C stops everything.
"""


class Command(BaseCommand):
    help = (
        "Run everything until Ctrl-C: the embedded PostgreSQL and Redis (unless DATABASE_URL and "
        "REDIS_URL name others), the migrations, the demo data if the database is empty, and the "
        "processes of the Procfile. Processes that end are restarted. Nothing is left running."
    )
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **_: Any) -> None:
        servers = Servers(
            settings.DATA_DIR, postgres=settings.EMBEDDED_POSTGRES, redis=settings.EMBEDDED_REDIS
        )
        try:
            with servers.owned():
                self._run(servers)
        except EmbeddedServerError as error:
            raise CommandError(str(error)) from None

    def _run(self, servers: Servers) -> None:
        supervisor = Supervisor(
            parse_procfile((settings.BASE_DIR / "Procfile").read_text()).processes,
            _environment(),
            settings.DATA_DIR / "processes.json",
            Printer(sys.stdout),
        )
        supervisor.end_leftovers()
        if settings.PORT == settings.DAPHNE_PORT:
            raise CommandError("PORT and DAPHNE_PORT are the same. Set one of them to another.")
        for variable in PORTS:
            _refuse_used_port(variable)
        # From here on there are servers to stop, on SIGTERM as on Ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            _keep_running(servers, supervisor)
            _manage("migrate", "--no-input")
            if settings.DEBUG:
                _manage("demo", "--if-empty")
            else:
                _manage("collectstatic", "--no-input")
            supervisor.run(_watch(servers, supervisor))
        except KeyboardInterrupt:
            supervisor.say("Stopped before everything was up.")
        finally:
            servers.stop()
            supervisor.say("Everything has stopped.")


def _watch(servers: Servers, supervisor: Supervisor) -> Any:
    """Return a function for each second: it keeps the servers running, and prints once when all is ready."""
    announced = False

    def watch() -> None:
        nonlocal announced
        _keep_running(servers, supervisor)
        if not announced and all(map(_answers, PORTS)):
            announced = True
            print(_welcome(), flush=True)  # noqa: T201  # without the supervisor's prefixes

    return watch


def _welcome() -> str:
    ports = {variable: getattr(settings, variable) for variable in PORTS}
    accounts = ACCOUNTS if settings.DEBUG else ""
    hint = HINT.format(program=os.path.relpath(sys.executable))
    return READY.format(**ports) + accounts + hint


def _environment() -> dict[str, str]:
    """Return the processes' environment: this one's, with the path of the installed programs."""
    programs = str(Path(sys.executable).parent)
    ports = {variable: str(getattr(settings, variable)) for variable in ("HOST", *PORTS)}
    path = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
    return {**os.environ, **ports, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _keep_running(servers: Servers, supervisor: Supervisor) -> None:
    start = time.monotonic()
    for name in servers.start():
        supervisor.say(f"{name} started in {servers.data_dir} ({time.monotonic() - start:.1f} s).")


def _manage(*arguments: str) -> None:
    """Run a command of manage.py in a new process, which reads the settings again."""
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
    done = subprocess.run(command, check=False)  # noqa: S603  # our own command
    if done.returncode:
        raise CommandError(f"manage.py {arguments[0]} failed; its output is above.")


def _refuse_used_port(variable: str) -> None:
    port = getattr(settings, variable)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError as error:
            raise CommandError(
                f"Port {port} can't be used ({error.strerror}). "
                f"Stop what uses it, or set {variable} to another."
            ) from None


def _answers(variable: str) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", getattr(settings, variable))) == 0
