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

from honcho.environ import parse_procfile

from .keeper import PATIENCE, ROOT, keeper


class EndedError(Exception):
    """A process has ended by itself. The message says where its log is."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return the value of a condition once it is true. Raises TimeoutError, saying what it waited for."""
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
    Processes by name, with free ports of their own. All end with the block, or with this process.

    A digit behind the name in the Procfile makes another process of a kind: ``worker2``.
    """

    def __init__(self, log_folder: Path) -> None:
        self.port, self.daphne_port = free_port(), free_port()
        self.log_folder = log_folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        keeper()  # before the environment is copied: its mark is in there
        procfile = (ROOT / "Procfile").read_text()
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
                _terminate(process)
                stack.callback(_wait_for, process)

    def start(self, *names: str) -> None:
        """Start processes, and wait until they serve. Raises TimeoutError, and EndedError."""
        self.launch(*names)
        for name in names:
            log = self.log_folder / f"{name}.log"
            wait_until(partial(self._serves, name), f"{name} serves; its log is {log}")

    def check(self, name: str) -> None:
        """Raises EndedError if a process has ended."""
        if (code := self.running[name].poll()) is not None:
            log = self.log_folder / f"{name}.log"
            raise EndedError(f"{name} has ended by itself, with code {code}; its log is {log}.")

    def launch(self, *names: str) -> None:
        """Start processes."""
        for name in names:
            known = name if name in self.commands else name.rstrip("0123456789")
            with (self.log_folder / f"{name}.log").open("wb") as log:
                self.running[name] = subprocess.Popen(
                    self.commands[known],
                    shell=True,
                    cwd=ROOT,
                    env={**self.environment, "PGAPPNAME": name},  # as pg_stat_activity names it
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def stop(self, name: str) -> None:
        """End a process as an operator does, with SIGTERM."""
        process = self.running.pop(name)
        _terminate(process)
        _wait_for(process)

    def kill(self, name: str) -> None:
        """Kill a process, and its children, at whatever instruction they are."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def freeze(self, name: str) -> None:
        """Stop a process and its children, at whatever instruction they are."""
        os.killpg(self.running[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen process go on."""
        os.killpg(self.running[name].pid, signal.SIGCONT)

    @property
    def workers(self) -> list[str]:
        """The names of the workers that run."""
        return sorted(name for name in self.running if name.startswith("worker"))

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return (self.log_folder / f"{name}.log").read_text()

    def manage(self, *words: str) -> None:
        """Run a command of manage.py to its end. Raises CalledProcessError if it fails."""
        self.run("manage.py", *words)

    def run(self, *words: str) -> str:
        """Run Python with these words to its end, and return what it prints."""
        done = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process
        )
        return done.stdout

    def _serves(self, name: str) -> bool:
        self.check(name)
        if name == "web":
            return answers(self.port)
        if name == "daphne":
            return answers(self.daphne_port)
        return not name.startswith("worker") or "ready." in self.log(name)


def _terminate(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process to end. A frozen one goes on first: it would not obey."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()


def _wait_for(process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process that was asked to end has ended, and kill its children. Raises TimeoutExpired."""
    try:
        process.wait(PATIENCE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
