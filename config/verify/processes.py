"""Processes of the Procfile, and others, that can be started, stopped, frozen and killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from honcho.environ import parse_procfile

PATIENCE = 30.0


class EndedError(Exception):
    """A process has ended, though nobody ended it. The message says where is what it said."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return what a condition returns once it is true. Raises TimeoutError, saying what it waited for."""
    deadline = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited in vain until {what}.")
        time.sleep(0.02)
    return result


def answers(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Processes:
    """
    Processes by name, with free ports of their own. All end with the block.

    A digit behind the name in the Procfile makes another one of a kind: ``worker2``.
    """

    def __init__(self, log_folder: Path) -> None:
        self.port, self.daphne_port = free_port(), free_port()
        self.log_folder = log_folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        procfile = (settings.BASE_DIR / "Procfile").read_text()
        self.commands: dict[str, str] = {**parse_procfile(procfile).processes}
        path = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", os.defpath)
        self.environment = {
            **os.environ,
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
        """Start processes, and wait until they serve. Raises TimeoutError, and EndedError."""
        self.launch(*names)
        for name in names:
            said = f"what it says is in {self.log_folder / name}.log"
            wait_until(partial(self._serves, name), f"{name} serves; {said}")

    def check(self, name: str) -> None:
        """Raises EndedError if a process runs no more."""
        if (code := self.running[name].poll()) is not None:
            said = f"what it said is in {self.log_folder / name}.log"
            raise EndedError(f"{name} has ended by itself, with code {code}; {said}.")

    def launch(self, *names: str) -> None:
        """Start processes."""
        for name in names:
            known = name if name in self.commands else name.rstrip("0123456789")
            with (self.log_folder / f"{name}.log").open("wb") as log:
                self.running[name] = subprocess.Popen(  # noqa: S602  # a line of the Procfile
                    self.commands[known],
                    shell=True,
                    cwd=settings.BASE_DIR,
                    env={**self.environment, "PGAPPNAME": name},  # as pg_stat_activity names it
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

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

    def freeze(self, name: str) -> None:
        """Stop a process and its children, wherever they are."""
        os.killpg(self.running[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let what was stopped go on."""
        os.killpg(self.running[name].pid, signal.SIGCONT)

    def log(self, name: str) -> str:
        """Return what a process has said."""
        return (self.log_folder / f"{name}.log").read_text()

    def manage(self, *words: str) -> None:
        """Run a command of manage.py to its end. Raises CalledProcessError if it fails."""
        self.run("manage.py", *words)

    def run(self, *words: str) -> str:
        """Run Python with these words to its end, and return what it prints."""
        done = subprocess.run(  # noqa: S603  # our own programs
            [sys.executable, *words],
            cwd=settings.BASE_DIR,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for who runs it
        )
        return done.stdout

    def _serves(self, name: str) -> bool:
        self.check(name)
        if name == "web":
            return answers(self.port)
        if name == "daphne":
            return answers(self.daphne_port)
        return not name.startswith("worker") or "ready." in self.log(name)


def _wait_for(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process that was told to has ended, and end what it leaves. Raises TimeoutExpired."""
    try:
        process.wait(PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
