"""The processes of the Procfile, and others, which can be started, stopped, frozen and killed."""

import os
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

import psutil
from honcho.environ import parse_procfile

from tests.ports import answers, free_port
from tests.waiting import PATIENCE, wait_until

from .forkserver import Forked, fork_server, python_arguments
from .keeper import ROOT, keeper

Process = Forked | subprocess.Popen[bytes]


class EndedError(Exception):
    """An error about a process that has ended by itself. The message names its log."""


class Processes:
    """
    Processes by name, with free ports of their own. They end with the block, or with this process.

    A number after a name of the Procfile starts another process by the same command: ``worker2``.
    """

    def __init__(self, log_folder: Path) -> None:
        self.port, self.daphne_port = free_port(), free_port()
        self.log_folder = log_folder
        self.running: dict[str, Process] = {}
        keeper()  # first, because it adds its mark to the environment that is copied below
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
        # One signal each: a second one could interrupt an orderly shutdown.
        with ExitStack() as stack:  # the others end even if one of them doesn't
            for name, process in self.running.items():
                _terminate(process)
                stack.callback(self._wait_for, name, process)

    def start(self, *names: str) -> None:
        """Start processes, and wait until they serve. Raises TimeoutError, or EndedError if one has ended."""
        self.launch(*names)
        for name in names:
            log = self.log_folder / f"{name}.log"
            wait_until(partial(self._serves, name), f"{name} serves; its log is {log}")

    def check(self, name: str) -> None:
        """Raise EndedError if a process has ended."""
        if (code := self.running[name].poll()) is not None:
            log = self.log_folder / f"{name}.log"
            raise EndedError(f"{name} has ended by itself, with code {code}; its log is {log}.")

    def launch(self, *names: str) -> None:
        """Start processes without waiting until they serve."""
        for name in names:
            known = name if name in self.commands else name.rstrip("0123456789")
            with (self.log_folder / f"{name}.log").open("wb") as log:
                self.running[name] = self._execute(
                    self.commands[known],
                    {**self.environment, "PGAPPNAME": name},  # its name in pg_stat_activity
                    log.fileno(),
                    log.fileno(),
                )

    def _execute(
        self, command: str, environment: dict[str, str], stdout: int, stderr: int
    ) -> Process:
        """Run a shell command, in a fork of the fork server if it is a Python program."""
        if arguments := python_arguments(command, environment):
            return fork_server().start(arguments, environment, stdout=stdout, stderr=stderr)
        return subprocess.Popen(
            command,
            shell=True,
            cwd=ROOT,
            env=environment,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def stop(self, name: str) -> None:
        """End a process with SIGTERM, as an operator does, and wait until it has ended."""
        process = self.running.pop(name)
        _terminate(process)
        self._wait_for(name, process)

    def kill(self, name: str) -> None:
        """Kill a process and its children with SIGKILL."""
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def freeze(self, name: str) -> None:
        """Suspend a process and its children with SIGSTOP."""
        os.killpg(self.running[name].pid, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Resume a frozen process and its children."""
        os.killpg(self.running[name].pid, signal.SIGCONT)

    @property
    def workers(self) -> list[str]:
        """The names of the running workers."""
        return sorted(name for name in self.running if name.startswith("worker"))

    def log(self, name: str) -> str:
        """Return the log of a process."""
        return (self.log_folder / f"{name}.log").read_text()

    def manage(self, *arguments: str) -> None:
        """Run a command of manage.py and wait for it. Raises CalledProcessError if it fails."""
        self.run("manage.py", *arguments)

    def run(self, *arguments: str) -> str:
        """Run Python with these arguments, wait for it, and return its output. Raises CalledProcessError."""
        with TemporaryFile("w+") as printed:
            command = f"exec python {shlex.join(arguments)}"
            process = self._execute(command, self.environment, printed.fileno(), 2)
            try:
                code = process.wait()
            finally:  # Ctrl-C reaches only this process
                _kill_tree_of(process)
            printed.seek(0)
            if code:
                raise subprocess.CalledProcessError(code, arguments, printed.read())
            return printed.read()

    def _serves(self, name: str) -> bool:
        self.check(name)
        if name == "web":
            return answers(self.port)
        if name == "daphne":
            return answers(self.daphne_port)
        return not name.startswith("worker") or "ready." in self.log(name)

    def _wait_for(self, name: str, process: Process, patience: float = PATIENCE) -> None:
        """
        Wait until a process has ended, then kill its remaining children.

        Raises TimeoutExpired, with the process's log and what its threads were doing.
        """
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired as error:
            error.add_note(f"The log of {name}:\n{self.log(name)}")
            main = psutil.Process(process.pid)
            for one in (main, *main.children(recursive=True)):
                error.add_note(_stacks(one.pid))
            raise
        finally:
            _kill_tree_of(process)


def _terminate(process: Process) -> None:
    """Send SIGTERM to a process. A frozen one is resumed first, or it would not receive the signal."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGCONT)
        process.terminate()


def _stacks(pid: int) -> str:
    """Return what the threads of a Python process are doing, or why that can't be seen."""
    program = str(Path(sys.executable).with_name("py-spy"))
    dump = subprocess.run(
        [program, "dump", "--pid", str(pid)], capture_output=True, text=True, check=False
    )
    return f"Process {pid}:\n{dump.stdout or dump.stderr}"


def _kill_tree_of(process: Process) -> None:
    """Kill a process and its children, as far as they still run."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
