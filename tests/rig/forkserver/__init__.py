"""
The owner's side of a fork server: a process that imports libraries once, and forks for each Python program.

A fresh interpreter spends most of a second of CPU on imports before it runs any of our code. A fork starts
with the libraries imported. It has its own session, environment, output and exit code. Only its command line,
as the system shows it, is that of the fork server.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[3]
#: The format in which the fork server sends process ids and exit codes.
NUMBER = struct.Struct("!i")


class Forked:
    """A program that runs in a fork, with the part of `subprocess.Popen`'s interface that the rig uses."""

    def __init__(self, args: Sequence[str], connection: socket.socket) -> None:
        self.args = args
        self.returncode: int | None = None
        self._connection = connection
        self.pid = self._receive()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process has ended, and return its exit code. Raises TimeoutExpired."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = self._receive()
            except (BlockingIOError, TimeoutError):
                raise subprocess.TimeoutExpired([*self.args], timeout or 0.0) from None
            # This tells the fork server to reap the process, which frees its id.
            self._connection.close()
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _receive(self) -> int:
        number: int
        (number,) = NUMBER.unpack(self._connection.recv(NUMBER.size))
        return number


class ForkServer:
    """The fork server of this process. It ends with this process and inherits its keeper's mark."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        # The server doesn't measure its own coverage: each fork does, if its environment asks for it.
        inherited = {k: v for k, v in os.environ.items() if k != "COVERAGE_PROCESS_CONFIG"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                env=inherited,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # so that Ctrl-C reaches only the owner
            )

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, stdout: int, stderr: int
    ) -> Forked:
        """Run Python with these arguments, in the project's folder."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._orders, [b"+"], [theirs.fileno(), stdout, stderr])
        ours.sendall(json.dumps([arguments, dict(environment)]).encode() + b"\n")
        return Forked(arguments, ours)

    def end(self) -> None:
        """End the fork server. Programs that it has started keep running."""
        self._orders.close()
        self._process.wait()


@cache
def fork_server() -> ForkServer:
    """Return the fork server of this process."""
    return ForkServer()


def python_arguments(command: str, environment: Mapping[str, str]) -> list[str]:
    """
    Return the arguments for Python if a shell command executes Python, or a script beside it.

    Returns an empty list for other commands, and on other systems than Linux.
    """
    program = command.removeprefix("exec ")
    if sys.platform != "linux" or program == command:
        return []
    split = subprocess.run(
        f"printf '%s\\0' {program}", shell=True, env=environment, stdout=subprocess.PIPE, check=True
    )
    name, *arguments = split.stdout.decode().split("\0")[:-1]
    path = Path(shutil.which(name, path=environment["PATH"]) or "/")
    python = Path(sys.executable)
    if path.resolve() == python.resolve():
        return arguments
    return [str(path), *arguments] if path.parent == python.parent else []
