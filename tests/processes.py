"""The real processes of the Procfile, on free ports, with the tests' database."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from honcho.environ import parse_procfile

PATIENCE = 30.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return what a condition returns once it is true. Fails, saying what was waited for."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)
    return result


def answers(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Site:
    """
    Some processes of the Procfile; each can be started, stopped and killed. All end with the block.

    A digit behind its name makes another one of a kind: ``worker2``.
    """

    def __init__(self, log_folder: Path) -> None:
        self.port, self.daphne_port = free_port(), free_port()
        self.log_folder = log_folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        procfile = (settings.BASE_DIR / "Procfile").read_text()
        self.commands: Mapping[str, str] = parse_procfile(procfile).processes
        database = connection.settings_dict["NAME"]
        path = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": urlsplit(settings.DATABASE_URL)._replace(path=f"/{database}").geturl(),
            "PATH": path,
            "PORT": str(self.port),
            "DAPHNE_PORT": str(self.daphne_port),
            "WEB_CONCURRENCY": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # One signal each: a second one may come while the first one is being obeyed.
        with ExitStack() as stack:  # whatever one of them does, the others end, too
            for process in self.running.values():
                process.terminate()
                stack.callback(_wait_for, process)

    def start(self, *names: str) -> None:
        """Start processes, and wait until they serve."""
        for name in names:
            log = (self.log_folder / f"{name}.log").open("wb")
            self.running[name] = subprocess.Popen(
                self.commands[name.rstrip("0123456789")],
                shell=True,
                cwd=settings.BASE_DIR,
                env={**self.environment, "PGAPPNAME": name},  # as pg_stat_activity names it
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            log.close()
        for name in names:
            wait_until(lambda name=name: self._serves(name), f"{name} serves; {self.log(name)}")

    def stop(self, name: str) -> None:
        """End a process as an operator does, with SIGTERM."""
        process = self.running.pop(name)
        process.terminate()
        _wait_for(process)

    def kill(self, name: str) -> None:
        """End a process, and its children, at whatever instruction it is."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def log(self, name: str) -> str:
        """Return what a process has said."""
        return (self.log_folder / f"{name}.log").read_text()

    def _serves(self, name: str) -> bool:
        if name == "web":
            return answers(self.port)
        if name == "daphne":
            return answers(self.daphne_port)
        return not name.startswith("worker") or "ready." in self.log(name)


def _wait_for(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process that was told to has ended, and end what it leaves. Fails if it doesn't."""
    try:
        process.wait(PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
